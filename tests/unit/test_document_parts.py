"""Blocks that a checkpoint reads in parts: one text, one block, one stream."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from PIL import Image

from answers.document import DocumentReading
from answers.pages import PageWishes
from engine.engine import Engine
from engine.errors import GenerationFailed
from engine.request import SamplingParams
from layout.options import Kind
from layout.tasks import BOUNDS
from models.detection import Box, Detection, hull
from models.protocol import WHOLE_BLOCKS, BlockLimits, PixelBounds
from tests.checkpoints import write_limits, write_script
from tests.documents import FAST, WISHES, finds, run, source, texts
from tests.engines import running_engine
from tests.printed import Sheet

LINES = ["Total amount due", "Invoice number 17", "Delivered on Friday", "Corner bakery", "Paid in cash", "Thank you"]
ROWS = [("Bread", "1.25"), ("Milk", "0.99"), ("Coffee", "4.50"), ("Apples", "2.10")]


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that answers every prompt alike, and reads two lines, or two rows, at once."""
    folder = write_script(tmp_path_factory.mktemp("scripted") / "model", "one", " two", " three")
    write_limits(folder, BlockLimits(2, 2))
    with running_engine(folder, slots=2) as engine:
        yield engine


def page(label: str = "text") -> tuple[Image.Image, list[Detection]]:
    """A page with LINES in one block, or with ROWS, and the block."""
    sheet = Sheet()
    for place, line in enumerate([(line,) for line in LINES] if label == "text" else ROWS):
        for column, text in enumerate(line):
            sheet.line(100 + 200 * column, 100 + 34 * place, text, 22)
    box = hull(sheet.boxes)
    return sheet.image, [Detection(label, 0.9, Box(box.left - 2, box.top - 2, box.right + 2, box.bottom + 2), 0)]


def reading_of(engine: Engine, patch: pytest.MonkeyPatch, label: str, wishes: PageWishes = FAST) -> DocumentReading:
    image, found = page(label)
    finds(patch, found)
    return run(engine, [source(image)], wishes)[0]


def test_a_tall_block_is_read_line_by_line_and_is_one_text(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: blocks of nine lines and more fell into loops, and nearly three in ten of their characters were wrong."""
    assert reader.block_limits.lines is not None
    assert reader.block_limits.lines < len(LINES)
    ((text,),) = texts(reading_of(reader, monkeypatch, "text", WISHES))
    found = text.split("\n")
    assert len(found) == len(LINES)
    assert sum(line == printed for line, printed in zip(found, LINES, strict=True)) >= len(LINES) - 1


def test_a_tall_table_is_one_table(in_parts: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts(reading_of(in_parts, monkeypatch, "table")) == [["one two three<nl>one two three"]]


def test_without_such_a_limit_a_block_is_read_at_once(in_parts: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "block_limits", WHOLE_BLOCKS)
    assert texts(reading_of(in_parts, monkeypatch, "text")) == [["one two three"]]


def test_blocks_are_enlarged_as_the_checkpoint_wants_them_unless_the_request_says(
    in_parts: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prompt_tokens(limits: BlockLimits, asked: Mapping[Kind, PixelBounds] | None = None) -> int:
        monkeypatch.setattr(Engine, "block_limits", limits)
        wishes = replace(FAST, options=replace(FAST.options, bounds=asked or {}))
        return reading_of(in_parts, monkeypatch, "text", wishes).usage.prompt

    released = prompt_tokens(WHOLE_BLOCKS)
    smaller = BlockLimits(min_pixels=BOUNDS.min_pixels // 2)
    assert prompt_tokens(smaller) < 0.8 * released
    assert prompt_tokens(smaller, {"ocr": BOUNDS}) == released


def test_a_page_that_is_one_block_is_read_at_once(in_parts: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = reading_of(in_parts, monkeypatch, "text", PageWishes(layout=False, options=FAST.options))
    assert texts(reading) == [["one two three"]]


def test_every_text_of_a_part_has_its_place_in_the_transcript(
    in_parts: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, found = page()
    finds(monkeypatch, found)
    reading, events = run(in_parts, [source(image)] * 2)
    whole = reading.transcript.text
    assert whole == "\n\n".join(["\n".join(["one two three"] * 3)] * 2)
    assert "".join(event.token.text for event in events if event.token is not None) == whole.replace("\n\n", "")
    assert all(whole[event.place :].startswith(event.token.text) for event in events if event.token is not None)
    assert [event.kind for event in events if event.kind != "text"] == ["begin", "end", "page"] * 2
    assert (reading.usage.completion, len(reading.times)) == (2 * 3 * 4, 6)  # each of three pieces and the end


def test_a_part_that_fails_leaves_the_others(in_parts: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, count = Engine.submit, iter(range(10))

    async def fail_second(*args: object, **named: object) -> object:
        if next(count) == 1:
            raise GenerationFailed("not enough memory")
        return await submit(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "submit", fail_second)
    (block,) = reading_of(in_parts, monkeypatch, "text").pages[0].blocks
    assert (block.text, block.error) == ("one two three\none two three", "not enough memory")


def test_a_part_that_ends_at_its_limit_cuts_its_block(in_parts: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    image, found = page()
    finds(monkeypatch, found)
    reading, _ = run(in_parts, [source(image)], params=lambda _: SamplingParams(max_tokens=2))
    (block,) = reading.pages[0].blocks
    assert (block.text, block.cut) == ("\n".join(["one two"] * 3), "length")
