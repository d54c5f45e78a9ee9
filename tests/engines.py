"""Engines over a small random checkpoint, and what they answer."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from engine.config import EngineConfig
from engine.engine import Engine
from engine.handles import Generation
from engine.request import SamplingParams, TokenEvent
from models.paddleocr_vl.model import PaddleOCRVL
from tests.prompts import prompt


@contextmanager
def running_engine(checkpoint: Path, **config: Any) -> Iterator[Engine]:
    """A real engine on the CPU in fp32, ready; shut down at the end."""
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "max_model_len": 512, "slots": 4} | config
    engine = Engine(EngineConfig(model=checkpoint, **settings))
    engine.start()
    assert engine.wait_until_settled(60) == "ready", engine.error
    try:
        yield engine
    finally:
        engine.shutdown(grace=5)


def network(engine: Engine) -> PaddleOCRVL:
    """The network that a ready engine runs."""
    assert engine.runner is not None
    model = engine.runner.model
    assert isinstance(model, PaddleOCRVL)
    return model


async def submit(engine: Engine, images: Sequence[Image.Image] = (), **params: Any) -> Generation:
    return await engine.submit(prompt(len(images)), list(images), SamplingParams(**params))


async def collect(generation: Generation) -> list[TokenEvent]:
    return [event async for event in generation]


def answer(engine: Engine, **params: Any) -> list[TokenEvent]:
    async def run() -> list[TokenEvent]:
        return await collect(await submit(engine, **params))

    return asyncio.run(run())


def answers(engine: Engine, *params: SamplingParams) -> list[list[TokenEvent]]:
    """Concurrent answers to the same prompt."""

    async def run() -> list[list[TokenEvent]]:
        generations = await engine.submit_all(prompt(0), [], list(params))
        return await asyncio.gather(*map(collect, generations))

    return asyncio.run(run())


def tokens_of(events: Sequence[TokenEvent]) -> list[tuple[int, float, Any]]:
    return [(event.token.id, event.token.logprob, event.token.top) for event in events if event.token is not None]


def ids_of(events: Sequence[TokenEvent]) -> list[int]:
    return [token for token, *_ in tokens_of(events)]
