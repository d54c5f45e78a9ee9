"""Figures: their names in a document, and how the text shows them."""

import base64
import io
from collections import Counter

from PIL import Image

from layout.markdown.options import Images

KINDS = {"chart": "chart", "seal": "seal"}  # labels whose figures are named after them; all others are figures


class Figures:
    """The images of a document, by names that no other page has."""

    def __init__(self, images: Images) -> None:
        self.by_name: dict[str, Image.Image] = {}
        """What the text refers to by name; empty unless it links."""
        self._images = images
        self._counts: Counter[str] = Counter()

    def add(self, image: Image.Image, page: int, label: str, text: str = "", *, html: bool = False) -> str:
        """The Markdown of an image, or the HTML; "" where images are left out.

        `page`: index from 0; the name counts from 1. `text`: what is read in it, on one line, for readers without
        images; without it they get the kind of image.
        """
        if self._images == "none":
            return ""
        kind = KINDS.get(label, "figure")
        start = f"page-{page + 1}-{kind}-"
        self._counts[start] += 1
        name = f"{start}{self._counts[start]}.png"
        if self._images == "link":
            self.by_name[name] = image
        source = name if self._images == "link" else data_uri(image)
        return f'<img src="{source}" alt="{kind}">' if html else f"![{text or kind}]({source})"


def data_uri(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
