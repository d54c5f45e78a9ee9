"""Schemas that are filled from pages read block by block, as `layout: true` asks for."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

from engine.engine import Engine
from models.detection import Box, Detection
from tests.checkpoints import write_script
from tests.documents import finds
from tests.engines import running_engine
from tests.http.asking import choice, chunks, refused
from tests.http.documents import document, file_part
from tests.http.served import client_of
from tests.payloads import image_part, user


def two_texts() -> Image.Image:
    """A page with ink in the boxes of `SIDE_BY_SIDE` only."""
    paper = Image.new("RGB", (800, 1000), "white")
    for left in (30, 410):
        ImageDraw.Draw(paper).text((left, 30), "Total 5.00", fill="black", font_size=20)
    return paper


PAGE = image_part(two_texts())
SIDE_BY_SIDE = [Detection("text", 0.9, Box(20, 20, 200, 60), 0), Detection("text", 0.9, Box(400, 20, 600, 60), 1)]
OWN = {"type": "object", "properties": {"total": {"type": "number"}}}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(write_script(tmp_path_factory.mktemp("scripted") / "model", "Total", " 5.00")) as engine:
        yield engine


@pytest.fixture
def client(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A server whose layout network finds two texts side by side on every page."""
    finds(monkeypatch, SIDE_BY_SIDE)
    with client_of(scripted) as client:
        yield client


def asked(words: str = "the receipt", *parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    messages = user({"type": "text", "text": words}, *(parts or (PAGE,)))
    small = {"max_pixels": 28 * 28 * 16}
    return {"messages": messages, "max_tokens": 50, "mm_processor_kwargs": small, "layout": True} | fields


def test_a_receipt_is_filled_from_its_blocks_which_are_reported(client: TestClient) -> None:
    found = choice(client, **asked(ocr={"words": True}))
    report = found["ocr"]
    assert json.loads(found["message"]["content"])["total"] == 5
    assert (report["mode"], report["layout"]) == ("receipt", True)
    assert [block["box"][0] // 100 for block in report["blocks"]] == [0, 4]
    assert {block["text"] for block in report["blocks"]} == {None}
    assert [line["text"] for line in report["lines"]] == ["Total 5.00\tTotal 5.00"]
    (total,) = [field for field in report["fields"] if field["path"] == "total"]
    assert (total["status"], total["line"]) == ("ok", "Total 5.00\tTotal 5.00")
    assert 0 < total["confidence"] <= 1


def test_a_stream_has_the_same_object_and_report(client: TestClient) -> None:
    whole, streamed = choice(client, **asked()), chunks(client, **asked())
    content = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in streamed if chunk["choices"])
    assert content == whole["message"]["content"]
    assert streamed[-1]["choices"][0]["ocr"] == whole["ocr"]


def test_a_schema_of_the_request_is_filled_from_blocks_in_any_mode_that_reads_text(client: TestClient) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "own", "schema": OWN}}
    for words in ("read", "the invoice"):
        found = choice(client, **asked(words, response_format=form, grounded=True))
        assert (json.loads(found["message"]["content"]), found["ocr"]["layout"]) == ({"total": 5}, True)


def test_all_pages_of_a_pdf_fill_one_object(client: TestClient) -> None:
    found = choice(client, **asked("the receipt", file_part(document("PDF")), ocr={"words": True}))
    assert len(found["ocr"]["pages"]) == 4
    assert len(found["ocr"]["lines"]) == 4  # the rules between two pages have no tokens
    assert json.loads(found["message"]["content"])["total"] == 5


def test_the_model_is_asked_about_what_the_blocks_leave_open(client: TestClient) -> None:
    open_ended = {"type": "object", "properties": {"colour": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "own", "schema": open_ended}}
    found = choice(client, **asked("the receipt", response_format=form, upright=False))
    assert json.loads(found["message"]["content"])["colour"] in (None, "Total", "5.00", "Total 5.00")


@pytest.mark.parametrize("fields", [{"n": 2}, {"ignore_eos": True}, {"min_tokens": 2}, {"running": True}])
def test_what_one_object_cannot_have_is_refused_by_name(client: TestClient, fields: dict[str, Any]) -> None:
    assert refused(client, **asked(**fields)) == next(iter(fields))


def test_without_layout_the_page_stays_one_image(client: TestClient) -> None:
    report = choice(client, **asked(layout=None))["ocr"]
    assert (report["layout"], report["blocks"]) == (False, None)
