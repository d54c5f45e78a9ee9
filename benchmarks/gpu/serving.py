"""A server's worth of requests through the engine, without HTTP: images of 448x448, 64 tokens each."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from benchmarks.gpu.report import Section
from benchmarks.gpu.requests import MESSAGES, Answer, noise
from benchmarks.gpu.workplace import MIB, Workplace
from engine.engine import Engine
from engine.request import SamplingParams

LOADS = {1: 12, 2: 20, 4: 32, 8: 48, 32: 96, 64: 192}  # requests at once, and how many in all
LOADS_SMALL = {1: 1, 4: 4}
TOKENS = 64
TOKENS_SMALL = 4
LOAD_TIMEOUT = 120.0  # seconds
COMPARED = 16  # requests whose answers are compared, alone and in company
COMPARED_TOKENS = 24
APART = 0.01  # seconds between their starts
NEAR_TIE = 0.15  # gap of two log probabilities: 5 % of the largest logit, as for bf16
READY_SECONDS = 10.0
QUICK_MS = 200.0  # the median of requests at a load that still reaches RATE
RATE = 15.0  # requests a second
RATE_AT_64 = 60.0


@dataclass(frozen=True)
class Timing:
    """One request, in ms."""

    first: float
    whole: float
    waited: float  # for a slot


def serving(place: Workplace, section: Section) -> None:
    """Time to ready, then each load: the same number of requests first, which capture graphs, and then more."""
    slots = {} if place.small else {"max_model_len": 4096, "slots": 64}
    engine = Engine(place.config(place.big, image_cache_bytes=0, **slots))
    started = time.monotonic()
    engine.start()
    try:
        if engine.wait_until_settled(LOAD_TIMEOUT) != "ready":
            raise RuntimeError("the engine is not ready") from engine.error
        ready = time.monotonic() - started
        section.figures["ready after: s"] = round(ready, 2)
        section.speed("ready, s", ready, most=READY_SECONDS)
        images = [noise(next(iter(place.sizes.values())), place.seed()) for _ in range(COMPARED)]
        alone = [asyncio.run(_answers(engine, [image]))[0] for image in images]
        _loads(place, section, engine)  # no slot holds one of these images afterwards
        together = asyncio.run(_answers(engine, images))
        apart = [own.differs_at(other, NEAR_TIE) for own, other in zip(alone, together, strict=True)]
        section.holds("first token in company unlike that alone, no near tie", apart, [None] * COMPARED)
        assert engine.runner is not None
        section.figures["plan"] = str(engine.runner.plan)
        if place.on_gpu:
            section.figures["peak_reserved_mb"] = torch.cuda.max_memory_reserved() // MIB
    finally:
        engine.shutdown(grace=1)


def _loads(place: Workplace, section: Section, engine: Engine) -> None:
    quick = 0.0  # the best rate of a load with a short median
    for at_once, total in (LOADS_SMALL if place.small else LOADS).items():
        asyncio.run(_load(place, engine, at_once, at_once))
        told = asyncio.run(_load(place, engine, at_once, total))
        section.figures[f"{at_once} at once"] = told
        if told["p50_ms"] < QUICK_MS:
            quick = max(quick, told["requests_per_second"])
        if at_once == 64:
            section.speed("requests a second at 64 at once", told["requests_per_second"], least=RATE_AT_64)
    section.speed(f"requests a second with a median below {QUICK_MS:.0f} ms", quick, least=RATE)


async def _load(place: Workplace, engine: Engine, at_once: int, total: int) -> dict[str, Any]:
    """Figures of `total` requests, `at_once` of them under way at any time."""
    size = next(iter(place.sizes.values()))
    images = [noise(size, place.seed()) for _ in range(total)]  # in advance: a client's work, not the engine's
    gate = asyncio.Semaphore(at_once)

    async def one(image: Image.Image) -> Timing:
        async with gate:
            return await _request(place, engine, image)

    started = time.monotonic()
    timings = await asyncio.gather(*map(one, images))
    seconds = time.monotonic() - started
    return {
        "requests_per_second": round(total / seconds, 2),
        "p50_ms": percentile([timing.whole for timing in timings], 0.5),
        "p95_ms": percentile([timing.whole for timing in timings], 0.95),
        "first_token_p50_ms": percentile([timing.first for timing in timings], 0.5),
        "waited_for_slot_p50_ms": percentile([timing.waited for timing in timings], 0.5),
    }


async def _answers(engine: Engine, images: list[Image.Image]) -> list[Answer]:
    """Greedy answers to requests that follow each other closely: images are encoded beside the answers before."""

    async def answer(image: Image.Image, after: float) -> Answer:
        await asyncio.sleep(after)
        params = SamplingParams(max_tokens=COMPARED_TOKENS, ignore_eos=True, top_logprobs=2)
        told = Answer()
        async for event in await engine.submit(MESSAGES, [image], params):
            if event.token is not None:
                told.tokens.append(event.token.id)
                told.gaps.append(event.token.top[0][1] - event.token.top[1][1])
        return told

    return await asyncio.gather(*(answer(image, index * APART) for index, image in enumerate(images)))


async def _request(place: Workplace, engine: Engine, image: Image.Image) -> Timing:
    tokens = TOKENS_SMALL if place.small else TOKENS
    started = time.monotonic()
    generation = await engine.submit(MESSAGES, [image], SamplingParams(max_tokens=tokens, ignore_eos=True))
    async for _ in generation:
        pass
    ended, times = time.monotonic(), generation.times
    assert times.began is not None
    assert times.scheduled is not None
    first, waited = times.began - started, times.scheduled - times.submitted
    return Timing(first=first * 1e3, whole=(ended - started) * 1e3, waited=waited * 1e3)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
