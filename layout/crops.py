"""The image of a block, cut out of its page as the model is to see it.

Knows pixels, and of blocks their boxes, outlines, tasks and figures. Equal to PaddleX 3.7 to the pixel, except along
outlines, which Pillow and OpenCV draw differently by a pixel, and in the shapes of the letters of tokens.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from layout.blocks import Align, Block
from layout.figures import Figure
from models.detection import Detection

WHITE = (255, 255, 255)
INK = 200  # grey level, of 255, up to which a pixel counts as ink once the block's levels are stretched
MIN_TRIMMED = 3  # pixels per side; a formula that trims to less is left as it was
TOKEN_SHARE = 0.9  # share of a figure's shorter side that its token fills
ENLARGED = 1500  # pixels; an image with both sides below is doubled where the task wants that


def crop(page: Image.Image, block: Block, max_aspect: int) -> Image.Image:
    """The block's image, from an upright RGB page. `max_aspect`: longer over shorter side that the model takes."""
    image = stacked([_cut(page, part) for part in block.parts], block.aligns)
    if block.figures:
        left, top = block.parts[0].box[:2]
        _paint_tokens(image, block.figures, left, top)
    if block.task and block.task.trims:
        image = trimmed(image)
    if block.task and block.task.enlarges and max(image.size) < ENLARGED:
        image = image.resize((2 * image.width, 2 * image.height), Image.Resampling.LANCZOS)
    return padded(image, max_aspect)


def figures_of(page: Image.Image, block: Block) -> dict[str, Image.Image]:
    """Token -> the image that it stands for in a table's text."""
    return {figure.token: _cut(page, figure.found) for figure in block.figures}


def _paint_tokens(image: Image.Image, figures: Sequence[Figure], left: float, top: float) -> None:
    """White over each figure, and its token in the middle. `left` and `top`: corner of the image on the page."""
    pen = ImageDraw.Draw(image)
    for figure in figures:
        box = figure.found.box
        corner, end = (box.left - left, box.top - top), (box.right - left, box.bottom - top)
        pen.rectangle((*corner, *end), fill=WHITE)
        middle = ((corner[0] + end[0]) / 2, (corner[1] + end[1]) / 2)
        side = TOKEN_SHARE * min(box.width, box.height)
        font = ImageFont.load_default(side * side / ImageFont.load_default(side).getlength(figure.token))
        pen.text(middle, figure.token, fill=0, font=font, anchor="mm")


def _cut(page: Image.Image, part: Detection) -> Image.Image:
    """The pixels of a box, white outside the outline."""
    left, top, right, bottom = map(int, part.box)
    image = page.crop((left, top, right, bottom))
    if part.polygon is None:
        return image
    mask = Image.new("L", image.size)
    corners = [(int(x) - left, int(y) - top) for x, y in part.polygon]
    pen = ImageDraw.Draw(mask)
    pen.polygon(corners, fill=255)
    pen.line([*corners, corners[0]], fill=255)  # Pillow's polygon leaves out pixels on its edges
    return Image.composite(image, Image.new("RGB", image.size, WHITE), mask)


def stacked(images: Sequence[Image.Image], aligns: Sequence[Align]) -> Image.Image:
    """The images below one another on white, each but the first aligned with all before it."""
    lefts, width = [0], images[0].width
    for image, align in zip(images[1:], aligns, strict=True):
        total = max(width, image.width)
        shift, left = (_place(total - inner, align) for inner in (width, image.width))
        lefts = [*(before + shift for before in lefts), left]
        width = total
    canvas = Image.new("RGB", (width, sum(image.height for image in images)), WHITE)
    top = 0
    for left, image in zip(lefts, images, strict=True):
        canvas.paste(image, (left, top))
        top += image.height
    return canvas


def _place(room: int, align: Align) -> int:
    return {"left": 0, "center": room // 2, "right": room}[align]


def trimmed(image: Image.Image) -> Image.Image:
    """The part of an image that holds ink, or all of it if there is none or next to none."""
    grey = np.asarray(image.convert("L")).astype(int)
    low, high = grey.min(), grey.max()
    if low == high:
        return image
    ink = (grey - low) * 255 // (high - low) <= INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return image.crop((left, top, right, bottom)) if min(right - left, bottom - top) >= MIN_TRIMMED else image


def padded(image: Image.Image, max_aspect: int) -> Image.Image:
    """The image on white, so wide and high that the model takes it."""
    width, height = (max(side, ceil(max(image.size) / max_aspect)) for side in image.size)
    if (width, height) == image.size:
        return image
    canvas = Image.new("RGB", (width, height), WHITE)
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas
