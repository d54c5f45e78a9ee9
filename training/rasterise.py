"""From print at a large scale to an image as a layout box cuts it out of a page: turned, cropped, shrunk, painted."""

import io
import math
import random

import numpy as np
from PIL import Image

from training.render_text import Page, paint

EDGE = (-1.0, 6.0)  # pixels of paper that a layout box leaves around the ink
ASKEW = 0.2  # share of images that are not straight
DEGREES = 1.0  # they are turned by at most this
FILTERS = (Image.Resampling.BOX, Image.Resampling.BOX, Image.Resampling.LANCZOS, Image.Resampling.BICUBIC)
STRETCH = 0.9  # an image narrower or lower than this share of its batch's size is given more paper, not stretched


def finish(
    rng: random.Random, own: Image.Image, others: Image.Image, centres: np.ndarray, scale: int, reach: float
) -> tuple[Image.Image, np.ndarray]:
    """The image of a block and the centres (n, 2) of its characters in it.

    `own` and `others` are masks of the block's ink and of its neighbours', drawn `scale` times as large. With
    neighbours, the image extends by up to `reach` pixels above and below the block's ink.
    """
    if rng.random() < ASKEW:
        angle = rng.uniform(-DEGREES, DEGREES)
        centres = turned(centres, own.size, angle)
        own, others = (mask.rotate(angle, Image.Resampling.BICUBIC) for mask in (own, others))
    left, top, right, bottom = own.getbbox() or (0, 0, *own.size)
    edges = [rng.uniform(*EDGE) for _ in range(4)]
    mask = own
    if others.getbbox():
        edges[1], edges[3] = rng.uniform(0, max(EDGE[1], reach)), rng.uniform(0, max(EDGE[1], reach))
        mask = Image.fromarray(np.maximum(np.asarray(own), np.asarray(others)))
    box = [round(left - edges[0] * scale), round(top - edges[1] * scale)]
    box += [round(right + edges[2] * scale), round(bottom + edges[3] * scale)]
    mask = mask.crop((box[0], box[1], box[2], box[3]))
    size = (max(6, round(mask.width / scale)), max(6, round(mask.height / scale)))
    centres = (centres - np.array(box[:2])) * (np.array(size) / mask.size)
    if scale > 1:
        mask = mask.resize(size, rng.choice(FILTERS))
    elif mask.size != size:
        mask = mask.resize(size)
    darkness = np.asarray(mask, dtype=np.float32) / 255
    image = paint(rng, darkness ** rng.uniform(0.7, 1.3))
    return as_jpeg(rng, image) if rng.random() < 0.35 else image, centres.astype(np.float32)


def turned(points: np.ndarray, size: tuple[int, int], degrees: float) -> np.ndarray:
    """Points (n, 2) of an image after Pillow's `rotate`, which turns it counter-clockwise about its centre."""
    angle = math.radians(degrees)
    middle = np.array(size) / 2
    x, y = (points - middle).T
    return middle + np.stack([x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)], 1)


def as_jpeg(rng: random.Random, image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=rng.randint(50, 95))
    return Image.open(buffer).convert("RGB")


def levelled(rng: random.Random, pages: list[Page]) -> list[Page]:
    """The pages with so much paper around them that resizing all to the size of the first stretches none noticeably."""
    width = max(page.image.width for page in pages)
    height = max(page.image.height for page in pages)
    return [with_paper(rng, page, width, height) for page in pages]


def with_paper(rng: random.Random, page: Page, width: int, height: int) -> Page:
    """The page on a canvas of at least STRETCH times this size, in the colour of its own edge."""
    size = (max(page.image.width, math.ceil(STRETCH * width)), max(page.image.height, math.ceil(STRETCH * height)))
    if size == page.image.size:
        return page
    pixels = np.asarray(page.image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    canvas = Image.new("RGB", size, tuple(int(value) for value in np.median(border, axis=0)))
    shift = [
        rng.choice([0, rng.randint(0, room)]) for room in (size[0] - page.image.width, size[1] - page.image.height)
    ]
    canvas.paste(page.image, (shift[0], shift[1]))
    return Page(canvas, page.text, page.centres + np.array(shift, dtype=np.float32))
