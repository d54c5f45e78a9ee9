"""The sample page: a title, two columns of headings and paragraphs, a table with its caption, a page number."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

SIZE = (1000, 1290)  # pixels; A4 at 120 dpi
MARGIN, GUTTER = 85, 40
TITLE_SIZE, HEADING_SIZE, BODY_SIZE = 38, 24, 18  # pixels per em
PITCH = 1.4  # distance of lines, in type sizes
CELL_PADDING = 6

TITLE = "A Year in the Old Orchard"
TABLE: list[tuple[str, ...]] = [
    ("Tree", "Fruit", "Boxes"),
    ("Apple", "red", "41"),
    ("Pear", "green", "26"),
    ("Plum", "blue", "17"),
]
CAPTION = "Table 1: The harvest of each tree."
COLUMNS: list[list[tuple[str, str]]] = [
    [
        ("heading", "1 The first spring"),
        (
            "text",
            "The orchard lies on a slope above the river, and its trees had not been cut for twenty years. We began in "
            "March, as soon as the snow was gone, and cleared one row after another.",
        ),
        (
            "text",
            "Most of the work was done by hand. A long ladder, two saws and a pair of good gloves were all that we "
            "needed. The oldest tree was planted in 1931 and still bears fruit.",
        ),
        ("heading", "2 What we learned"),
        (
            "text",
            "A tree that is cut hard in one year grows wild in the next. It is better to take a third of the old wood "
            "each winter, and to leave the rest for later.",
        ),
    ],
    [
        (
            "text",
            "Bees came back by themselves. In May we counted nine hives within a mile of the gate, where there had "
            "been only two before, and every flower was visited.",
        ),
        ("table", ""),
        (
            "text",
            "The plums were ripe first, in the middle of July. Pears followed in August, and the last apples were "
            "picked on October 12, two days before the first frost.",
        ),
        ("heading", "3 The next year"),
        (
            "text",
            "We will plant ten young trees along the wall and mend the fence on the north side. Deer had eaten the "
            "bark of four trees by December.",
        ),
    ],
]  # fmt: skip


@dataclass
class Column:
    """The place of a column's next line."""

    left: int
    top: float
    width: int


def draw_page() -> Image.Image:
    """The page in black on white; it looks the same on every machine."""
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    title = _font(TITLE_SIZE)
    pen.text(((SIZE[0] - title.getlength(TITLE)) / 2, MARGIN), TITLE, font=title, fill="black")
    width = (SIZE[0] - 2 * MARGIN - GUTTER) // 2
    for place, contents in enumerate(COLUMNS):
        column = Column(MARGIN + place * (width + GUTTER), MARGIN + 2.4 * TITLE_SIZE, width)
        for kind, text in contents:
            if kind == "table":
                _draw_table(pen, column)
            else:
                _draw_lines(pen, column, text, HEADING_SIZE if kind == "heading" else BODY_SIZE)
            column.top += BODY_SIZE
    pen.text((SIZE[0] / 2, SIZE[1] - MARGIN), "7", font=_font(BODY_SIZE), fill="black")
    return image


def _draw_lines(pen: ImageDraw.ImageDraw, column: Column, text: str, size: int) -> None:
    font = _font(size)
    for line in _lines(text, font, column.width):
        pen.text((column.left, column.top), line, font=font, fill="black")
        column.top += size * PITCH


def _lines(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The words of a text in lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _draw_table(pen: ImageDraw.ImageDraw, column: Column) -> None:
    font = _font(BODY_SIZE)
    height = round(BODY_SIZE * PITCH) + 2 * CELL_PADDING
    widths: Sequence[int] = [column.width // len(TABLE[0])] * len(TABLE[0])
    for row in TABLE:
        left = column.left
        for text, width in zip(row, widths, strict=True):
            pen.rectangle((left, column.top, left + width, column.top + height), outline="black")
            pen.text((left + 2 * CELL_PADDING, column.top + CELL_PADDING), text, font=font, fill="black")
            left += width
        column.top += height
    column.top += CELL_PADDING
    _draw_lines(pen, column, CAPTION, BODY_SIZE)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    # The other layout engine exists on some machines only, and it kerns.
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
