"""Character error rates of a checkpoint, measured with the engine that serves it: greedy, many images at once."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from engine.config import EngineConfig
from engine.engine import Engine
from engine.request import SamplingParams
from layout.parts import parts_of
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.prompts import OCR
from models.protocol import PixelBounds
from training.render_blocks import HELD_OUT_FAMILIES, choose_shape, draw_block
from training.render_text import HELD_OUT_FONTS, TRAINING_FONTS, Page, choose_layout, draw_page

CLIENT_MIN_PIXELS = 112_896  # the min_pixels that PaddleOCR's client sends, and that blocks of pages are read with
IMAGES = {"train": 200, "held": 200, "enlarged": 120, "blocks": 60}
TALLEST = 14  # lines of a block; the server cuts it as the checkpoint wants
MAX_TOKENS = 2000  # far more than an image of the evaluation needs
WORST_SHOWN = 3  # readings printed for each kind of image
Sample = tuple[Image.Image, str]  # an image and its text
Cut = Callable[[Image.Image], Sequence[Image.Image]]  # into parts that are read one by one


@dataclass(frozen=True)
class Measured:
    """The text of one image and what the model read there."""

    expected: str
    actual: str

    @property
    def errors(self) -> int:
        return Levenshtein.distance(self.actual, self.expected)


def cer(readings: Sequence[Measured]) -> float:
    """Edit distance divided by characters, over all images together."""
    return round(sum(reading.errors for reading in readings) / sum(len(reading.expected) for reading in readings), 4)


def evaluate(checkpoint: Path, weights: str) -> dict[str, float | int]:
    """Error rates on fresh images in held-out words, for each kind of IMAGES."""
    result: dict[str, float | int] = {}
    engine = start_engine(checkpoint, weights)

    def cut(image: Image.Image) -> Sequence[Image.Image]:
        return parts_of(image, "ocr", engine.block_limits)

    for seed, (kind, count) in enumerate(IMAGES.items()):
        rng = random.Random(1000 + seed)
        pages = [draw_sample(rng, kind) for _ in range(count)]
        as_sent = kind in ("enlarged", "blocks")
        bounds = [PixelBounds(CLIENT_MIN_PIXELS, engine.bounds.max_pixels)] if as_sent else None
        samples = [(page.image, page.text) for page in pages]
        result[f"cer_{kind}"] = report(kind, read_all(engine, samples, bounds, cut if kind == "blocks" else whole))
    assert engine.runner is not None
    assert isinstance(engine.runner.model, PaddleOCRVL)
    result["images"] = sum(IMAGES.values())
    with torch.device("meta"):  # layers for CPUs may hold their weights in another form
        shapes = PaddleOCRVL(engine.runner.model.config)
    result["parameters"] = sum(parameter.numel() for parameter in shapes.parameters())
    engine.shutdown(grace=10)
    return result


def draw_sample(rng: random.Random, kind: str) -> Page:
    """An image of one of IMAGES, in held-out words."""
    if kind == "blocks":
        return draw_block(rng, choose_shape(rng, TALLEST), HELD_OUT_FAMILIES, held_out=True)
    fonts = HELD_OUT_FONTS if kind == "held" else TRAINING_FONTS
    return draw_page(rng, choose_layout(rng), fonts, held_out=True)


def evaluate_folder(checkpoint: Path, folder: Path, weights: str) -> dict[str, float | int]:
    """The error rate on every NAME.png in `folder` that comes with a NAME.txt. Raises SystemExit without any."""
    pairs = [(file, file.with_suffix(".txt")) for file in sorted(folder.glob("*.png"))]
    samples = [(Image.open(png).convert("RGB"), txt.read_text().strip()) for png, txt in pairs if txt.exists()]
    if not samples:
        raise SystemExit(f"{folder} holds no NAME.png with a NAME.txt")
    engine = start_engine(checkpoint, weights)
    result = {"cer": report(folder.name, read_all(engine, samples, None)), "images": len(samples)}
    engine.shutdown(grace=10)
    return result


def start_engine(checkpoint: Path, weights: str = "native") -> Engine:
    """A ready engine in fp32, which gives the same figures on every machine. Raises SystemExit."""
    config = EngineConfig(
        model=checkpoint,
        dtype="float32",
        weights=weights,
        max_waiting=1000,  # all samples are submitted at once
        max_waiting_bytes=2**40,
    )
    engine = Engine(config)
    engine.start()
    if engine.wait_until_settled() != "ready":
        raise SystemExit(f"{checkpoint} cannot be loaded: {engine.error}")
    return engine


def report(name: str, readings: Sequence[Measured]) -> float:
    """Print the worst readings and the rate by number of lines; returns the rate over all."""
    by_error_rate = sorted(readings, key=lambda reading: -reading.errors / len(reading.expected))
    for reading in by_error_rate[:WORST_SHOWN]:
        print(f"  {reading.errors:4} errors: {reading.expected!r}\n     read as: {reading.actual!r}")
    for lines in sorted({reading.expected.count("\n") + 1 for reading in readings}):
        subset = [reading for reading in readings if reading.expected.count("\n") + 1 == lines]
        print(f"  {name}, {lines} lines: {cer(subset):.4f} on {len(subset)} images")
    return cer(readings)


def whole(image: Image.Image) -> Sequence[Image.Image]:
    return [image]


def read_all(
    engine: Engine, samples: Sequence[Sample], bounds: list[PixelBounds] | None, cut: Cut = whole
) -> list[Measured]:
    """Read all samples at once, with a progress bar; in the samples' order."""

    async def read_part(image: Image.Image) -> str:
        content = [{"type": "image"}, {"type": "text", "text": OCR}]
        params = SamplingParams(max_tokens=MAX_TOKENS)
        generation = await engine.submit([{"role": "user", "content": content}], [image], params, bounds)
        return "".join([event.text async for event in generation]).strip()

    async def read(image: Image.Image, text: str, bar: "tqdm[None]") -> Measured:
        answers = await asyncio.gather(*map(read_part, cut(image)))
        bar.update()
        return Measured(text, "\n".join(answers))

    async def gather() -> list[Measured]:
        with tqdm(total=len(samples), unit="image", mininterval=2) as bar:
            return await asyncio.gather(*(read(image, text, bar) for image, text in samples))

    return asyncio.run(gather())
