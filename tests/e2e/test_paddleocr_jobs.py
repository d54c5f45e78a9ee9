"""The client and the command of the package `paddleocr` for its job API, unchanged, against a real OCR API on
PostgreSQL."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.sample import IMAGE, assert_nearly_read
from tests.e2e.servers import Server
from tests.e2e.test_foreign_clients import PROGRAMS, run
from tests.file_server import file_server
from tests.keys import ALICE, BOB
from tests.ocr_service import Service, running
from tests.postgres import Postgres

JPEG = "ffd8"


@pytest.fixture(scope="module")
def api(server: Server, database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The OCR API with a worker in it, for clients with keys."""
    settings = {"VLLM_URL": server.url, "ALLOWED_HOSTS": "127.0.0.1", "API_KEYS": f"alice:{ALICE},bob:{BOB}"}
    where = {"JOBS_DATABASE_URL": database.database()}
    with running(tmp_path_factory.mktemp("ocr"), **settings, **where) as service:
        yield service


@pytest.fixture(scope="module")
def answers(api: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client got in each way of using it."""
    folder = tmp_path_factory.mktemp("client")
    page = Image.open(IMAGE).convert("RGB")
    page.save(folder / "document.pdf", save_all=True, append_images=[page], resolution=144)
    page.save(folder / "image.png")
    data = io.BytesIO()
    page.save(data, "PNG")
    with file_server() as files, pytest.MonkeyPatch.context() as patch:
        files.answers["/page.png"] = lambda handler: handler.answer(body=data.getvalue())
        patch.setenv("PADDLEOCR_BASE_URL", f"http://127.0.0.1:{api.port}")
        program = PROGRAMS / "submit_jobs_with_paddleocr.py"
        found: dict[str, Any] = json.loads(run(folder, "python", program, folder, ALICE, files.url()))
    return found


def read(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The pages, each with the text of the image."""
    pages: list[dict[str, Any]] = answer["pages"]
    for page in pages:
        assert_nearly_read(page["text"].replace("\n\n", "\n"))
    return pages


def test_a_pdf_that_is_uploaded_is_read_page_by_page(answers: dict[str, Any]) -> None:
    first, second = read(answers["file"])
    assert first["input"] != second["input"]
    assert answers["file"]["info"]["type"] == "pdf"
    assert answers["file"]["info"]["numPages"] == 2


def test_images_of_all_pages_are_saved_beside_each_other(answers: dict[str, Any]) -> None:
    assert {"page_1_layout_det_res", "page_2_layout_det_res"} <= set(answers["saved"])
    assert set(answers["saved"].values()) == {JPEG}


def test_an_image_at_an_address_is_read(answers: dict[str, Any]) -> None:
    (page,) = read(answers["url"])
    assert page["outputs"] == ["layout_det_res"]
    assert answers["url"]["info"]["type"] == "image"


def test_every_option_of_the_client_works(answers: dict[str, Any]) -> None:
    (page,) = read(answers["everything"])
    assert (page["outputs"], page["input"]) == ([], None)  # visualize=False


def test_the_asynchronous_client_reads_the_pages_that_it_names(answers: dict[str, Any]) -> None:
    assert len(read(answers["async"])) == 1


def test_a_batch_shows_its_jobs_in_the_order_of_their_submission(answers: dict[str, Any]) -> None:
    jobs = answers["batch"]
    assert [job["state"] for job in jobs] == ["done"] * 3
    assert [job["progress"]["total_pages"] for job in jobs] == [1, 1, 1]
    assert all(job["progress"]["start_time"] <= job["progress"]["end_time"] for job in jobs)


@pytest.mark.parametrize(
    ("case", "kind", "said"),
    [
        ("unknown", "InvalidRequestError", "useMagic is not known here"),
        ("formats", "InvalidRequestError", "'docx' cannot be made here"),
        ("value", "InvalidRequestError", "layoutShapeMode"),
        ("model", "InvalidRequestError", "model: this model is not served here; PaddleOCR-VL"),
        ("ocr", "InvalidRequestError", "PP-OCRv6"),
        ("pages", "InvalidRequestError", "pageRanges: use pages from 1 such as 1-3,7"),
        ("file", "InvalidRequestError", "is not a document in a supported format"),
        ("job", "APIError", "There is no job job_none"),
        ("key", "AuthError", "Incorrect API key provided"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(answers: dict[str, Any], case: str, kind: str, said: str) -> None:
    refusal = answers["refused"][case]
    assert refusal["type"] == kind
    assert said in refusal["message"]
    assert '"msg"' not in refusal["message"]  # a message, and not a body that the client could not read


def test_a_job_that_fails_tells_the_client_why(answers: dict[str, Any]) -> None:
    assert answers["failed"]["type"] == "JobFailedError"
    assert answers["failed"]["message"].endswith("the PDF has 2 pages; there is no page 7")


def test_the_command_reads_an_image_and_saves_its_files(api: Service, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    where = ["--base_url", f"http://127.0.0.1:{api.port}", "--token", BOB]
    kept = ["--output", "result.json", "--save_resources", "out"]
    options = ["--use_layout_detection", "True", "--use_chart_recognition", "True", "--prettify_markdown", "False"]
    run(tmp_path, "paddleocr", "api", "--model_type", "doc_parsing", "--file_path", IMAGE, *where, *kept, *options)
    (page,) = json.loads((tmp_path / "result.json").read_text())["pages"]
    assert_nearly_read(page["markdownText"].replace("\n\n", "\n"))
    assert (tmp_path / "out" / "layout_det_res").read_bytes().startswith(bytes.fromhex(JPEG))
