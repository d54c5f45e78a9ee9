"""An image of text that is read in parts: one answer, whatever happens in a part."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from answers.events import AnswerEvent
from answers.prompts import PendingPrompt
from answers.reading import Reading
from engine.engine import Engine
from engine.errors import GenerationFailed
from engine.request import SamplingParams
from models.paddleocr_vl.prompts import OCR
from models.protocol import BlockLimits
from modes.choose import Prompt, Turn, choose
from tests.checkpoints import write_limits, write_script
from tests.documents import source
from tests.engines import running_engine
from tests.printed import Sheet
from tests.prompts import prompt as message

PARTS = 3
ANSWER = ("one", " two", " three")
TOKENS = len(ANSWER) + 1  # each part's: the end as well


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that answers every prompt alike, and reads two lines at once."""
    folder = write_script(tmp_path_factory.mktemp("scripted") / "model", *ANSWER)
    write_limits(folder, BlockLimits(lines=2))
    with running_engine(folder, slots=2) as made:
        yield made


def sheet() -> Any:
    """An image that is read in PARTS."""
    drawn = Sheet()
    for place in range(2 * PARTS):
        drawn.line(100, 100 + 34 * place, f"line {place}", 22)
    return source(drawn.image.crop((80, 80, 400, 120 + 34 * 2 * PARTS)), page=False)


def read(engine: Engine, *, divisible: bool = True, **params: Any) -> tuple[Reading, list[AnswerEvent]]:
    async def run() -> tuple[Reading, list[AnswerEvent]]:
        hold = engine.hold()
        try:
            prompt = Prompt(messages=message(1, OCR), images=[sheet()], mode="markdown", finished=True)
            sampled = [SamplingParams(**({"max_tokens": 64} | params))]
            pending = PendingPrompt(prompt=prompt, params=sampled, bounds=[engine.bounds], divisible=divisible)
            reading = Reading(engine=engine, hold=hold, choice=0, cut_repeats=True)
            (generation,) = await pending.submit(engine, hold, pending.params)
            reading.begin(pending, generation)
            reading.close()
            return reading, [event async for event in reading.events()]
        finally:
            hold.release()

    return asyncio.run(run())


def test_texts_of_the_parts_are_one_text_on_lines_of_their_own(engine: Engine) -> None:
    reading, events = read(engine)
    assert reading.transcript.text == "\n".join(["one two three"] * PARTS)
    assert "".join(event.text for event in events) == reading.transcript.text
    assert all(reading.transcript.text[event.place :].startswith(event.text) for event in events)
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop"]


def test_tokens_of_all_parts_are_counted(engine: Engine) -> None:
    whole, _ = read(engine, divisible=False)
    reading, events = read(engine)
    assert whole.transcript.text == "one two three"
    assert reading.usage.completion == events[-1].completion_tokens == PARTS * TOKENS
    assert reading.usage.prompt > whole.usage.prompt


@pytest.mark.parametrize("most", [TOKENS - 1, TOKENS, TOKENS + 2, PARTS * TOKENS - 1])
def test_max_tokens_counts_for_all_parts_together(engine: Engine, most: int) -> None:
    reading, events = read(engine, max_tokens=most)
    assert (events[-1].finish_reason, reading.usage.completion) == ("length", most)


def test_a_stop_string_in_a_part_ends_the_answer(engine: Engine) -> None:
    reading, events = read(engine, stop=[" three"])
    assert reading.transcript.text == "one two"
    assert (events[-1].finish_reason, events[-1].stop_reason) == ("stop", " three")


def test_a_part_that_cannot_be_queued_cancels_those_before(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, count = Engine.submit_all, iter(range(PARTS))

    async def fail_second(*args: Any, **named: Any) -> Any:
        if next(count) == 1:
            raise GenerationFailed("not enough memory")
        return await submit(*args, **named)

    monkeypatch.setattr(Engine, "submit_all", fail_second)
    with pytest.raises(GenerationFailed, match="not enough memory"):
        read(engine)
    monkeypatch.undo()
    assert read(engine)[0].transcript.text.count("one") == PARTS
    assert engine.stats().running == engine.stats().waiting == 0


def test_only_text_of_one_image_in_a_form_of_ours_is_read_in_parts() -> None:
    def divisible(words: str, images: int = 1, mode: str | None = None) -> bool:
        return choose([Turn("user", words, [sheet()] * images)], mode).prompts[0].is_text_of_one_image

    assert divisible("")
    assert divisible("Read this receipt")
    assert not divisible(OCR)  # an official prompt stays as it is
    assert not divisible("Read this table")
    assert not divisible("", images=2)
    assert not divisible("", mode="raw")
