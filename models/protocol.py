"""What the engine wants of a network and of the processor that makes its input; free of torch when imported."""

from typing import NamedTuple


class PixelBounds(NamedTuple):
    """An image is scaled to between these numbers of pixels before it is cut into patches."""

    min_pixels: int
    max_pixels: int


class InputError(ValueError):
    """Messages or images that cannot become a model input; the message says why."""
