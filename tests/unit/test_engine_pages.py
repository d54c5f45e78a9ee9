"""Pages in a real engine, beside answers: the blocks that a layout network finds, and how work on pages ends."""

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import DeadlineExceeded, EngineUnavailable, GenerationFailed, InvalidRequest
from engine.looking import LayoutInfo
from engine.pace import Pace
from engine.request import Deadline
from models.detection import SEGMENTATION, SEGMENTATION_LABELS, Detection
from models.layout.network import LayoutNetwork
from models.layout.postprocess import Found
from models.protocol import Sliced
from tests.engines import answer, collect, running_engine, submit
from tests.layouts import LABELS, write_layout_checkpoint
from tests.prompts import noise_image

PAGES = [noise_image(120, 90), noise_image(60, 200)]
THRESHOLD = 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout_checkpoint(tmp_path_factory.mktemp("layout"), "pp_doclayout_v3")


@pytest.fixture(scope="module")
def reader(checkpoint: Path, folder: Path) -> Iterator[Engine]:
    with running_engine(checkpoint, max_model_len=4096, layout=folder) as engine:
        yield engine


def network_of(engine: Engine) -> LayoutNetwork:
    assert engine.runner is not None
    network = engine.runner.look.networks.layout
    assert network is not None
    return network


async def blocks_of(engine: Engine, threshold: float = THRESHOLD, **hold: Any) -> list[list[Detection]]:
    held = engine.hold(**hold)
    try:
        return await engine.find_blocks(PAGES, threshold, held)
    finally:
        held.release()


def endless(_pixels: torch.Tensor, _thresholds: Sequence[float]) -> Sliced[list[Found]]:
    while True:
        yield


def idle_pages(engine: Engine) -> bool:
    """After all that was posted before has taken effect."""
    idle = queue.SimpleQueue[bool]()
    engine.loop.post(lambda core: idle.put(core.pages.idle))
    return idle.get(timeout=30)


def test_blocks_are_those_of_the_network_alone(reader: Engine) -> None:
    expected = network_of(reader).find(PAGES, THRESHOLD)
    assert all(expected)
    assert asyncio.run(blocks_of(reader)) == [network_of(reader).find([page], THRESHOLD)[0] for page in PAGES]


def test_the_layout_network_is_told(reader: Engine, folder: Path) -> None:
    labels = tuple(LABELS.values())
    assert reader.layout == LayoutInfo(folder.name, "pp_doclayout_v3", labels, orients=False, unwarps=False)


def test_an_engine_without_a_layout_network_says_so(engine: Engine) -> None:
    assert engine.layout is None
    with pytest.raises(InvalidRequest, match="no layout model"):
        asyncio.run(blocks_of(engine))


def test_without_a_network_the_labels_are_those_of_the_segmentation(checkpoint: Path) -> None:
    """Bug: none were told, and options by label were refused."""
    with running_engine(checkpoint, segments=True) as engine:
        assert engine.layout == LayoutInfo(
            SEGMENTATION, SEGMENTATION, SEGMENTATION_LABELS, orients=False, unwarps=False
        )


def test_pages_are_counted_with_their_time(reader: Engine) -> None:
    before = reader.stats().totals
    asyncio.run(blocks_of(reader))
    after = reader.stats().totals
    assert after.pages - before.pages == len(PAGES)
    assert after.page_seconds > before.page_seconds


def test_answers_go_on_while_a_page_is_looked_at(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "prefill_seconds", lambda *_, **__: 0.0)  # a slice a step
    expected = asyncio.run(blocks_of(reader))

    async def run() -> tuple[int, int, list[list[Detection]]]:
        stream = await submit(reader, max_tokens=3000)
        events = aiter(stream)
        before = (await anext(events)).completion_tokens
        looking = asyncio.create_task(blocks_of(reader))
        while not looking.done():
            after = (await anext(events)).completion_tokens
        stream.abort()
        return before, after, await looking

    before, after, found = asyncio.run(run())
    assert found == expected
    assert after - before > 50  # layers of one page


