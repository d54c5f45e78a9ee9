#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Draws the sample images for the examples and tests: scripts/create_test_image.py [OUT] [--sample NAME]

The samples use Pillow's own font and a print size that the embedded checkpoint was trained on. They look the same on
every machine and can be read without downloading a model.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scripts.sample_page import draw_page

Row = tuple[str, ...]
"""Strings of a line: the first starts at the left, the last ends at the right, any other ends at two thirds."""

TITLE_SIZE, BODY_SIZE = 26, 20  # pixels per em
PITCH = 1.4  # distance of lines, in type sizes
MARGIN = 12  # pixels
MIN_GAP = 16  # pixels between two strings of a line
CELL_PADDING = 8  # pixels around the text of a table cell
PAGE = "page"

SAMPLES: dict[str, list[Row]] = {
    "document": [
        ("Test Document",),
        ("Date: March 14, 2025",),
        ("The quick brown fox reads",),
        ("ten pages every morning.",),
        ("Total: $42.50",),
    ],
    "receipt": [
        ("Corner Bakery",),
        ("Date: 2025-03-14",),
        ("2 Walnut bread", "9.00"),
        ("1 Apple cake", "3.50"),
        ("Subtotal", "12.50"),
        ("Tax", "1.25"),
        ("Total", "$13.75"),
    ],
    "invoice": [
        ("Mill Supply",),
        ("Invoice No: 2041",),
        ("Date: 14/03/2025",),
        ("Due Date: 14/04/2025",),
        ("Bill To: Anna Carter",),
        ("Item", "Qty", "Amount"),
        ("Oak plank", "4", "96.00"),
        ("Subtotal", "96.00"),
        ("Tax", "9.60"),
        ("Total", "$105.60"),
    ],
    "form": [
        ("Name: Anna Carter",),
        ("City: Brighton",),
        ("Phone: 555-201-0147",),
        ("Email:",),
    ],
    "table": [
        ("Tree", "Height", "Count"),
        ("Oak", "21.5", "14"),
        ("Birch", "17.0", "8"),
    ],
}  # fmt: skip


def text_of(sample: str) -> str:
    """The text of a sample, line by line."""
    return "\n".join(" ".join(row) for row in SAMPLES[sample])


def draw(sample: str = "document") -> Image.Image:
    """A sample in black on white, just large enough for its text; the page is as large as paper."""
    if sample == PAGE:
        return draw_page()
    return draw_table(SAMPLES[sample]) if sample == "table" else draw_lines(sample)


def draw_lines(sample: str) -> Image.Image:
    """A sample set line by line; the title of the document is in larger type."""
    rows = SAMPLES[sample]
    fonts = [load_font(TITLE_SIZE if sample == "document" and i == 0 else BODY_SIZE) for i in range(len(rows))]
    widths = [[font.getlength(text) for text in row] for row, font in zip(rows, fonts, strict=True)]
    inner = max(sum(row) + MIN_GAP * (len(row) - 1) for row in widths)
    if max(map(len, rows)) > 2:
        inner += widths[-1][-1]  # room for the middle column
    height = sum(font.size * PITCH for font in fonts)
    image = Image.new("RGB", (round(inner) + 2 * MARGIN, round(height) + 2 * MARGIN), "white")
    canvas = ImageDraw.Draw(image)
    y = float(MARGIN)
    for row, lengths, font in zip(rows, widths, fonts, strict=True):
        for i, (text, length) in enumerate(zip(row, lengths, strict=True)):
            end = inner if i == len(row) - 1 else inner * 2 / 3
            x = 0 if i == 0 else end - length
            canvas.text((MARGIN + round(x), round(y)), text, font=font, fill="black")
        y += font.size * PITCH
    return image


def draw_table(rows: Sequence[Row]) -> Image.Image:
    """A ruled table."""
    font = load_font(BODY_SIZE)
    widths = [
        round(max(font.getlength(text) for text in column)) + 2 * CELL_PADDING for column in zip(*rows, strict=True)
    ]
    height = round(BODY_SIZE * PITCH) + CELL_PADDING
    image = Image.new("RGB", (sum(widths) + 2 * MARGIN, height * len(rows) + 2 * MARGIN), "white")
    canvas = ImageDraw.Draw(image)
    for r, row in enumerate(rows):
        x, y = MARGIN, MARGIN + r * height
        for text, width in zip(row, widths, strict=True):
            canvas.rectangle((x, y, x + width, y + height), outline="black")
            canvas.text((x + CELL_PADDING, y + CELL_PADDING // 2), text, font=font, fill="black")
            x += width
    return image


def load_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    # The other layout engine exists on some machines only, and it kerns.
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw a sample image.")
    parser.add_argument("out", nargs="?", type=Path, default=Path("test_document.png"), help="default: %(default)s")
    parser.add_argument("--sample", choices=[*SAMPLES, PAGE], default="document", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        draw(options.sample).save(options.out)
    except (OSError, ValueError) as error:
        print(f"{options.out} cannot be written: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
