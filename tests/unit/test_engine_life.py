"""How an engine starts, fails and ends, on a small random checkpoint."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import EngineUnavailable, GenerationFailed
from engine.request import TokenEvent
from tests.engines import answer, collect, network, running_engine, submit


def test_an_idle_engine_hands_memory_back(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: memory that the last requests had freed stayed with an idle server until the next one arrived."""
    handed_back = threading.Event()
    monkeypatch.setattr("engine.loop.trim", handed_back.set)
    with running_engine(checkpoint) as engine:
        answer(engine, max_tokens=2)
        assert handed_back.wait(30)


def test_when_the_thread_dies_every_waiting_caller_gets_an_error(checkpoint: Path) -> None:
    with running_engine(checkpoint, slots=1) as engine:

        async def run() -> list[Any]:
            generations = [await submit(engine, max_tokens=400) for _ in range(3)]
            assert engine.runner is not None
            engine.runner.decode = engine.runner.cache = None  # type: ignore[assignment]  # the next step fails on it
            return await asyncio.gather(*map(collect, generations), return_exceptions=True)

        assert [type(outcome) for outcome in asyncio.run(run())] == [EngineUnavailable] * 3
        assert engine.state == "dead"
        with pytest.raises(EngineUnavailable, match="stopped working"):
            asyncio.run(submit(engine))


def test_a_model_that_fails_on_every_request_ends_the_thread(checkpoint: Path) -> None:
    """Otherwise the health check would report no trouble while every request failed."""
    with running_engine(checkpoint) as engine:
        network(engine).lm_head = None  # type: ignore[assignment]
        with pytest.raises(GenerationFailed, match="an unexpected error"):
            answer(engine)
        engine.loop._thread.join(60)
        assert engine.state == "dead"
        assert engine.trouble is not None
        assert engine.lost


@pytest.mark.usefixtures("each_way")
def test_output_that_is_not_finite_fails_the_request_and_not_the_engine(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        norm = network(engine).text.norm.weight
        whole = norm.clone()
        norm.fill_(torch.nan)
        with pytest.raises(GenerationFailed, match="not finite"):
            answer(engine)
        norm.copy_(whole)
        assert answer(engine, max_tokens=2)[-1].finish_reason == "length"


@pytest.mark.usefixtures("each_way")
def test_non_finite_entries_of_a_slot_harm_no_neighbour_that_reads_beyond_its_end(checkpoint: Path) -> None:
    """Neighbouring slots attend in one call to the length of the longest; a weight of 0 times NaN would be NaN."""
    with running_engine(checkpoint, slots=2) as engine:
        assert engine.runner is not None
        norm = network(engine).text.get_parameter("layers.0.input_layernorm.weight")
        whole = norm.clone()
        norm.fill_(torch.nan)
        with pytest.raises(GenerationFailed, match="not finite"):
            answer(engine)
        norm.copy_(whole)
        assert engine.runner.cache.entries.isfinite().all()


def test_a_checkpoint_that_cannot_be_loaded_is_reported_to_the_owner(tmp_path: Path) -> None:
    reported: list[BaseException] = []
    engine = Engine(EngineConfig(model=tmp_path), on_failure=reported.append)
    engine.start()
    assert engine.wait_until_settled(60) == "failed"
    engine.shutdown(grace=5)
    assert reported == [engine.error]


@pytest.mark.parametrize(
    ("weights", "dtype"), [("native", "auto"), ("fp16", "float32"), ("int8", "auto"), ("int4", "auto")]
)
def test_weights_of_any_kind_answer(checkpoint: Path, weights: str, dtype: str) -> None:
    engine = Engine(EngineConfig(model=checkpoint, weights=weights, dtype=dtype, slots=1))
    engine.start()
    try:
        assert engine.wait_until_settled(60) == "ready"
        assert answer(engine, max_tokens=3)[-1].completion_tokens == 3
    finally:
        engine.shutdown(grace=5)


def test_a_context_longer_than_the_checkpoints_positions_is_refused(checkpoint: Path) -> None:
    engine = Engine(EngineConfig(model=checkpoint, max_model_len=200_000, slots=1))
    engine.start()
    assert engine.wait_until_settled(60) == "failed"
    assert "positions end at" in str(engine.error)


@pytest.mark.usefixtures("each_way")
def test_shutdown_lets_running_requests_finish_and_accepts_no_more(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:

        async def run() -> TokenEvent:
            generation = await submit(engine, max_tokens=30)
            stopping = asyncio.create_task(asyncio.to_thread(engine.shutdown, 20))
            while engine.state == "ready":  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0)
            with pytest.raises(EngineUnavailable, match="shutting down"):
                await submit(engine)
            last = (await collect(generation))[-1]
            await stopping
            return last

        assert asyncio.run(run()).completion_tokens == 30
        assert engine.state == "stopped"


def test_shutdown_ends_requests_that_outlast_the_grace_with_an_error(checkpoint: Path) -> None:
    with running_engine(checkpoint, max_model_len=4096) as engine:

        async def run() -> None:
            generation = await submit(engine)
            await asyncio.to_thread(engine.shutdown, 0.01)
            await collect(generation)

        with pytest.raises(EngineUnavailable, match="shutting down"):
            asyncio.run(run())


def test_neither_triton_nor_flash_attention_nor_the_compiler_is_needed() -> None:
    """Old GPUs have none of them."""
    code = """
import sys
for name in ("triton", "flash_attn", "torch._dynamo", "torch._inductor"):
    sys.modules[name] = None  # importing it fails
from pathlib import Path
from engine.config import EngineConfig
from engine.engine import Engine
engine = Engine(EngineConfig(model=Path("models/tiny"), device="cpu", max_model_len=512, slots=1))
engine.start()
print(engine.wait_until_settled(60), engine.error)
engine.shutdown(grace=5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "ready None", done.stderr
