"""An answer over many prompts: each in a mode of its own, some learned of while it runs."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from answers.answer import Answer, merged
from answers.events import AnswerEvent
from answers.finished import FinishedText
from answers.prompts import PendingPrompt
from answers.reading import Reading
from engine.engine import Engine
from engine.handles import Hold
from engine.request import SamplingParams
from layout.markdown.options import PAGE_SEPARATOR
from modes.choose import Prompt
from tests.checkpoints import write_script
from tests.engines import running_engine
from tests.prompts import prompt as message

RAW = "<fcel>a<fcel>b<nl><fcel>c<fcel>d<nl>"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose model answers every prompt with a table."""
    folder = write_script(tmp_path_factory.mktemp("table") / "model", "<fcel>a", "<fcel>b", "<nl><fcel>c<fcel>d<nl>")
    with running_engine(folder) as engine:
        yield engine


def pending(mode: str = "raw", *, finished: bool = False, max_tokens: int = 8) -> PendingPrompt:
    prompt = Prompt(messages=message(0, "read"), images=[], mode=mode, finished=finished)
    return PendingPrompt(prompt=prompt, params=[SamplingParams(max_tokens=max_tokens)], bounds=[])


async def begun(engine: Engine, hold: Hold, first: PendingPrompt, *, cut_repeats: bool = True) -> Reading:
    reading = Reading(engine=engine, hold=hold, choice=0, cut_repeats=cut_repeats)
    (generation,) = await first.submit(engine, hold, first.params)
    reading.begin(first, generation)
    return reading


async def until_it_waits(reading: Reading) -> None:
    """Returns once all prompts so far are done."""
    while not reading._changed._waiters:  # noqa: ASYNC110 - its event is the one being watched
        await asyncio.sleep(0.001)


async def collected(answer: Answer | Reading) -> list[AnswerEvent]:
    return [event async for event in answer.events()]


def run_answer(engine: Engine, prompts: Sequence[PendingPrompt], *, streaming: bool) -> FinishedText:
    """The answer to prompts that are all known at once."""

    async def run() -> FinishedText:
        hold = engine.hold()
        reading = await begun(engine, hold, prompts[0], cut_repeats=not streaming)
        reading.add(prompts[1:])
        reading.close()
        answer = FinishedText(reading=reading, table_format="auto", streaming=streaming)
        await collected(answer)
        hold.release()
        return answer

    return asyncio.run(run())


@pytest.mark.parametrize("streaming", [False, True])
def test_each_prompt_is_finished_in_its_own_mode(scripted: Engine, streaming: bool) -> None:
    prompts = [pending("raw"), pending("table", finished=True), pending("raw")]
    answer = run_answer(scripted, prompts, streaming=streaming)
    assert answer.content == PAGE_SEPARATOR.join([RAW, "| a | b |\n| --- | --- |\n| c | d |", RAW])


def test_an_event_says_its_kind_its_place_and_its_page(scripted: Engine) -> None:
    async def run() -> tuple[list[AnswerEvent], str]:
        hold = scripted.hold()
        reading = await begun(scripted, hold, pending())
        reading.add([pending()])
        reading.close()
        events = await collected(reading)
        hold.release()
        return events, reading.transcript.text

    events, transcript = asyncio.run(run())
    assert [event.kind for event in events if event.text == PAGE_SEPARATOR] == ["separator"]
    assert [event.page for event in events] == [0] * 5 + [1] * 4  # three tokens, the end; between them the separator
    assert all(transcript[event.place :].startswith(event.text) for event in events)
    assert [event.last for event in events] == [False] * 8 + [True]


def test_a_prompt_may_be_added_while_an_earlier_one_is_generated(scripted: Engine) -> None:
    async def run() -> list[AnswerEvent]:
        hold = scripted.hold()
        reading = await begun(scripted, hold, pending())
        events: list[AnswerEvent] = []
        async for event in reading.events():
            if not events:
                reading.add([pending()])
                reading.close()
            events.append(event)
        hold.release()
        return events

    assert [event.page for event in asyncio.run(run()) if event.end_token] == [0, 1]


def test_an_open_reading_waits_for_its_next_prompt(scripted: Engine) -> None:
    async def run() -> str:
        hold = scripted.hold()
        reading = await begun(scripted, hold, pending())
        events = asyncio.create_task(collected(reading))
        await until_it_waits(reading)
        assert not events.done()
        reading.add([pending()])
        reading.close()
        await events
        hold.release()
        return reading.transcript.text

    assert asyncio.run(run()).count(PAGE_SEPARATOR) == 1


def test_an_open_reading_ends_with_its_hold(checkpoint: Path) -> None:
    async def run(engine: Engine) -> None:
        hold = engine.hold()
        reading = await begun(engine, hold, pending(max_tokens=1))
        events = asyncio.create_task(collected(reading))
        await until_it_waits(reading)
        await asyncio.to_thread(engine.shutdown, 0)
        with pytest.raises(Exception, match="shutting down"):
            await events

    with running_engine(checkpoint) as engine:
        asyncio.run(run(engine))


def test_events_of_several_answers_come_with_their_index(scripted: Engine) -> None:
    async def run() -> dict[int, list[AnswerEvent]]:
        hold = scripted.hold(2)
        found: dict[int, list[AnswerEvent]] = {0: [], 1: []}
        answers = []
        for _ in found:
            reading = await begun(scripted, hold, pending(), cut_repeats=False)
            reading.close()
            answers.append(FinishedText(reading=reading, table_format="auto", streaming=True))
        events: AsyncIterator[tuple[int, AnswerEvent]] = merged(answers)
        async for index, event in events:
            found[index].append(event)
        hold.release()
        return found

    found = asyncio.run(run())
    assert ["".join(event.content for event in events) for events in found.values()] == [RAW] * 2
