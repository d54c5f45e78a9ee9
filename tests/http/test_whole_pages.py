"""Pages that are read block by block: which requests do, their fields, and what their answers report."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.engine import Engine
from layout.markdown.document import document_markdown
from layout.markdown.options import Images, MarkdownOptions
from layout.reported import read_page
from models.detection import Box
from tests.checkpoints import write_script
from tests.documents import SIZE, boxes, detections, finds, page
from tests.engines import running_engine
from tests.http.asking import choice, chunks, post, refused, text
from tests.http.documents import document, file_part
from tests.http.served import client_of
from tests.layouts import write_layout_checkpoint, write_orientation_checkpoint, write_unwarping_checkpoint
from tests.payloads import chat, image_part, user
from tests.prompts import noise_image

PAGE = image_part(page("a", "b"))
SMALL = {"max_pixels": 28 * 28 * 16}
LABELS = ["doc_title", "text", "image", "number"]


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = write_script(tmp_path_factory.mktemp("scripted") / "model", "One", " two", " three.")
    with running_engine(folder) as engine:
        yield engine


@pytest.fixture
def client(scripted: Engine) -> Iterator[TestClient]:
    with client_of(scripted) as client:
        yield client


@pytest.fixture
def layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout network that finds a title, a text, an image and a page number."""
    finds(monkeypatch, detections(LABELS))


def asked(words: str = "read", *parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    messages = user({"type": "text", "text": words}, *(parts or (PAGE,)))
    return {"messages": messages, "max_tokens": 50, "mm_processor_kwargs": SMALL} | fields


# --- which requests -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize(
    ("fields", "used"),
    [
        (asked(), True),
        (asked(mode="document"), True),
        (asked("the whole page, please"), True),
        (asked(layout=False), False),
        (asked(mode="document", layout=False), False),
        (asked("read", image_part(noise_image(200, 100))), False),
        (asked("read", image_part(noise_image(200, 100)), layout=True), True),
        (asked("this document", image_part(noise_image(200, 100))), True),
        (asked("read", PAGE, image_part(noise_image(200, 100))), False),
        (asked("the table"), False),
        (asked("OCR:"), False),
        (asked(mode="raw"), False),
        (asked(n=2), False),
        (asked(guided_regex="One( two)*"), False),
        (asked("this document", grounded=False, guided_regex="One( two)*"), False),
        (asked(ignore_eos=True, max_tokens=4), False),
    ],
)
def test_an_answer_says_whether_layout_was_used(client: TestClient, fields: dict[str, Any], used: bool) -> None:
    assert choice(client, **fields)["ocr"]["layout"] is used


@pytest.mark.usefixtures("layout")
def test_every_page_of_a_pdf_is_read_block_by_block(client: TestClient) -> None:
    report = choice(client, **asked("read", file_part(document("PDF"))))["ocr"]
    assert (report["layout"], [one["page"] for one in report["pages"]]) == (True, [1, 2, 3, 4])


def test_a_server_without_a_layout_model_reads_pages_as_before(client: TestClient) -> None:
    for fields in ({}, {"mode": "document"}):
        answer = choice(client, **asked(**fields))
        assert answer["message"]["content"] == "One two three."
        report = answer["ocr"]
        assert (report["layout"], report["pages"], report["blocks"]) == (False, None, None)


# --- fields ---------------------------------------------------------------------------------------------------------

NO_MODEL = [
    {"layout": True},
    {"images": "inline"},
    {"running": True},
    {"upright": True},
    {"unwarp": True},
    {"mode": "document", "table_format": "html"},
]


@pytest.mark.parametrize("fields", NO_MODEL)
def test_a_field_that_needs_a_model_is_refused_where_it_is_not_served(
    client: TestClient, fields: dict[str, Any]
) -> None:
    assert refused(client, **asked(**fields)) == list(fields)[-1]


def test_without_a_layout_model_the_error_names_the_setting(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json=asked(layout=True))
    assert "LAYOUT" in answer.json()["error"]["message"]


CONFLICTS: list[tuple[dict[str, Any], str]] = [
    (asked("OCR:", layout=True), "layout"),
    (asked(mode="raw", layout=True), "layout"),
    (asked("the receipt", layout=True, grounded=False), "layout"),
    (asked("the table", images="inline"), "images"),
    (asked(images="link"), "images"),
    (asked(layout=False, running=True), "running"),
    (asked(mode="document", layout=False, table_format="html"), "table_format"),
    (asked(upright=True), "upright"),
    (asked(unwarp=True), "unwarp"),
    (asked(mode="document", n=2), "n"),
    (asked(layout=True, response_format={"type": "json_object"}), "response_format"),
    (asked(mode="document", grounded=True, response_format={"type": "json_object"}), "response_format"),
    (asked(mode="document", ignore_eos=True), "ignore_eos"),
    (asked(mode="document", min_tokens=2), "min_tokens"),
    (asked(table_format="html"), "table_format"),
]


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize(("fields", "param"), CONFLICTS)
def test_fields_that_do_not_go_together_are_refused_by_name(
    client: TestClient, fields: dict[str, Any], param: str
) -> None:
    answer = client.post("/v1/chat/completions", json=chat(**fields))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].split(".")[0] == param


def test_without_an_image_there_is_no_document(client: TestClient) -> None:
    messages = [{"role": "user", "content": "text alone"}]
    assert refused(client, messages=messages, layout=True) == "layout"


@pytest.mark.usefixtures("layout")
def test_page_numbers_are_written_on_demand(client: TestClient) -> None:
    assert text(post(client, **asked(running=True))).count("One two three.") == 3
    assert text(post(client, **asked())).count("One two three.") == 2


