"""Figures of the exam's pages: charts and what looks like a photograph, without text."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH = 480  # pixels


def draw_figure(seed: int, aspect: float) -> Image.Image:
    """An RGB image of WIDTH by `aspect` x WIDTH pixels: bars, lines or a blurred scene."""
    rng = np.random.default_rng(seed)
    size = (WIDTH, round(WIDTH * aspect))
    return (_bars, _lines, _scene)[seed % 3](rng, size)


def _framed(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline="black", width=2)
    return image, pen


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(30, 220, 3)
    return int(red), int(green), int(blue)


def _bars(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    image, pen = _framed(size)
    bars, colour = int(rng.integers(4, 11)), _colour(rng)
    pitch = (size[0] - 40) / bars
    for i in range(bars):
        top = size[1] - 10 - rng.uniform(0.1, 0.9) * (size[1] - 20)
        pen.rectangle((20 + i * pitch, top, 20 + (i + 0.7) * pitch, size[1] - 10), fill=colour)
    return image


def _lines(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    image, pen = _framed(size)
    for x in range(0, size[0], 60):
        pen.line((x, 0, x, size[1]), fill=(215, 215, 215))
    for _ in range(int(rng.integers(1, 4))):
        ys = size[1] / 2 + np.cumsum(rng.normal(0, size[1] / 20, 25))
        points = [(20 + i * (size[0] - 40) / 24, float(y)) for i, y in enumerate(np.clip(ys, 6, size[1] - 6))]
        pen.line(points, fill=_colour(rng), width=3)
    return image


def _scene(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    coarse = rng.integers(20, 235, (max(3, size[1] // 60), 8, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    noise = rng.normal(0, 9, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(image.filter(ImageFilter.GaussianBlur(2))) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))
