"""The truth of a page of the exam: where a PDF's sheet shows each part of its source, in pixels of the drawn page.

One way for all renderers: a part's characters are looked for in the sheet's text, and the boxes of those found are put
together, with the ink that they cut and, for tables, the rules around them. Images are the PDF's image objects. Knows
nothing of how sources are written.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from training.exam_sources import FOOTNOTE, FORMULA, HEADER, IMAGE, TABLE, Page, Part

Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the drawn page
HYPHEN = "-"
SAME = str.maketrans(
    dict.fromkeys("\x02\u00ad\u2010\u2011\u2012\u2013\u2212\ufffe", HYPHEN) | {"\u2019": "'", "\u2018": "'"}
)
BULLETS = "\u2022\u25e6\u25aa\u00b7\uf0b7"
SYMBOL = "\u25a1"  # stands for the letters of formulas that pdfium gives as surrogates
INK = 140  # grey levels below which a pixel is ink
RUNNING_ZONE = 0.13  # share of the page at its top and bottom where headers, footers and numbers stand
MAX_FORMULA = 30  # letters
RULE_REACH = 9.0  # points between a cell's text and the rules around it
GROWTH = 2  # pixels by which a box may grow to hold the ink that its edge cuts
FORMULA_GROWTH = 8  # the same for formulas, whose roots and bars are no letters


class TruthError(ValueError):
    """A part of a page was not found in its PDF."""


@dataclass(frozen=True)
class Glyph:
    """A character of the PDF's text with its box."""

    character: str
    box: Box


@dataclass
class Found:
    """A block of the page."""

    part: Part
    box: Box
    text: str  # as printed, one line a line


@dataclass
class Sheet:
    """A sheet of a PDF, drawn."""

    image: Image.Image
    glyphs: list[Glyph]
    images: list[Box]
    rules: list[Box]
    free: set[int] = field(default_factory=set)  # places of the glyphs that belong to no part yet


def read_sheet(pdf: pypdfium2.PdfDocument, index: int, dpi: int) -> Sheet:
    page = pdf[index]
    scale, height = dpi / 72, page.get_height()

    def placed(left: float, bottom: float, right: float, top: float) -> Box:
        return (left * scale, (height - top) * scale, right * scale, (height - bottom) * scale)

    glyphs = list(_glyphs(page, placed))
    images, rules = [], []
    for thing in page.get_objects(max_depth=1):
        box = placed(*thing.get_bounds())
        if thing.type in (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM):
            images.append(box)
        elif thing.type == pdfium.FPDF_PAGEOBJ_PATH and (box[3] - box[1]) < 0.8 * height * scale:
            rules.append(box)
    image = page.render(scale=scale).to_pil().convert("RGB")
    return Sheet(image, glyphs, images, rules, set(range(len(glyphs))))


def _glyphs(page: pypdfium2.PdfPage, placed: Any) -> Iterator[Glyph]:
    """All characters that are not blank, ligatures taken apart, without those off the page."""
    text = page.get_textpage()
    width, height = page.get_size()
    for i in range(text.count_chars()):
        point = pdfium.FPDFText_GetUnicode(text, i)
        character = SYMBOL if 0xD800 <= point < 0xE000 else chr(point)
        characters = unicodedata.normalize("NFKC", character.translate(SAME)).strip()
        left, bottom, right, top = text.get_charbox(i)
        if characters and right > 0 and left < width and top > 0 and bottom < height:
            for character in characters:
                yield Glyph(character, placed(left, bottom, right, top))


def find_parts(page: Page, sheet: Sheet) -> list[Found]:
    """The blocks of a page in reading order, without the parts that did not fit.

    Raises TruthError for what must be there, and for text on the sheet that no part of the page has.
    """
    around = {part.label: _find_around(part, sheet) for part in page.parts() if part not in page.body}
    body = _find_body(page, sheet)
    if left := "".join(sheet.glyphs[i].character for i in sorted(sheet.free)):
        raise TruthError(f"the sheet holds what no part of the page has: {left[:80]!r}")
    head = around.pop(HEADER, [])
    found = [*head, *body, *(one for pieces in around.values() for one in pieces)]
    return [_grown(one, sheet.image) for one in found]


def _find_around(part: Part, sheet: Sheet) -> list[Found]:
    """A header, a footer, a page number or a footnote."""
    high = sheet.image.height
    for start in sorted(sheet.free, reverse=part.label != HEADER):  # all renderers write what is below last
        bottom = sheet.glyphs[start].box[3]
        outside = bottom < RUNNING_ZONE * high if part.label == HEADER else bottom > (1 - RUNNING_ZONE) * high
        if part.label == FOOTNOTE or outside:
            matched = _match(_wanted(part), sheet, start)
            if _is_whole(matched, part):
                return _taken(part, matched, sheet)
    raise TruthError(f"{part.label} {part.text!r} is not on the sheet")


def _find_body(page: Page, sheet: Sheet) -> list[Found]:
    """The body's parts one after another, as the sheet has its text in the order of the source.

    A formula's letters are those between what stands before and after it. The first part that is not there in full ends
    the page; its beginning may be there.
    """
    found: list[Found] = []
    images, formula = iter(sheet.images), None
    cursor = 0
    for part in page.body:
        if part.label == FORMULA:
            formula = part
            continue
        if part.label == IMAGE:
            if not (box := next(images, None)):
                break
            found.append(Found(part, box, ""))
            continue
        matched = _next_match(part, sheet, cursor)
        if not matched:
            break
        if formula:
            found += _take_formula(formula, sheet, cursor, matched[0][0])
            formula = None
        cursor = matched[-1][0] + 1
        found += _taken(part, matched, sheet)
        if not _is_whole(matched, part):
            break
    return [*found, *(_take_formula(formula, sheet, cursor, len(sheet.glyphs)) if formula else [])]


