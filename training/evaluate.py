"""Character error rates of a checkpoint, read through the engine that serves it: greedy, many images at once."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from engine.config import EngineConfig
from engine.engine import Engine
from engine.request import SamplingParams
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.prompts import OCR
from models.protocol import PixelBounds
from training.render_text import HELD_OUT_FONTS, TRAINING_FONTS, choose_layout, draw_page

ENLARGED = 112_896  # the min_pixels that PaddleOCR's client sends
IMAGES = {"train": 200, "held": 200, "enlarged": 120}
MAX_TOKENS = 600  # far more than a page of the evaluation has
Sample = tuple[Image.Image, str]


@dataclass(frozen=True)
class Reading:
    """A text and what the model read of it."""

    text: str
    read: str

    @property
    def errors(self) -> int:
        return Levenshtein.distance(self.read, self.text)


def cer(readings: Sequence[Reading]) -> float:
    """Edit distance over characters, for all images together."""
    return round(sum(reading.errors for reading in readings) / sum(len(reading.text) for reading in readings), 4)


def evaluate(checkpoint: Path, weights: str) -> dict[str, float | int]:
    """Error rates on fresh images: held-out words everywhere, training and held-out fonts, and enlarged."""
    kinds = {"train": TRAINING_FONTS, "held": HELD_OUT_FONTS, "enlarged": TRAINING_FONTS}
    result: dict[str, float | int] = {}
    engine = start(checkpoint, weights)
    for seed, (kind, fonts) in enumerate(kinds.items()):
        rng = random.Random(1000 + seed)
        samples = []
        for _ in range(IMAGES[kind]):
            page = draw_page(rng, choose_layout(rng), fonts, held_out=True)
            samples.append((page.image, page.text))
        assert engine.processor is not None
        bounds = [PixelBounds(ENLARGED, engine.bounds.max_pixels)] if kind == "enlarged" else None
        result[f"cer_{kind}"] = report(kind, read(engine, samples, bounds))
    assert engine.runner is not None
    assert isinstance(engine.runner.model, PaddleOCRVL)
    result["images"] = sum(IMAGES.values())
    result["parameters"] = sum(parameter.numel() for parameter in engine.runner.model.parameters())
    engine.shutdown(grace=10)
    return result


def evaluate_folder(checkpoint: Path, folder: Path, weights: str) -> dict[str, float | int]:
    """The error rate on every NAME.png of `folder` with a NAME.txt next to it. Raises SystemExit without any."""
    pairs = [(file, file.with_suffix(".txt")) for file in sorted(folder.glob("*.png"))]
    samples = [(Image.open(png).convert("RGB"), txt.read_text().strip()) for png, txt in pairs if txt.exists()]
    if not samples:
        raise SystemExit(f"{folder} holds no NAME.png with a NAME.txt")
    engine = start(checkpoint, weights)
    result = {"cer": report(folder.name, read(engine, samples, None)), "images": len(samples)}
    engine.shutdown(grace=10)
    return result


def start(checkpoint: Path, weights: str = "native") -> Engine:
    """An engine in fp32, which gives the same figures on every machine."""
    # All samples are submitted at once.
    config = EngineConfig(model=checkpoint, dtype="float32", weights=weights, max_waiting=1000, max_waiting_bytes=2**40)
    engine = Engine(config)
    engine.start()
    if engine.wait_until_settled() != "ready":
        raise SystemExit(f"{checkpoint} cannot be read: {engine.error}")
    return engine


def report(name: str, readings: Sequence[Reading]) -> float:
    """Print the worst readings and the rate by number of lines; returns the rate over all."""
    for reading in sorted(readings, key=lambda reading: -reading.errors / len(reading.text))[:3]:
        print(f"  {reading.errors:4} errors: {reading.text!r}\n     read as: {reading.read!r}")
    for lines in sorted({reading.text.count("\n") + 1 for reading in readings}):
        some = [reading for reading in readings if reading.text.count("\n") + 1 == lines]
        print(f"  {name}, {lines} lines: {cer(some):.4f} on {len(some)} images")
    return cer(readings)


def read(engine: Engine, samples: Sequence[Sample], bounds: list[PixelBounds] | None) -> list[Reading]:
    async def one(image: Image.Image, text: str, bar: "tqdm[None]") -> Reading:
        content = [{"type": "image"}, {"type": "text", "text": OCR}]
        params = SamplingParams(max_tokens=MAX_TOKENS)
        generation = await engine.submit([{"role": "user", "content": content}], [image], params, bounds)
        read = "".join([event.text async for event in generation])
        bar.update()
        return Reading(text, read.strip())

    async def everything() -> list[Reading]:
        with tqdm(total=len(samples), unit="image", mininterval=2) as bar:
            return await asyncio.gather(*(one(image, text, bar) for image, text in samples))

    return asyncio.run(everything())
