"""What ends a document or a part of it, and what it takes of the engine meanwhile."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from answers.document import BlockEvent, DocumentReading
from engine.engine import Engine
from engine.errors import DeadlineExceeded, EngineUnavailable, GenerationFailed, InvalidRequest
from engine.request import Deadline, SamplingParams
from images.errors import InvalidImage
from images.source import ImageSource
from layout.options import LayoutOptions
from models.protocol import PixelBounds
from tests.checkpoints import write_script
from tests.documents import FAST, QUICK, SIZE, SMALL, detections, finds, greedy, page, run, source, texts
from tests.engines import running_engine

# --- what fails -----------------------------------------------------------------------------------------------------

TOO_LARGE = LayoutOptions(bounds={"ocr": SMALL, "table": PixelBounds(600_000, 600_000)})  # for a context of 512 tokens


def test_a_block_that_cannot_be_read_leaves_the_others(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["table", "text"]))
    reading, _ = run(scripted, [source(page("a", "b"))], replace(FAST, options=TOO_LARGE))
    table, text = reading.pages[0].blocks
    assert (table.text, text.text) == ("", "one two three")
    assert table.error is not None
    assert "512 tokens" in table.error


def test_where_no_block_can_be_read_the_answer_fails(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["table", "table"]))
    with pytest.raises(InvalidRequest, match="512 tokens"):
        run(scripted, [source(page("a", "b"))], replace(FAST, options=TOO_LARGE))


def test_a_field_that_is_wrong_for_every_block_fails_the_answer_before_it_begins(
    scripted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, detections(["text", "text"]))
    seen: list[BlockEvent] = []
    with pytest.raises(InvalidRequest) as raised:
        run(
            scripted,
            [source(page("a", "b"))],
            params=lambda _: SamplingParams(logit_bias={10**9: 1.0}),
            each=lambda _, event: seen.append(event),
        )
    assert (raised.value.param, seen) == ("logit_bias", [])


def test_a_page_that_the_network_fails_on_is_read_by_its_ink(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, [])

    async def fail(*_: object) -> None:
        raise GenerationFailed("not enough memory for a page")

    monkeypatch.setattr(Engine, "find_blocks", fail, raising=False)
    options = replace(QUICK, uncovered_ink=True)
    reading, _ = run(scripted, [source(page("Total"))], replace(FAST, options=options))
    assert (reading.pages[0].error, texts(reading)) == ("not enough memory for a page", [["one two three"]])


def damaged() -> Image.Image:
    raise InvalidImage("the page is damaged")


def test_a_damaged_page_ends_the_answer_after_the_pages_before_it(
    scripted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, detections(["text"]))
    kinds: list[str] = []
    with pytest.raises(InvalidImage):
        run(
            scripted,
            [source(page("a")), ImageSource(damaged, page=True)],
            each=lambda _, event: kinds.append(event.kind),
        )
    assert kinds[0] == "begin"
    assert kinds[-2:] == ["end", "page"]


def test_a_deadline_ends_a_document(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text"] * 4))

    async def read() -> None:
        hold = scripted.hold(deadline=Deadline(time.monotonic() + 0.2, 0.2))
        sources = [source(page(*"abcd"))] * 100
        reading = DocumentReading(engine=scripted, hold=hold, sources=sources, wishes=FAST, params=greedy)
        try:
            async for _ in reading.events():
                pass
        finally:
            hold.release()

    with pytest.raises(DeadlineExceeded):
        asyncio.run(read())


def test_the_end_of_the_engine_ends_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text"] * 4))
    folder = write_script(tmp_path / "model", "one", " two", " three")
    with running_engine(folder, slots=2) as engine:

        def stop(_: DocumentReading, event: BlockEvent) -> None:
            if event.kind == "end":
                engine.shutdown(0)

        with pytest.raises(EngineUnavailable):
            run(engine, [source(page(*"abcd"))] * 5, each=stop)


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_only_a_few_pages_are_open_at_once(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long document took the memory of all its pages."""
    finds(monkeypatch, detections(["text"] * 4))
    opened: list[int] = []
    image = page(*"abcd")

    def opening(index: int) -> ImageSource:
        def open_() -> Image.Image:
            opened.append(index)
            return image

        return ImageSource(open_, page=True)

    bytes_of_page = SIZE[0] * SIZE[1] * 3
    ahead, held = [], []

    def watch(_: DocumentReading, event: BlockEvent) -> None:
        ahead.append(opened[-1] - event.page.index)
        held.append(scripted.admission.bytes)

    run(scripted, [opening(index) for index in range(12)], each=watch)
    assert opened == list(range(12))
    assert max(ahead) <= 4  # one is cut up, one waits, one is being sent, and its predecessor's last blocks run
    assert 0 < max(held) < 3 * bytes_of_page


def test_all_bytes_are_given_back(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text", "table"]))
    run(scripted, [source(page("a", "b"))] * 3, replace(FAST, options=TOO_LARGE))
    assert (scripted.admission.bytes, scripted.admission.inside) == (0, 0)


def test_images_that_are_kept_count_until_the_answer_ends(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["image"]))
    held: list[int] = []
    wishes = replace(FAST, keep_images=True)
    run(scripted, [source(page("a"))] * 2, wishes, each=lambda *_: held.append(scripted.admission.bytes))
    assert held[-1] == 2 * 500 * 50 * 3
    assert scripted.admission.bytes == 0


def test_no_more_blocks_are_in_the_engine_than_it_has_slots(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that waited there went before other requests of the same client."""
    finds(monkeypatch, detections(["text"] * 6))
    inside: list[int] = []
    run(scripted, [source(page(*"abcdef"))], each=lambda *_: inside.append(scripted.admission.inside))
    assert max(inside) == scripted.slots


def test_a_reader_that_leaves_frees_everything(scripted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, detections(["text"] * 4))

    async def leave() -> None:
        hold = scripted.hold()
        sources = [source(page(*"abcd"))] * 5
        reading = DocumentReading(engine=scripted, hold=hold, sources=sources, wishes=FAST, params=greedy)
        await reading.begin()
        reading.abort()
        hold.release()
        while scripted.admission.inside or scripted.admission.bytes:  # noqa: ASYNC110 - the engine tells no one
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(leave(), 20))
