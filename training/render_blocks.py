"""Blocks of whole pages as a layout network cuts them out, with their text as printed and where each character is.

Paragraphs, headings, lists, captions, footnotes, authors and running titles, set line by line in families of regular,
bold and italic fonts. Most are drawn two to four times as large and shrunk, because a PDF's rasteriser places glyphs
between pixels.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training import block_words
from training.rasterise import finish
from training.render_sheets import Style, make_fitting
from training.render_tables import table
from training.render_text import BUILT_IN, Page, Writer
from training.typesetting import (
    AS_TYPED,
    BOLD,
    BOLD_ITALIC,
    ITALIC,
    REGULAR,
    Family,
    Line,
    Look,
    Print,
    Typesetter,
    block_font,
    families,
    styled,
)

TRAINING_FAMILIES = families("""
    LiberationSans-Regular LiberationSans-Bold LiberationSans-Italic LiberationSans-BoldItalic
    LiberationSerif-Regular LiberationSerif-Bold LiberationSerif-Italic LiberationSerif-BoldItalic
    LiberationMono-Regular LiberationMono-Bold LiberationMono-Italic LiberationMono-BoldItalic
    DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSans-BoldOblique
    DejaVuSerif DejaVuSerif-Bold DejaVuSerif-Italic DejaVuSerif-BoldItalic
    DejaVuSansMono DejaVuSansMono-Bold DejaVuSansMono-Oblique DejaVuSansMono-BoldOblique
    FreeSans FreeSansBold FreeSansOblique FreeSansBoldOblique
    FreeSerif FreeSerifBold FreeSerifItalic FreeSerifBoldItalic
    Roboto-Regular Roboto-Bold Roboto-Italic Roboto-BoldItalic
    RobotoSlab-Regular RobotoSlab-Bold
    Lato-Regular Lato-Bold Lato-Italic Lato-BoldItalic
    Carlito-Regular Carlito-Bold Carlito-Italic Carlito-BoldItalic
    Inter-Regular Inter-SemiBold Inter-Italic Inter-BoldItalic
    NotoSans-Regular NotoSans-Bold NotoSans-Italic NotoSans-BoldItalic
    NotoSerif-Regular NotoSerif-Bold NotoSerif-Italic NotoSerif-BoldItalic
    LinLibertine_R LinLibertine_RB LinLibertine_RI LinLibertine_RBI
    LinBiolinum_R LinBiolinum_RB LinBiolinum_RI
    lmroman10-regular lmroman10-bold lmroman10-italic lmroman10-bolditalic
    lmsans10-regular lmsans10-bold lmsans10-oblique lmsans10-boldoblique
    C059-Roman C059-Bold C059-Italic C059-BdIta
    URWBookman-Light URWBookman-Demi URWBookman-LightItalic URWBookman-DemiItalic
    URWGothic-Book URWGothic-Demi URWGothic-BookOblique URWGothic-DemiOblique
    Hack-Regular Hack-Bold Hack-Italic Hack-BoldItalic
""")
# In neither list: P052, which is Palatino like TeX Gyre Pagella, and groff's Times and Helvetica by URW.
HELD_OUT_FAMILIES = families("""
    OpenSans-Regular OpenSans-Bold OpenSans-Italic OpenSans-BoldItalic
    Caladea-Regular Caladea-Bold Caladea-Italic Caladea-BoldItalic
    Cantarell-Regular Cantarell-Bold
    texgyrepagella-regular texgyrepagella-bold texgyrepagella-italic texgyrepagella-bolditalic
    FiraCode-Regular FiraCode-Bold
