"""PaddleOCR's job API: what it takes and refuses, states, batches, and results at addresses that cannot be guessed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.finished_jobs import fail, finish, parsed_page
from tests.http.test_jobs import Api, serving
from tests.keys import ALICE, BOB
from tests.ocr_service import pdf

JOBS = "/api/v2/ocr/jobs"
URL = {"fileUrl": "https://example.org/a.pdf", "model": "PaddleOCR-VL-1.6", "optionalPayload": {}}
AS_ALICE, AS_BOB = ({"Authorization": f"Bearer {key}"} for key in (ALICE, BOB))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        yield api


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, API_KEYS=f"alice:{ALICE},bob:{BOB}") as api:
        yield api


def data(answer: httpx2.Response) -> dict[str, Any]:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (200, 0), body
    found: dict[str, Any] = body["data"]
    return found


def submit(api: Api, headers: dict[str, str] | None = None, **fields: Any) -> str:
    return str(data(api.client.post(JOBS, json=URL | fields, headers=headers))["jobId"])


def lines(api: Api, job: str) -> list[dict[str, Any]]:
    """The result of a job that is done, each line a page."""
    answer = api.client.get(data(api.client.get(f"{JOBS}/{job}"))["resultUrl"]["jsonUrl"])
    assert answer.status_code == 200, answer.text
    return [json.loads(line)["result"] for line in answer.text.splitlines()]


def test_a_form_with_a_file_is_a_job_that_waits(api: Api) -> None:
    form = {"model": "PaddleOCR-VL", "optionalPayload": '{"visualize": false}', "pageRanges": "1,3-4", "batchId": "b"}
    answer = api.client.post(
        JOBS, files={"file": ("a.pdf", pdf(4))}, data=form, headers={"Client-Platform": "an editor"}
    )
    job = data(answer)["jobId"]
    assert data(api.client.get(f"{JOBS}/{job}")) == {"jobId": job, "state": "pending"}
    kept = api.parts.queue.records.get(job)
    assert kept is not None
    assert (kept.options.pages, kept.options.payload["fields"], kept.batch) == ("1,3-4", {"visualize": False}, "b")
    assert kept.metadata == {"client_platform": "an editor"}


def test_a_job_that_runs_tells_its_pages_once_they_are_known(api: Api) -> None:
    job = submit(api)
    records = api.parts.queue.records
    records.begin(job, 1)
    assert data(api.client.get(f"{JOBS}/{job}")) == {"jobId": job, "state": "running"}
    records.split(job, 1, pages=7, size=100)
    records.progress(job, 1, 3)
    progress = data(api.client.get(f"{JOBS}/{job}"))["extractProgress"]
    assert (progress["totalPages"], progress["extractedPages"], progress["endTime"]) == (7, 3, None)


def test_a_job_that_failed_or_was_cancelled_is_failed_with_its_reason(api: Api) -> None:
    failed, cancelled = submit(api), submit(api)
    fail(api.parts, failed, "the page is torn", page=3)
    api.client.post(f"/v1/jobs/{cancelled}/cancel")
    said = {job: data(api.client.get(f"{JOBS}/{job}")) for job in (failed, cancelled)}
    assert [said[job]["state"] for job in (failed, cancelled)] == ["failed", "failed"]
    assert said[failed]["errorMsg"] == "page 3: the page is torn"
    assert said[cancelled]["errorMsg"] == "the job was cancelled"


def test_a_result_has_a_line_a_page_whose_images_have_addresses_and_names_of_their_own(api: Api) -> None:
    job = submit(api)
    finish(api.parts, job, [parsed_page(2, "one"), parsed_page(5, "two")])
    first, second = lines(api, job)
    assert first["dataInfo"] == {"type": "pdf", "numPages": 2, "pages": [{"width": 100, "height": 140}] * 2}
    assert "dataInfo" not in second
    (page,) = second["layoutParsingResults"]
    ((name, address),) = page["markdown"]["images"].items()
    assert name == "page_5_img_in_image_box_10_10_50_50.jpg"
    assert f'<img src="{name}" />' in page["markdown"]["text"]
    assert page["prunedResult"]["page_count"] == 2
    assert list(page["outputImages"]) == ["page_5_layout_det_res"]
    files = [address, page["outputImages"]["page_5_layout_det_res"], page["inputImage"]]
    answers = [api.client.get(file) for file in files]
    assert [answer.text for answer in answers] == ["figure of page 5", "boxes of page 5", "page of page 5"]
    assert {answer.headers["content-type"] for answer in answers} == {"image/jpeg"}


def test_images_of_a_single_page_keep_paddlexs_names(api: Api) -> None:
    job = submit(api)
    finish(api.parts, job, [parsed_page(1, "one", kind="image")])
    (line,) = lines(api, job)
    (page,) = line["layoutParsingResults"]
    assert list(page["outputImages"]) == ["layout_det_res"]
    assert list(page["markdown"]["images"]) == ["img_in_image_box_10_10_50_50.jpg"]
    assert line["dataInfo"] == {"type": "image", "width": 100, "height": 140}


def test_markdown_images_are_left_out_where_they_are_not_wanted(api: Api) -> None:
    job = submit(api, optionalPayload={"returnMarkdownImages": False})
    finish(api.parts, job, [parsed_page(1, "one")])
    assert "images" not in lines(api, job)[0]["layoutParsingResults"][0]["markdown"]


def test_tables_that_go_on_over_pages_are_joined_and_contents_formatted_after_it(api: Api) -> None:
    options = {"restructurePages": True, "mergeTables": True, "relevelTitles": True, "formatBlockContent": True}
    job = submit(api, optionalPayload=options)
    pages = [parsed_page(1, "one"), parsed_page(2, "two")]
    for page in pages:  # a table alone goes on
        rows = page["result"]["prunedResult"]["parsing_res_list"]
        page["result"]["prunedResult"]["parsing_res_list"] = [row for row in rows if row["block_label"] == "table"]
    finish(api.parts, job, pages)
    first, second = (line["layoutParsingResults"][0] for line in lines(api, job))
    (table,) = first["prunedResult"]["parsing_res_list"]
    assert ">one<" in table["block_content"]
    assert ">two<" in table["block_content"]
    assert "two" in first["markdown"]["text"]
    assert "two" not in second["markdown"]["text"]
    assert first["prunedResult"]["model_settings"]["format_block_content"] is True


def test_a_batch_has_its_jobs_in_the_order_of_their_submission_and_no_others(api: Api) -> None:
    jobs = [submit(api, batchId="mine") for _ in range(3)]
    submit(api, batchId="another")
    api.client.post("/v1/jobs", json={"url": "https://example.org/a.pdf", "batch": "mine"})
    batch = data(api.client.get(f"{JOBS}/batch/mine"))
    assert [job["jobId"] for job in batch["extractResult"]] == jobs
    missing = api.client.get(f"{JOBS}/batch/none")
    assert (missing.status_code, missing.json()["code"]) == (404, 404)


def test_results_need_the_token_of_their_address_and_no_key(keyed: Api) -> None:
    job = submit(keyed, AS_ALICE)
    finish(keyed.parts, job, [parsed_page(1, "one")])
    address = data(keyed.client.get(f"{JOBS}/{job}", headers=AS_ALICE))["resultUrl"]["jsonUrl"]
    assert keyed.client.get(address).status_code == 200
    path, _, token = address.partition("?token=")
    assert len(token) >= 32
    for guess in (path, f"{path}?token=", f"{path}?token={token[:-1]}", f"{path}?token={token}x", f"{path}?token=%ff"):
        assert keyed.client.get(guess).status_code == 404
    assert keyed.client.get(path.replace(job, "job_none") + f"?token={token}").status_code == 404
    assert keyed.client.get(address.replace("result.jsonl", "page_1_nothing.jpg")).status_code == 404
    assert keyed.client.get(address.replace("result.jsonl", "page_9_input.jpg")).status_code == 404


def test_jobs_and_batches_are_seen_with_their_own_key_only(keyed: Api) -> None:
    job = submit(keyed, AS_ALICE, batchId="mine")
    assert keyed.client.get(f"{JOBS}/{job}", headers=AS_BOB).status_code == 404
    assert keyed.client.get(f"{JOBS}/batch/mine", headers=AS_BOB).status_code == 404
    without = keyed.client.get(f"{JOBS}/{job}")
    assert (without.status_code, without.json()["code"]) == (401, 401)
    assert "API key" in without.json()["msg"]


def test_a_token_of_another_api_opens_nothing(api: Api) -> None:
    job = api.submit().json()["id"]
    assert api.client.get(f"/api/v2/ocr/results/{job}/result.jsonl?token=").status_code == 404
    assert "GET /v1/jobs" in api.client.get(f"{JOBS}/{job}").json()["msg"]


def test_addresses_of_results_begin_as_the_operator_says(tmp_path: Path) -> None:
    with serving(tmp_path, JOBS_PUBLIC_URL="https://ocr.example.org/base/") as api:
        job = submit(api)
        finish(api.parts, job, [parsed_page(1, "one")])
        address = data(api.client.get(f"{JOBS}/{job}"))["resultUrl"]["jsonUrl"]
        assert address.startswith(f"https://ocr.example.org/base/api/v2/ocr/results/{job}/result.jsonl?token=")


def test_a_request_that_repeats_its_idempotency_key_gets_the_same_job(api: Api) -> None:
    once = submit(api, {"Idempotency-Key": "7"})
    assert submit(api, {"Idempotency-Key": "7"}) == once
    other = api.client.post(JOBS, json=URL | {"pageRanges": "2"}, headers={"Idempotency-Key": "7"})
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fileUrl": None}, "send one document"),
        ({"fileUrl": "file:///etc/passwd"}, "fileUrl: the URL does not start with http"),
        ({"model": "PP-OCRv6"}, "model: this model is not served here"),
        ({"model": None}, "model is missing"),
        ({"mode": "x"}, "mode: Extra inputs are not permitted"),
        ({"pageRanges": "3-1"}, "pageRanges: use pages from 1"),
        ({"batchId": ""}, "batchId"),
        ({"batchId": "a\0b"}, "batchId"),
        ({"optionalPayload": []}, "optionalPayload"),
        ({"optionalPayload": {"useMagic": 1}}, "optionalPayload: useMagic is not known here"),
        ({"optionalPayload": {"use_chart_recognition": True}}, "use_chart_recognition is not known here"),
        ({"optionalPayload": {"temperature": -1}}, "optionalPayload: temperature"),
        ({"optionalPayload": {"outputFormats": ["docx"]}}, "'docx' cannot be made here"),
        ({"optionalPayload": {"vlmExtraArgs": {"top_k": 1}}}, "'top_k' is not known"),
        ({"optionalPayload": {"file": "x"}}, "file is no option of a job"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(api: Api, fields: dict[str, Any], said: str) -> None:
    answer = api.client.post(JOBS, json=URL | fields)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, 400)
    assert said in body["msg"]


@pytest.mark.parametrize(
    ("files", "form", "said"),
    [
        ({"file": ("a.txt", b"text")}, {}, "not a document in a supported format"),
        ({"image": ("a.pdf", pdf(1))}, {}, "is no field for a file"),
        ({"file": ("a.pdf", pdf(1))}, {"fileUrl": "https://example.org/a.pdf"}, "send one document"),
        ({"file": ("a.pdf", pdf(1))}, {"optionalPayload": "{"}, "optionalPayload is not JSON"),
    ],
)
def test_what_is_wrong_with_a_form_is_named(api: Api, files: Any, form: dict[str, str], said: str) -> None:
    answer = api.client.post(JOBS, files=files, data={"model": "PaddleOCR-VL"} | form)
    assert answer.status_code == 400
    assert said in answer.json()["msg"]
    assert api.parts.store.names() == []


def test_a_full_queue_is_429_in_the_clients_envelope(tmp_path: Path) -> None:
    with serving(tmp_path, JOBS_MAX_WAITING="1") as api:
        submit(api)
        answer = api.client.post(JOBS, json=URL)
        assert (answer.status_code, answer.json()["code"]) == (429, 429)
        assert answer.headers["retry-after"] == "30"
        assert answer.json()["msg"].startswith("1 jobs wait, and 1 may")
