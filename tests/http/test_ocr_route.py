"""/v1/ocr, in Mistral's shapes, over a real engine with boxes that are given."""

import base64
import io
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from answers.transcript import Transcript
from api.mistral import answer_of
from api.reading import Document
from api.schema.ocr import OcrRequest
from engine.engine import Engine
from tests.checkpoints import write_script
from tests.documents import detections, finds, page, source
from tests.engines import running_engine
from tests.http.scraping import scrape
from tests.http.served import MODEL, client_of
from tests.pages import block
from tests.pages import page as read_page

LABELS = ["header", "doc_title", "text", "image", "number"]
TEXTS = ["Head", "One", "Two", "Three", "4"]


def scan(*texts: str) -> str:
    """A document of two pages with these texts in the boxes of `detections`."""
    buffer = io.BytesIO()
    sheet = page(*texts)
    sheet.save(buffer, "TIFF", save_all=True, append_images=[sheet.copy()], compression="tiff_deflate")
    return f"data:image/tiff;base64,{base64.b64encode(buffer.getvalue()).decode()}"


FILE = scan(*TEXTS)
LAYOUT = SimpleNamespace(model_type="pp_doclayout_v3", labels=LABELS, orients=False, unwarps=False)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with short answers, as this route has no limit on tokens."""
    with running_engine(
        write_script(tmp_path_factory.mktemp("scripted") / "model", "One", " two", " three.")
    ) as engine:
        yield engine


@pytest.fixture
def reading(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server whose layout network finds the blocks of `LABELS` on every page."""
    finds(monkeypatch, detections(LABELS))
    monkeypatch.setattr(Engine, "layout", LAYOUT, raising=False)
    return client_of(engine)


def asked(client: TestClient, **fields: Any) -> dict[str, Any]:
    fields = {"document": {"type": "document_url", "document_url": FILE}, "pages": [0]} | fields
    response = client.post("/v1/ocr", json=fields)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def refused(client: TestClient, **fields: Any) -> tuple[str, str]:
    response = client.post("/v1/ocr", json={"document": {"type": "document_url", "document_url": FILE}} | fields)
    assert response.status_code == 400, response.text
    return response.json()["error"]["param"], response.json()["error"]["message"]


def test_every_page_has_its_markdown_and_size(reading: TestClient) -> None:
    body = asked(reading, pages=None)
    assert [one["index"] for one in body["pages"]] == [0, 1]
    assert all(one["markdown"].count("# ") for one in body["pages"])
    assert body["pages"][0]["dimensions"]["dpi"] == 72
    assert body["usage_info"]["pages_processed"] == 2


@pytest.mark.parametrize(("pages", "indices"), [([1], [1]), ("1", [1]), ("0-1", [0, 1]), ("1,0", [1, 0])])
def test_pages_are_chosen_by_numbers_and_ranges(reading: TestClient, pages: Any, indices: list[int]) -> None:
    assert [one["index"] for one in asked(reading, pages=pages)["pages"]] == indices


def test_images_are_named_over_the_document_and_come_as_base64_on_demand(reading: TestClient) -> None:
    body = asked(reading, pages=[0, 1], include_image_base64=True)
    names = [image["id"] for one in body["pages"] for image in one["images"]]
    assert names == ["img-0.jpeg", "img-1.jpeg"]
    assert "![img-1.jpeg](img-1.jpeg)" in body["pages"][1]["markdown"]
    data = body["pages"][0]["images"][0]["image_base64"].removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(data))).format == "JPEG"
    plain = asked(reading)["pages"][0]["images"][0]
    assert plain["image_base64"] is None


@pytest.mark.parametrize("fields", [{"image_limit": 0}, {"image_min_size": 2000}])
def test_images_beyond_a_limit_are_left_out(reading: TestClient, fields: dict[str, int]) -> None:
    (one,) = asked(reading, **fields)["pages"]
    assert one["images"] == []
    assert "img-" not in one["markdown"]


def test_headers_and_footers_stand_apart_on_demand(reading: TestClient) -> None:
    (whole,) = asked(reading, include_blocks=True)["pages"]
    (apart,) = asked(reading, include_blocks=True, extract_header=True, extract_footer=True)["pages"]
    assert (whole["header"], whole["footer"]) == (None, None)
    assert isinstance(apart["header"], str)
    assert isinstance(apart["footer"], str)
    assert len(apart["blocks"]) == len(whole["blocks"]) - 2


def test_tables_stand_apart_in_the_format_asked_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["table"]))
    client = client_of(engine)
    document = {"type": "document_url", "document_url": scan("Table")}
    (one,) = asked(client, table_format="html", document=document)["pages"]
    (table,) = one["tables"]
    assert (table["id"], table["format"]) == ("tbl-0.html", "html")
    assert one["markdown"] == "[tbl-0.html](tbl-0.html)"


def test_blocks_have_types_and_boxes(reading: TestClient) -> None:
    (one,) = asked(reading, include_blocks=True)["pages"]
    assert [block["type"] for block in one["blocks"]] == ["header", "title", "text", "image", "text"]
    assert one["blocks"][3]["image_id"] == one["images"][0]["id"]
    assert one["blocks"][0]["top_left_x"] < one["blocks"][0]["bottom_right_x"]


