#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Draws the sample document that the examples and the tests read: scripts/create_test_image.py [OUT]

In the font that Pillow carries and at the size of print that the embedded checkpoint was trained on, so that the
sample looks the same on every machine and can be read without downloading a model.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TITLE = "Test Document"
BODY = (
    "Date: March 14, 2025",
    "The quick brown fox reads",
    "two pages every morning.",
    "Total: $42.50",
)
TEXT = "\n".join((TITLE, *BODY))

TITLE_SIZE, BODY_SIZE = 26, 20  # pixels per em
PITCH = 1.4  # of the type size, from line to line
MARGIN = 12  # pixels


def draw() -> Image.Image:
    """The sample document, black on white, just large enough for its text."""
    lines = [(TITLE, TITLE_SIZE), *((line, BODY_SIZE) for line in BODY)]
    fonts = {size: load_font(size) for _, size in lines}
    width = max(fonts[size].getbbox(line)[2] for line, size in lines)
    height = sum(size * PITCH for _, size in lines)
    image = Image.new("RGB", (round(width) + 2 * MARGIN, round(height) + 2 * MARGIN), "white")
    canvas = ImageDraw.Draw(image)
    y = float(MARGIN)
    for line, size in lines:
        canvas.text((MARGIN, round(y)), line, font=fonts[size], fill="black")
        y += size * PITCH
    return image


def load_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    # The other layout engine is there on some machines only, and kerns.
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the sample document.")
    parser.add_argument("out", nargs="?", type=Path, default=Path("test_document.png"), help="default: %(default)s")
    out: Path = parser.parse_args(arguments).out
    try:
        draw().save(out)
    except (OSError, ValueError) as error:
        print(f"{out} cannot be written: {error}", file=sys.stderr)
        return 1
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
