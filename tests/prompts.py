"""Prompts and images for a processor or an engine."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from models.paddleocr_vl.processor import Message


def noise_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise: every patch differs from its neighbours."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def prompt(images: int, text: str = "OCR:") -> list[Message]:
    """One user message with placeholders for `images` images."""
    return [{"role": "user", "content": [*[{"type": "image"}] * images, {"type": "text", "text": text}]}]


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common prefix of two prompts, in tokens."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
