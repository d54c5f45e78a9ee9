"""A document's blocks in one batch: in reading order, within bounds, each with its own outcome."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from answers.document import DocumentReading
from answers.document_text import DocumentText
from answers.pages import PageWishes, looks_like_page
from engine.engine import Engine
from engine.request import SamplingParams
from images.source import ImageSource
from layout.markdown.options import MarkdownOptions
from models.detection import Box, Detection
from tests.documents import FAST, SIZE, WISHES, boxes, detections, finds, greedy, page, run, source, texts

TEXTS = ("Total amount due", "Invoice number 17", "Date of delivery")


def markdown(engine: Engine, sources: Sequence[ImageSource], *, streaming: bool) -> tuple[str, str]:
    """The content, and the pieces of the events put together."""

    async def read() -> tuple[str, str]:
        hold = engine.hold()
        reading = DocumentReading(engine=engine, hold=hold, sources=sources, wishes=FAST, params=greedy)
        answer = DocumentText(reading=reading, options=MarkdownOptions(images="none"), streaming=streaming)
        pieces = [event.content async for event in answer.events()]
        hold.release()
        return answer.content, "".join(pieces)

    return asyncio.run(read())


# --- reading --------------------------------------------------------------------------------------------------------


def test_each_block_is_read_with_its_own_image(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text"] * 3))
    reading, _ = run(reader, [source(page(*TEXTS))], WISHES)
    assert texts(reading) == [list(TEXTS)]


def test_a_block_reads_the_same_in_company_as_alone(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["doc_title", "text", "table"]))
    together, _ = run(reader, [source(page(*TEXTS))], WISHES)
    alone = []
    for one in detections(["doc_title", "text", "table"]):
        finds(monkeypatch, [one])
        alone += texts(run(reader, [source(page(*TEXTS))], WISHES)[0])[0]
    assert texts(together) == [alone]


def test_events_come_in_reading_order_from_pages_that_run_at_once(
    scripted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, detections(["text", "text"]))
    _, events = run(scripted, [source(page("a", "b"))] * 3)
    assert [event.kind for event in events if event.kind != "text"] == ["begin", "end", "begin", "end", "page"] * 3
    assert [event.page.index for event in events] == sorted(event.page.index for event in events)


def test_every_text_has_its_place_in_the_transcript(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text", "text"]))
    reading, events = run(scripted, [source(page("a", "b"))] * 2)
    whole = reading.transcript.text
    assert whole == "\n\n".join(["one two three"] * 4)
    assert all(whole[event.place :].startswith(event.token.text) for event in events if event.token is not None)


def test_tokens_of_all_blocks_are_counted(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text"]))
    one, _ = run(scripted, [source(page("a"))])
    finds(monkeypatch, detections(["text", "text"]))
    four, _ = run(scripted, [source(page("a", "b"))] * 2)
    assert (four.usage.prompt, four.usage.completion) == (4 * one.usage.prompt, 4 * one.usage.completion)
    assert one.usage.completion == 4  # three pieces and the end


def test_a_block_that_is_kept_as_an_image_is_not_read(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text", "image"]))
    reading, _ = run(scripted, [source(page("a", "b"))], replace(FAST, keep_images=True))
    assert texts(reading) == [["one two three", ""]]
    (text, image) = reading.pages[0].blocks
    assert text.image is None
    assert image.image is not None
    assert image.image.size == (500, 50)


def test_images_are_kept_only_where_they_are_wanted(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text", "image"]))
    reading, _ = run(scripted, [source(page("a", "b"))])
    assert [block.image for block in reading.pages[0].blocks] == [None, None]


def test_an_empty_page_has_no_text(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, [])
    reading, events = run(scripted, [source(Image.new("RGB", SIZE, "white"))])
    assert [event.kind for event in events] == ["page"]
    assert (texts(reading), reading.times) == ([[]], [])


def test_without_layout_a_page_is_one_block_whose_label_is_its_prompt(scripted: Engine) -> None:
    asked = []

    def params(mode: str) -> SamplingParams:
        asked.append(mode)
        return greedy(mode)

    reading, _ = run(scripted, [source(page("a"))], replace(FAST, layout=False, label="chart"), params=params)
    (block,) = reading.pages[0].blocks
    assert (block.block.label, block.block.parts[0].box, block.text) == ("chart", (0, 0, *SIZE), "one two three")
    assert asked == ["chart"]


def test_a_page_of_images_alone_is_read_whole_where_it_must_not_stay_unread(
    scripted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, detections(["image"]))
    sources = [source(page("a"))]
    assert texts(run(scripted, sources)[0]) == [[""]]
    assert texts(run(scripted, sources, replace(FAST, never_unread=True))[0]) == [["one two three"]]


# --- as Markdown ----------------------------------------------------------------------------------------------------


def test_a_stream_has_the_text_of_the_whole(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [source(page("a", "b"))] * 2
    contents: list[str] = []
    for streaming in (False, True):
        finds(monkeypatch, detections(["doc_title", "text"]), detections(["table", "image"]))
        contents += markdown(scripted, sources, streaming=streaming)
    assert len(set(contents)) == 1
    assert contents[0].startswith("# one two three\n\none two three")


def test_a_block_that_ends_at_its_limit_says_so(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text"]))
    reading, _ = run(scripted, [source(page("a"))], params=lambda _: SamplingParams(max_tokens=2))
    assert (reading.pages[0].blocks[0].cut, reading.finish_reason) == ("length", "length")


@pytest.mark.parametrize(
    ("size", "expected"),
    [((800, 1000), True), ((1000, 720), True), ((600, 400), False), ((1600, 400), False), ((300, 720), False)],
)
def test_an_image_like_a_sheet_of_paper_is_a_page(size: tuple[int, int], expected: bool) -> None:
    assert looks_like_page(source(Image.new("RGB", size), page=False)) is expected


def test_a_page_of_a_document_is_a_page_whatever_its_size() -> None:
    assert looks_like_page(source(Image.new("RGB", (50, 50))))


def test_boxes_of_the_test_page_lie_on_it() -> None:
    assert all(box.bottom <= SIZE[1] for box in boxes(6))


def test_images_that_are_kept_are_no_larger_than_they_are_returned(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: those of a scanned document stayed as large as they were scanned."""
    finds(monkeypatch, [Detection("image", 0.9, Box(0, 0, 4000, 1000), 0)])
    wishes = PageWishes(layout=True, keep_images=True)
    reading, _ = run(engine, [source(Image.new("RGB", (4000, 2000), "blue"))], wishes)
    image = reading.pages[0].blocks[0].image
    assert image is not None
    assert image.size == (2000, 500)
