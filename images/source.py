"""An image of a message, or a page of a document in it, before it is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PIL import Image

Detail = Literal["low", "high", "auto"]


@dataclass(frozen=True)
class ImageSource:
    """An image of a message, or a page of a document in it."""

    open: Callable[[], Image.Image]  # upright RGB; of a page, the work of drawing it
    detail: Detail = "auto"
    page: bool = False  # of a document of several
    bytes: int = 0  # that it takes before it is opened; pages share those of their document