@pytest.mark.usefixtures("layout")
def test_figures_are_put_into_the_text_on_demand(client: TestClient) -> None:
    whole = text(post(client, **asked(images="inline")))
    start = whole.index("data:image/png;base64,") + len("data:image/png;base64,")
    assert base64.b64decode(whole[start : whole.index(")", start)]).startswith(b"\x89PNG")
    assert "data:" not in text(post(client, **asked()))


@pytest.mark.usefixtures("layout")
def test_a_limit_on_tokens_and_a_stop_string_hold_for_each_block(client: TestClient) -> None:
    cut = choice(client, **asked(max_tokens=1))
    assert cut["finish_reason"] == "length"
    assert [block["cut"] for block in cut["ocr"]["blocks"]] == ["length", "length", None, "length"]
    stopped = choice(client, **asked(stop=" two"))
    assert (stopped["message"]["content"], stopped["stop_reason"]) == ("# One\n\nOne", " two")


@pytest.mark.usefixtures("layout")
def test_log_probabilities_are_those_of_all_blocks(client: TestClient) -> None:
    tokens = [one["token"] for one in choice(client, **asked(logprobs=True))["logprobs"]["content"]]
    assert tokens == ["One", " two", " three."] * 3


@pytest.mark.usefixtures("layout")
def test_usage_counts_the_prompts_of_all_blocks(client: TestClient) -> None:
    usage = post(client, **asked())["usage"]
    assert usage["completion_tokens"] == 3 * 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


# --- what is reported -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("layout")
def test_each_block_has_its_box_and_its_place_in_the_text(client: TestClient) -> None:
    answer = choice(client, **asked())
    content, report = answer["message"]["content"], answer["ocr"]
    assert report["pages"] == [{"page": 1, "width": SIZE[0], "height": SIZE[1], "angle": 0, "error": None}]
    assert [block["label"] for block in report["blocks"]] == LABELS
    assert [block["order"] for block in report["blocks"]] == [1, 2, 3, 4]
    assert len(boxes(4)) == len(report["blocks"])
    title, body, image, number = report["blocks"]
    assert content[slice(*title["text"])].endswith("One two three.")
    assert content[slice(*body["text"])] == "One two three."
    assert (image["text"], number["text"]) == (None, None)
    assert 0 < title["confidence"] <= 1
    assert image["confidence"] is None


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("images", ["none", "inline"])
def test_a_report_with_raw_texts_makes_the_same_document_again(client: TestClient, images: Images) -> None:
    answer = choice(client, **asked(mode="document", images=images, ocr={"raw": True}))
    (page,) = answer["ocr"]["pages"]
    again = document_markdown([read_page(page, answer["ocr"]["blocks"])], MarkdownOptions(images=images))
    assert again.text == answer["message"]["content"]
    assert again.text.startswith("# One two three.")


@pytest.mark.usefixtures("layout")
def test_a_stream_has_the_text_and_the_report_of_the_whole(client: TestClient) -> None:
    fields = asked(stream_options={"include_usage": True})
    *found, usage = chunks(client, **fields)
    whole = post(client, **{name: value for name, value in fields.items() if name != "stream_options"})
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found) == text(whole)
    assert found[-1]["choices"][0]["ocr"] == whole["choices"][0]["ocr"]
    assert usage["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_a_page_without_blocks_has_an_empty_text(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, [])
    for stream in (False, True):
        blank = image_part(Image.new("RGB", SIZE, "white"))
        answer = client.post("/v1/chat/completions", json=asked("read", blank, stream=stream))
        assert answer.status_code == 200
        assert ('"content":""' in answer.text.replace(" ", "")) is True


def test_a_block_that_fails_leaves_a_gap_and_its_error(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    text_block, table = detections(["text", "table"])
    large = Box(20, 200, 780, 990)  # more image tokens than the context of 512
    finds(monkeypatch, [text_block, replace(table, box=large)])
    answer = choice(client, **asked(mm_processor_kwargs={}))
    assert answer["message"]["content"] == "One two three.\n\n[unreadable: table]"
    first, second = answer["ocr"]["blocks"]
    assert first["error"] is None
    assert "512 tokens" in second["error"]


def test_where_every_block_fails_the_answer_does(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text", "table"]))
    large = {"min_pixels": 500_000, "max_pixels": 500_000}  # more image tokens than the context of 512
    assert refused(client, **asked(mm_processor_kwargs=large)) == "messages"


def test_networks_turn_flatten_and_part_a_page_in_one_engine(tmp_path: Path) -> None:
    """Random weights: what they find is arbitrary, and all ink on the page is read whatever it is."""
    networks = {
        "layout": write_layout_checkpoint(tmp_path / "layout", "pp_doclayout_v3"),
        "orientation": write_orientation_checkpoint(tmp_path / "orientation"),
        "unwarping": write_unwarping_checkpoint(tmp_path / "unwarping"),
    }
    folder = write_script(tmp_path / "model", "One", " two", " three.")
    with running_engine(folder, **networks) as engine, client_of(engine) as client:
        body = asked("read", image_part(page("a", "b")), upright=True)
        whole, streamed = choice(client, **body), chunks(client, **body)[-1]["choices"][0]
        flat = choice(client, **body, unwarp=True)["ocr"]
    report = whole["ocr"]
    assert (report["layout"], report["pages"][0]["angle"] % 90) == (True, 0)
    assert "One two three." in whole["message"]["content"]
    assert streamed["ocr"] == report
    assert flat["pages"] == report["pages"]
