#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Makes exports/searchable/boxes.ttf: two boxes, half an em and an em wide, for the text under a page.

They are never drawn. But readers mark what they found by the extent of its glyphs, so that these must have one.
"""

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib.tables._g_l_y_f import Glyph

FILE = Path(__file__).resolve().parents[1] / "exports" / "searchable" / "boxes.ttf"
NAME = "Boxes"
EM, ASCENT, DESCENT = 1000, 800, 200
WIDTHS = {".notdef": 500, "half": 500, "full": 1000}


def main() -> None:
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder(list(WIDTHS))
    builder.setupCharacterMap({})
    builder.setupGlyf({name: _box(width) for name, width in WIDTHS.items()})
    builder.setupHorizontalMetrics({name: (width, 0) for name, width in WIDTHS.items()})
    builder.setupHorizontalHeader(ascent=ASCENT, descent=-DESCENT)
    builder.setupNameTable({"familyName": NAME, "styleName": "Regular", "fullName": NAME, "psName": NAME})
    builder.setupOS2(sTypoAscender=ASCENT, sTypoDescender=-DESCENT, usWinAscent=ASCENT, usWinDescent=DESCENT)
    builder.setupPost(keepGlyphNames=False)
    builder.font["head"].created = builder.font["head"].modified = 0
    builder.font.recalcTimestamp = False
    builder.save(FILE)


def _box(width: int) -> Glyph:
    pen = TTGlyphPen(None)
    pen.moveTo((0, -DESCENT))
    for corner in ((0, ASCENT), (width, ASCENT), (width, -DESCENT)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()


if __name__ == "__main__":
    main()
