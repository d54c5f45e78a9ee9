"""What a request can ask of the model, without torch: the official task prompts, the bounds on an image's size.

PaddleOCR-VL was trained on exactly these six prompts (model card of PaddlePaddle/PaddleOCR-VL-1.5); any other text is
out of its training.
"""

from typing import NamedTuple

OCR = "OCR:"
TABLE = "Table Recognition:"
FORMULA = "Formula Recognition:"
CHART = "Chart Recognition:"
SPOTTING = "Spotting:"
SEAL = "Seal Recognition:"


class PixelBounds(NamedTuple):
    """An image is scaled to between these numbers of pixels before it is cut into patches."""

    min_pixels: int
    max_pixels: int


class InputError(ValueError):
    """Messages that cannot become a prompt; the message says why."""