""")
OLD_STYLE = ["onum"]  # digits with ascenders and descenders, as books have them
KINDS = {"paragraph": 50, "list": 15, "heading": 12, "caption": 8, "footnote": 5, "authors": 3, "running": 12}


@dataclass(frozen=True)
class Shape:
    """What all blocks of a batch share, so that their images have nearly the same size."""

    kind: str  # one of KINDS
    em: float  # pixels
    width: float  # pixels that the longest line may take
    pitch: float  # ems from baseline to baseline
    counts: tuple[int, ...]  # lines of each paragraph or item
    gap: float  # ems between two of them, besides the pitch


def choose_shape(rng: random.Random, most: int, growth: float = 1.0) -> Shape:
    """A block's kind and measures. most: lines; growth: 0 to 1, up to which width."""
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    low, high = {"heading": (16, 36), "footnote": (11, 16), "caption": (12, 21), "running": (11, 20)}.get(
        kind, (13, 25)
    )
    em = rng.uniform(low, high)
    widest = min(960.0, 500 + 460 * growth)
    if kind == "running":
        return Shape(kind, em, rng.choice([rng.uniform(1, 4), rng.uniform(2, 40)]) * em, 1.2, (1,), 0)
    if kind in ("heading", "authors"):
        counts: tuple[int, ...] = (rng.choice([1, 1, 1, 2]),)
        width = rng.choice([rng.uniform(4, 14), rng.uniform(5, 40)]) * em
    elif kind in ("caption", "footnote"):
        counts = (rng.choice([1, 1, 2, 2, 3]),)
        width = rng.uniform(12, 50) * em
    elif kind == "list":
        counts = tuple(rng.choice([1, 1, 1, 2, 2, 3]) for _ in range(rng.choice([1, 1, 1, 2, 3, 4, 6])))
        width = rng.uniform(8, 45) * em
    else:
        lines = rng.randint(1 if rng.random() < 0.6 else most // 2, most)
        cut = rng.randint(1, lines)
        counts = (cut, lines - cut) if cut < lines and rng.random() < 0.1 else (lines,)
        width = rng.uniform(10, 60) * em
    while sum(counts) > most:
        counts = counts[:-1] if len(counts) > 1 else (most,)
    return Shape(kind, em, min(width, widest), rng.uniform(1.1, 1.6), counts, rng.choice([0, 0, 0.3, 0.6]))


def choose_look(rng: random.Random, shape: Shape, family: Family, scale: int) -> Look:
    kind, size = shape.kind, max(8, round(shape.em * scale))
    engine = ImageFont.Layout.RAQM if rng.random() < 0.5 else ImageFont.Layout.BASIC  # with and without ligatures
    align = {
        "heading": ["left", "left", "left", "center"],
        "authors": ["center", "left"],
        "caption": ["left", "left", "center"],
        "running": ["left"],
    }.get(kind, ["justified", "left"])
    styles = {
        "heading": [BOLD] * 8 + [REGULAR, BOLD_ITALIC],
        "caption": [REGULAR, REGULAR, REGULAR, ITALIC, BOLD],
        "authors": [REGULAR, REGULAR, ITALIC],
        "running": [REGULAR, REGULAR, ITALIC, BOLD],
    }.get(kind, [REGULAR] * 16 + [ITALIC, BOLD])
    indent = {"paragraph": rng.choice([0, 0, 0, 1, 1.5, 2]), "list": rng.uniform(1, 2.5)}.get(kind, 0.0)
    return Look(
        fonts=[block_font(name, size, engine) for name in family],
        align=rng.choice(align),
        hyphenates=rng.random() < 0.35 and kind in ("paragraph", "list", "footnote", "caption"),
        indent=shape.em * scale * indent,
        style=rng.choice(styles),
        mixed=0.0 if kind in ("heading", "running") else rng.choice([0, 0, 0.02, 0.05]),
        curly=rng.random() < 0.2,
        features=OLD_STYLE if engine == ImageFont.Layout.RAQM and rng.random() < 0.3 else None,
    )


def words_of(writer: Writer, shape: Shape) -> Iterator[str]:
    makers = {"heading": block_words.heading, "authors": block_words.authors, "caption": block_words.caption}
    if shape.kind == "running":
        return block_words.running(writer)
    return makers.get(shape.kind, block_words.prose)(writer)


def compose(writer: Writer, shape: Shape, look: Look, scale: int) -> list[tuple[Line, float]]:
    """The block's lines, each with the baseline's distance from the first one in pixels at this scale."""
    rng, em = writer.rng, shape.em * scale
    setter = Typesetter(rng, look, styled(rng, words_of(writer, shape), look), shape.width * scale)
    marks = [""] * len(shape.counts)
    if shape.kind == "list":
        marks = block_words.bullets(writer, len(shape.counts))
    elif shape.kind == "footnote":
        marks = [block_words.footnote_mark(writer)]
    lines: list[tuple[Line, float]] = []
    y = 0.0
    for count, mark in zip(shape.counts, marks, strict=True):
        for line in setter.paragraph(count, mark):
            lines.append((line, y))
            y += shape.pitch * em
        y += shape.gap * em
    return lines


def draw_block(rng: random.Random, shape: Shape, chosen: Sequence[Family], *, held_out: bool) -> Page:
    """One image of a block of this shape, in one of the families."""
    scale = rng.choice((1, 1, 2, 3, 3, 4))
    look = choose_look(rng, shape, rng.choice(chosen), scale)
    writer = Writer(rng, held_out=held_out)
    lines = compose(writer, shape, look, scale)
    em, pad = shape.em * scale, round(shape.em * scale * 3 + 0.02 * shape.width * scale)
    size = (round(max(line.end for line, _ in lines)) + 2 * pad, round(lines[-1][1]) + 2 * pad)
    own = Print(size, pad, em, look)
    for line, y in lines:
        own.draw(line, y)
    others = Print(size, pad, em, look)
    if rng.random() < 0.3:  # the lines before and after, of which a box sometimes shows a little
        around = Typesetter(rng, look, styled(rng, block_words.prose(writer), look), shape.width * scale)
        for y in (-shape.pitch * em, lines[-1][1] + shape.pitch * em):
            others.draw(around.paragraph(1)[0], y)
    centres = np.array(own.centres[:-1], dtype=np.float32)  # without the last newline
    text = "".join(own.pieces[:-1]).translate(AS_TYPED)
    image, centres = finish(rng, own.mask, others.mask, centres, scale, shape.em * (shape.pitch - 0.7))
    return Page(image, text, centres)


def choose_table_style(rng: random.Random, fonts: Sequence[str], *, held_out: bool) -> Style:
    """The typography of a table as pages have it: larger than a lone one, drawn large."""
    scale = rng.choice((1, 2, 3, 3))
    size = round(rng.uniform(13, 25) * scale)
    return Style(
        font=rng.choice(fonts),
        size=size,
        width=round(min(620 * scale, rng.uniform(15, 40) * size)),
        pitch=rng.uniform(1.1, 1.7),
        items=rng.randint(2, 6),
        held_out=held_out,
        scale=scale,
        most_columns=5,
        wrapped=0.35,
    )


def draw_table(rng: random.Random, style: Style) -> Page:
    """One image of a table. Raises TooWideError."""
    sheet = make_fitting(partial(table, rng, style))
    mask = Image.new("L", (sheet.width, sheet.height))
    pen = ImageDraw.Draw(mask)
    font, features = sheet.font, None
    if style.font != BUILT_IN and rng.random() < 0.3:
        font, features = block_font(style.font, style.size, ImageFont.Layout.RAQM), OLD_STYLE
    for x, y, text in sheet.strings:
        pen.text((x, y), text, font=font, fill=255, features=features)
    thickness = rng.randint(1, round(1.5 * style.scale))
    for rule in sheet.rules:
        pen.line(tuple(map(round, rule)), fill=255, width=thickness)
    others = Image.new("L", mask.size)
    image, centres = finish(rng, mask, others, sheet.centres, style.scale, 0)
    return Page(image, sheet.text, centres)