def test_pages_and_prompts_take_turns(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that never ends must not keep a prompt from its first token."""
    begun = threading.Event()

    def begin(pixels: torch.Tensor, thresholds: Sequence[float]) -> Sliced[list[Found]]:
        begun.set()
        return endless(pixels, thresholds)

    monkeypatch.setattr(network_of(reader), "run_sliced", begin)

    async def run() -> None:
        looking = asyncio.create_task(blocks_of(reader))
        await asyncio.to_thread(begun.wait, 30)
        assert (await collect(await submit(reader, [noise_image(120, 90)], max_tokens=3)))[-1].completion_tokens == 3
        looking.cancel()

    asyncio.run(run())
    assert idle_pages(reader)


def test_pages_are_looked_at_while_a_prompt_is_prefilled(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that never gets its first token must not keep a page from its blocks."""
    assert reader.runner is not None
    prefill, begun = reader.runner.prefill, threading.Event()

    def begin(_sequences: Sequence[Any]) -> Sliced[list[Found]]:
        begun.set()
        return endless(torch.empty(0), [])

    monkeypatch.setattr(prefill, "run_sliced", begin)

    async def run() -> list[list[Detection]]:
        prompt = await submit(reader)
        await asyncio.to_thread(begun.wait, 30)
        try:
            return await blocks_of(reader)
        finally:
            prompt.abort()

    assert all(asyncio.run(run()))


def test_a_cancelled_call_ends_the_work_on_its_pages(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    run_sliced = network_of(reader).run_sliced

    def slow(pixels: torch.Tensor, thresholds: Sequence[float]) -> Sliced[list[Found]]:
        begun.set()
        yield from endless(pixels, thresholds)
        return (yield from run_sliced(pixels, thresholds))

    monkeypatch.setattr(network_of(reader), "run_sliced", slow)

    async def run() -> None:
        looking = asyncio.create_task(blocks_of(reader))
        await asyncio.to_thread(begun.wait, 30)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking

    asyncio.run(run())
    assert idle_pages(reader)
    assert reader.runner is not None
    assert reader.runner.look._work is None


def test_a_page_ends_with_the_deadline_of_its_answer(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_of(reader), "run_sliced", endless)
    with pytest.raises(DeadlineExceeded):
        asyncio.run(blocks_of(reader, deadline=Deadline(at=time.monotonic() + 0.3, seconds=0.3)))
    assert idle_pages(reader)


def test_an_output_that_is_not_finite_is_told(reader: Engine) -> None:
    bias = network_of(reader).network.model.decoder.class_embed.bias
    kept = bias.clone()
    bias.fill_(torch.nan)
    try:
        with pytest.raises(GenerationFailed, match="not finite"):
            asyncio.run(blocks_of(reader))
    finally:
        bias.copy_(kept)
    assert asyncio.run(blocks_of(reader))


def test_pages_that_do_not_fit_together_are_looked_at_one_by_one(
    reader: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    network, run_sliced = network_of(reader), network_of(reader).run_sliced

    def short_of_memory(pixels: torch.Tensor, thresholds: Sequence[float]) -> Sliced[list[Found]]:
        sizes.append(len(pixels))
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("no memory for more than one")
        return (yield from run_sliced(pixels, thresholds))

    expected = asyncio.run(blocks_of(reader))
    assert reader.core is not None
    monkeypatch.setattr(reader.core.pages, "_at_once", 2)
    monkeypatch.setattr(network, "run_sliced", short_of_memory)

    async def run() -> list[list[list[Detection]]]:
        return await asyncio.gather(*(blocks_of(reader) for _ in range(2)))

    assert asyncio.run(run()) == [expected, expected]
    assert max(sizes) == 2


def test_a_page_without_memory_fails_alone_and_says_so(reader: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(network_of(reader), "run_sliced", none_left)
        with pytest.raises(GenerationFailed, match="out of memory"):
            asyncio.run(blocks_of(reader))
    assert asyncio.run(blocks_of(reader))


def test_a_network_that_fails_on_every_page_ends_the_thread(checkpoint: Path, folder: Path) -> None:
    """Otherwise the health check would report no trouble while every page failed."""
    with running_engine(checkpoint, layout=folder) as engine:
        network_of(engine).network.model.decoder.norm = None
        network_of(engine).network.model.encoder = None
        with pytest.raises(GenerationFailed, match="an unexpected error"):
            asyncio.run(blocks_of(engine))
        engine.loop._thread.join(60)
        assert engine.state == "dead"


def test_pages_that_wait_when_the_thread_dies_get_an_error(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(checkpoint, layout=folder) as engine:
        assert engine.runner is not None
        monkeypatch.setattr(engine.runner, "run", None)  # the next step fails on it
        with pytest.raises(EngineUnavailable, match="stopped working"):
            asyncio.run(blocks_of(engine))
        assert engine.state == "dead"


def test_a_draining_engine_finishes_the_pages_of_its_answers(checkpoint: Path, folder: Path) -> None:
    with running_engine(checkpoint, layout=folder) as engine:

        async def run() -> list[list[Detection]]:
            hold = engine.hold()
            draining = asyncio.create_task(asyncio.to_thread(engine.loop.drain, 60))
            found = await engine.find_blocks(PAGES, THRESHOLD, hold)
            hold.release()
            await draining
            return found

        assert all(asyncio.run(run()))
        assert engine.state == "stopped"


def test_pages_that_outlast_the_drain_get_an_error(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(checkpoint, layout=folder) as engine:
        monkeypatch.setattr(network_of(engine), "run_sliced", endless)

        async def run() -> None:
            looking = asyncio.create_task(blocks_of(engine))
            await asyncio.to_thread(engine.loop.drain, 0.5)
            with pytest.raises(EngineUnavailable, match="shutting down"):
                await looking

        asyncio.run(run())
        assert engine.state == "stopped"


def test_a_layout_network_that_cannot_be_loaded_fails_as_a_model_does(checkpoint: Path, tmp_path: Path) -> None:
    engine = Engine(EngineConfig(model=checkpoint, device="cpu", layout=tmp_path))
    engine.start()
    assert engine.wait_until_settled(60) == "failed"
    assert engine.lost
    assert f"{tmp_path}/config.json" in str(engine.trouble)


def test_an_engine_with_a_layout_network_answers_as_one_without(reader: Engine, engine: Engine) -> None:
    assert [event.text for event in answer(reader, max_tokens=20)] == [
        event.text for event in answer(engine, max_tokens=20)
    ]