@pytest.mark.parametrize("granularity", ["page", "word", "block"])
def test_confidence_comes_in_the_granularity_asked_for(reading: TestClient, granularity: str) -> None:
    (one,) = asked(reading, confidence_scores_granularity=granularity, include_blocks=True)["pages"]
    scores = one["confidence_scores"]
    assert 0 < scores["minimum_page_confidence_score"] <= scores["average_page_confidence_score"] <= 1
    assert (scores["word_confidence_scores"] is not None) == (granularity == "word")
    assert (one["blocks"][1]["confidence_scores"] is not None) == (granularity == "block")


def test_a_schema_is_filled_from_the_document(reading: TestClient) -> None:
    schema = {"type": "object", "properties": {"date": {"type": ["string", "null"]}}}
    format_ = {"type": "json_schema", "json_schema": {"name": "letter", "schema": schema}}
    assert set(json.loads(asked(reading, document_annotation_format=format_)["document_annotation"])) == {"date"}


def test_an_image_is_read_as_well(reading: TestClient) -> None:
    buffer = io.BytesIO()
    page(*TEXTS).save(buffer, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    for address in (uri, {"url": uri}):
        (one,) = asked(reading, document={"type": "image_url", "image_url": address}, pages=None)["pages"]
        assert one["dimensions"] == {"dpi": 72, "height": 1000, "width": 800}


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"pages": [2]}, "pages", "page 2 does not exist"),
        ({"pages": "x"}, "pages", "such as 0,2-4"),
        ({"pages": "0,5-2"}, "pages", "such as 0,2-4"),
        ({"pages": "0-999999,0-999999"}, "pages", "over 10000 pages"),
        ({"pages": ",".join(["0-9999"] * 100_000)}, "pages", "over 10000 pages"),
        ({"pages": [1, 0, 1]}, "pages", "page 1 is named more than once"),
        ({"document": {"type": "file", "file_id": "x"}}, "document.file_id", "not supported"),
        ({"document": {"type": "file"}}, "document", "cannot be uploaded"),
        ({"document": {"type": "document_url"}}, "document.document_url", "missing"),
        ({"document_annotation_prompt": "x"}, "document_annotation_prompt", "not supported"),
        ({"bbox_annotation_format": {"type": "text"}}, "bbox_annotation_format", "not supported"),
        ({"table_format": "csv"}, "table_format", "'markdown' or 'html'"),
        ({"image_limit": -1}, "image_limit", "greater than or equal to 0"),
    ],
)
def test_a_field_that_cannot_be_is_named(reading: TestClient, fields: dict[str, Any], param: str, said: str) -> None:
    named, message = refused(reading, **fields)
    assert named.startswith(param)
    assert said in message


def test_a_file_name_is_reported_as_ignored(reading: TestClient) -> None:
    document = {"type": "document_url", "document_url": FILE, "document_name": "letter.pdf"}
    response = reading.post("/v1/ocr", json={"document": document, "pages": [0]})
    assert response.headers["x-ignored-fields"] == "document.document_name"


def test_a_model_that_is_not_served_is_refused(reading: TestClient) -> None:
    """Bug: every name was taken."""
    response = reading.post("/v1/ocr", json={"document": {"document_url": FILE}, "model": "other"})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "model")


def test_a_name_of_mistrals_means_the_model_that_is_served(reading: TestClient) -> None:
    assert asked(reading, model="mistral-ocr-latest")["model"] == MODEL


def test_a_text_that_looks_like_a_link_to_a_figure_stays() -> None:
    """Bug: the whole document failed."""
    text = "![x](page-9-figure-1.png)"
    read = read_page(block("algorithm", text))
    transcript = Transcript()
    transcript.add(text, None)
    document = Document(sources=[source(page())], pages=[read], transcript=transcript, filled=None)
    body = OcrRequest.model_validate({"document": {"document_url": "data:"}})
    assert text in answer_of(body, document, MODEL).pages[0].markdown


# --- what both routes for documents tell of themselves ----------------------------------------------------------------


def test_documents_are_counted_by_how_they_ended(reading: TestClient) -> None:
    """Bug: a document that was refused counted as asked for, and as given up."""
    before = scrape(reading)
    refused(reading, pages=[9])
    reading.post("/v1/ocr", json={"document": {"document_url": "data:image/png;base64,AAAA"}})
    asked(reading)
    after = scrape(reading)

    def more(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert more("paddleocr_vl:requests_total", mode="document") == 1
    assert more("vllm:request_success_total", finished_reason="abort") == 0
    assert more("vllm:request_success_total") == 1
    assert more("paddleocr_vl:rejections_total", reason="invalid") == 2


def test_refusals_of_layout_parsing_are_counted(reading: TestClient) -> None:
    reading.post("/layout-parsing", json={"file": "%%"})
    assert scrape(reading)("paddleocr_vl:rejections_total", reason="invalid") == 1
