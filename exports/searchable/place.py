"""Texts put under what a page shows, at the places where they were read."""

from collections.abc import Callable

from pypdfium2 import PdfPage, PdfTextPage, raw

from exports.searchable.font import Font
from exports.searchable.order import Box, Page, Text
from exports.searchable.rows import LEADING, Row, cleaned, rows

BASELINE = 0.25  # em above the foot of a row
PARTS = 1_000_000  # into which a page's sides are divided, since PDFium is asked for places in integers

Point = tuple[float, float]


def add_texts(page: PdfPage, wanted: Page, font: Font) -> None:
    """Add a page's texts, except where it has text of its own; hidden text, which earlier programs read, goes."""
    _remove_hidden(page)
    own = page.get_textpage()
    at = _places(page, wanted.angle)
    added = []
    for text in wanted.texts:
        if not any(_has_text(own, at, box) for box in text.boxes):
            added += [_placed(font, row, *line) for row, line in _lines(text, wanted, at)]
    own.close()
    for made in added:
        raw.FPDFPage_InsertObject(page, made)
    page.gen_content()


def _remove_hidden(page: PdfPage) -> None:
    hidden = [
        one
        for one in page.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT], max_depth=1)
        if raw.FPDFTextObj_GetTextRenderMode(one) == raw.FPDF_TEXTRENDERMODE_INVISIBLE
    ]
    for one in hidden:
        page.remove_obj(one)


def _places(page: PdfPage, angle: int) -> Callable[[float, float], Point]:
    """From shares of the upright page to points of the PDF, whatever turns the page."""

    def at(x: float, y: float) -> Point:
        x, y = {0: (x, y), 90: (1 - y, x), 180: (1 - x, 1 - y), 270: (y, 1 - x)}[angle % 360]
        found = raw.c_double(), raw.c_double()
        raw.FPDF_DeviceToPage(page, 0, 0, PARTS, PARTS, 0, round(x * PARTS), round(y * PARTS), *found)
        return found[0].value, found[1].value

    return at


def _has_text(own: PdfTextPage, at: Callable[[float, float], Point], box: Box) -> bool:
    left, top, right, bottom = box
    (left, right), (bottom, top) = (sorted(axis) for axis in zip(at(left, top), at(right, bottom), strict=True))
    return bool(own.get_text_bounded(left, bottom, right, top).strip())


def _lines(text: Text, page: Page, at: Callable[[float, float], Point]) -> list[tuple[Row, tuple[Point, Point, Point]]]:
    """Rows of a text, and where each begins and ends on its baseline, and where an em above its begin is."""
    sizes = [_size(box, page, text.vertical) for box in text.boxes]
    stack = sum(height for _, height in sizes)
    made = rows(cleaned(text.text), max(width for width, _ in sizes), stack)
    tops = [sum(height for _, height in sizes[:number]) for number in range(len(sizes))]
    lines = []
    for number, row in enumerate(made):
        middle = (number + 0.5) / len(made) * stack
        place = max(place for place, top in enumerate(tops) if top <= middle)
        em = stack / len(made) / LEADING / sizes[place][1]
        down = (middle - tops[place]) / sizes[place][1] + em * (LEADING / 2 - BASELINE)
        inside = _inside(text.boxes[place], at, text.vertical)
        begin = 1 - row.width if row.right else 0.0
        lines.append((row, (inside(begin, down), inside(begin + row.width, down), inside(begin, down - em))))
    return lines


def _size(box: Box, page: Page, vertical: bool) -> tuple[float, float]:
    """Length of its rows, and height of their stack."""
    width, height = (box[2] - box[0]) * page.width, (box[3] - box[1]) * page.height
    return (height, width) if vertical else (width, height)


def _inside(box: Box, at: Callable[[float, float], Point], vertical: bool) -> Callable[[float, float], Point]:
    """Places in a box, by shares of its rows' length and of their stack."""
    left, top, right, bottom = box

    def inside(along: float, down: float) -> Point:
        if vertical:
            along, down = 1 - down, along  # from the right column to the left, each from its top
        return at(left + along * (right - left), top + down * (bottom - top))

    return inside


def _placed(font: Font, row: Row, begin: Point, end: Point, above: Point) -> raw.FPDF_PAGEOBJECT:
    (x, y), rise = begin, (above[0] - begin[0], above[1] - begin[1])
    size = (rise[0] ** 2 + rise[1] ** 2) ** 0.5
    made = font.text(row.text, size)
    ems = font.width(row.text) * size
    raw.FPDFPageObj_Transform(made, (end[0] - x) / ems, (end[1] - y) / ems, rise[0] / size, rise[1] / size, x, y)
    return made
