"""An image of a message, or a page of a document in it, before it is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PIL import Image

Detail = Literal["low", "high", "auto"]


@dataclass(frozen=True)
class ImageSource:
    """An image of a message, or one page of a document, that is opened on demand."""

    open: Callable[[], Image.Image]  # upright RGB; for a page, this draws it
    detail: Detail = "auto"
    page: bool = False  # one of several pages of a document
    kind: Literal["image", "pdf", "tiff"] = "image"  # what it comes from; a TIFF of one page is an image
    warnings: tuple[str, ...] = ()  # what the client should be told of it
    bytes: int = 0  # memory taken before it is opened; the pages of a document share theirs
