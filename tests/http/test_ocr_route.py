"""/v1/ocr, in Mistral's shapes, over a real engine with boxes that are given."""

import base64
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.engine import Engine
from tests.documents import detections, finds, page
from tests.http.served import client_of

LABELS = ["header", "doc_title", "text", "image", "number"]
TEXTS = ["Head", "One", "Two", "Three", "4"]


def scan(*texts: str) -> str:
    """A document of two pages with these texts in the boxes of `detections`."""
    buffer = io.BytesIO()
    sheet = page(*texts)
    sheet.save(buffer, "TIFF", save_all=True, append_images=[sheet.copy()], compression="tiff_deflate")
    return f"data:image/tiff;base64,{base64.b64encode(buffer.getvalue()).decode()}"


FILE = scan(*TEXTS)


@pytest.fixture
def reading(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server whose layout network finds the blocks of `LABELS` on every page."""
    finds(monkeypatch, detections(LABELS))
    monkeypatch.setattr(Engine, "layout", SimpleNamespace(model_type="pp_doclayout_v3"), raising=False)
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
