"""What the process that makes a searchable PDF is told, as JSON."""

from pydantic import BaseModel

Box = tuple[float, float, float, float]  # left, top, right, bottom: shares of the upright page


class Text(BaseModel):
    """A text in its box, or in several, one after the other."""

    text: str
    boxes: list[Box]
    vertical: bool = False  # its lines run down


class Page(BaseModel):
    number: int  # from 1, as the document counts
    width: float  # upright, in any unit: only the ratio to its height counts
    height: float
    angle: int  # degrees, counter-clockwise, by which it was turned upright: 0, 90, 180 or 270
    texts: list[Text]


class Order(BaseModel):
    source: str  # the document's path
    target: str  # the PDF's path
    memory: int  # bytes that the process may take
    pages: list[Page]
