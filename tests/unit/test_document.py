"""A document's blocks in one batch: in reading order, within bounds, each with its own outcome."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from PIL import Image

from answers.document import BlockEvent, DocumentReading
from answers.document_text import DocumentText
from answers.pages import PageWishes, looks_like_page
from engine.engine import Engine
from engine.errors import GenerationFailed, InvalidRequest
from engine.request import SamplingParams
from images.errors import InvalidImage
from images.source import ImageSource
from layout.markdown.options import MarkdownOptions
from layout.options import LayoutOptions
from models.protocol import PixelBounds
from tests.checkpoints import TINY, write_script
from tests.documents import SIZE, boxes, detections, finds, page, source
from tests.engines import running_engine

SMALL = PixelBounds(28 * 28, 28 * 28 * 16)
QUICK = LayoutOptions(bounds=dict.fromkeys(("ocr", "table", "chart"), SMALL))
WISHES = PageWishes(layout=True)
FAST = PageWishes(layout=True, options=QUICK)
TEXTS = ("Total amount due", "Invoice number 17", "Date of delivery")


@pytest.fixture(scope="module")
def reader() -> Iterator[Engine]:
    """An engine that reads what is on a page."""
    with running_engine(TINY, max_model_len=4096, slots=3) as engine:
        yield engine


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose model answers every prompt alike; it has two slots."""
    folder = write_script(tmp_path_factory.mktemp("scripted") / "model", "one", " two", " three")
    with running_engine(folder, slots=2) as engine:
        yield engine


def greedy(_: str) -> SamplingParams:
    return SamplingParams(max_tokens=40)


def run(
    engine: Engine,
    sources: Sequence[ImageSource],
    wishes: PageWishes = FAST,
    *,
    params: Callable[[str], SamplingParams] = greedy,
    each: Callable[[DocumentReading, BlockEvent], None] = lambda *_: None,
) -> tuple[DocumentReading, list[BlockEvent]]:
    """The reading once it has ended, with its events; `each` sees them as they come."""

    async def read() -> tuple[DocumentReading, list[BlockEvent]]:
        hold = engine.hold()
        try:
            reading = DocumentReading(engine=engine, hold=hold, sources=sources, wishes=wishes, params=params)
            events = []
            async for event in reading.events():
                each(reading, event)
                events.append(event)
            return reading, events
        finally:
            hold.release()

    return asyncio.run(read())


def texts(reading: DocumentReading) -> list[list[str]]:
    return [[block.text for block in one.blocks] for one in reading.pages]


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