def _next_match(part: Part, sheet: Sheet, cursor: int) -> list[tuple[int, int]]:
    """The glyphs of the whole part from `cursor` on; if there are none, of its beginning behind at most a formula."""
    wanted = _wanted(part)
    best: list[tuple[int, int]] = []
    starts = [start for start in sorted(sheet.free) if start >= cursor]
    for place, start in enumerate(starts):
        matched = _match(wanted, sheet, start)
        if _is_whole(matched, part):
            return matched
        if place <= MAX_FORMULA and len(matched) > len(best):
            best = matched
    follows = bool(best) and best[-1][0] == starts[-1]
    return best if follows and part.label != TABLE else []


def _take_formula(part: Part, sheet: Sheet, start: int, end: int) -> list[Found]:
    run = [glyph for glyph in range(start, end) if glyph in sheet.free]
    if not run:
        return []
    if len(run) > MAX_FORMULA:
        raise TruthError(f"too long for a formula: {''.join(sheet.glyphs[glyph].character for glyph in run)!r}")
    sheet.free -= set(run)
    return [Found(part, union([sheet.glyphs[glyph].box for glyph in run]), "")]


def _wanted(part: Part) -> str:
    """The text of a part as one run, with blanks only where words part and newlines where the source has them."""
    if part.label == TABLE:
        return "\n".join(cell for row in part.cells for cell in row)
    if part.ordered is None:
        return part.text
    items = part.text.split("\n")
    return "\n".join(f"{i}. {item}" if part.ordered else f"\u2022 {item}" for i, item in enumerate(items, 1))


def _match(wanted: str, sheet: Sheet, start: int) -> list[tuple[int, int]]:
    """Places of glyphs from `start` that print the wanted letters, each with the letter's place or -1 for a hyphen."""
    matched: list[tuple[int, int]] = []
    glyph = start
    for at, letter in enumerate(wanted):
        if letter.isspace():
            continue
        if glyph in sheet.free and sheet.glyphs[glyph].character == HYPHEN != letter and matched:
            matched.append((glyph, -1))
            glyph += 1
        if glyph not in sheet.free or sheet.glyphs[glyph].character not in (BULLETS if letter in BULLETS else letter):
            break
        matched.append((glyph, at))
        glyph += 1
    return matched


def _is_whole(matched: Sequence[tuple[int, int]], part: Part) -> bool:
    return bool(matched) and matched[-1][1] == len(_wanted(part)) - 1


def _taken(part: Part, matched: Sequence[tuple[int, int]], sheet: Sheet) -> list[Found]:
    """The blocks that the glyphs of a part make: one for each column."""
    sheet.free -= {glyph for glyph, _ in matched}
    if part.label == TABLE:
        return [Found(part, _with_rules(union([sheet.glyphs[glyph].box for glyph, _ in matched]), sheet), "")]
    return [Found(part, box, text) for box, text in _lines(matched, _wanted(part), sheet)]


def _lines(matched: Sequence[tuple[int, int]], wanted: str, sheet: Sheet) -> Iterator[tuple[Box, str]]:
    """The pieces of a part, one for each column that it stands in: box, and text as printed."""
    boxes: list[Box] = []
    text, before = "", -1
    for glyph, at in matched:
        box = sheet.glyphs[glyph].box
        if boxes and _is_new_column(boxes, box):
            yield union(boxes), text
            boxes, text = [], ""
        if boxes and box[2] <= boxes[-1][0]:  # writing goes back to the left at the beginning of a line
            text += "\n"
        elif boxes and at > before + 1:
            text += " "
        text += HYPHEN if at < 0 or wanted[at] in BULLETS else wanted[at]
        before = at if at >= 0 else before
        boxes.append(box)
    yield union(boxes), text


def _is_new_column(boxes: Sequence[Box], box: Box) -> bool:
    """Whether writing goes up by more than the height of a letter."""
    return box[3] < boxes[-1][1] - max(bottom - top for _, top, _, bottom in boxes)


def _with_rules(box: Box, sheet: Sheet) -> Box:
    """The box with all rules that lie around or in it."""
    reach = RULE_REACH * sheet.image.height / 800
    for _ in range(2):
        wide = (box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach)
        near = [rule for rule in sheet.rules if _touches(rule, wide)]
        box = union([box, *near])
    return box


def _touches(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def union(boxes: Sequence[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return (min(lefts), min(tops), max(rights), max(bottoms))


def _grown(found: Found, image: Image.Image) -> Found:
    """The block with its box in whole pixels, each side moved out while it cuts ink."""
    ink = np.asarray(image.convert("L")) < INK
    box = found.box
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    right, bottom = min(image.width, int(np.ceil(box[2]))), min(image.height, int(np.ceil(box[3])))
    for _ in range(FORMULA_GROWTH if found.part.label == FORMULA else GROWTH):
        left -= int(left > 0 and ink[top:bottom, left].any())
        right += int(right < image.width and ink[top:bottom, right - 1].any())
        top -= int(top > 0 and ink[top, left:right].any())
        bottom += int(bottom < image.height and ink[bottom - 1, left:right].any())
    return Found(found.part, (left, top, right, bottom), found.text)
