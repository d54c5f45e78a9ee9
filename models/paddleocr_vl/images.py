"""Images as input of the vision tower: scaled, normalised and cut into patches, with Pillow and numpy.

Equal to transformers' `PaddleOCRVLImageProcessorPil` to the last bit, whose import loads PyTorch's compiler and sympy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.checkpoint import image_settings
from models.protocol import WHOLE_BLOCKS, BlockLimits, Grid, InputError, PixelBounds

MAX_ASPECT = 200  # longer side over shorter
BLOCK_KEYS = ("max_lines", "max_rows", "min_block_pixels")  # ours, in the order of BlockLimits; no release has them
FIXED = {"do_resize": True, "do_rescale": True, "do_normalize": True, "temporal_patch_size": 1}


@dataclass(frozen=True)
class ImageSettings:
    """How a checkpoint's images are scaled, normalised and cut."""

    bounds: PixelBounds
    patch: int = 14  # pixels per side
    merge: int = 2  # patches per side of one image token
    resample: int = Image.Resampling.BICUBIC
    rescale: float = 1 / 255
    mean: Sequence[float] = (0.5, 0.5, 0.5)
    std: Sequence[float] = (0.5, 0.5, 0.5)
    block_limits: BlockLimits = WHOLE_BLOCKS

    @classmethod
    def read(cls, folder: Path) -> "ImageSettings":
        """The settings of a checkpoint folder. Raises ValueError for settings that this module does not support."""
        settings = image_settings(folder)
        for name, value in FIXED.items():
            if settings.get(name, value) != value:
                raise ValueError(f"{folder}: {name} is {settings[name]}; only {value} is supported")
        size = settings.get("size") or {}
        min_pixels = settings.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or 384**2
        max_pixels = settings.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or 1536**2
        names = {"patch": "patch_size", "merge": "merge_size", "resample": "resample", "rescale": "rescale_factor"}
        names |= {"mean": "image_mean", "std": "image_std"}
        return cls(
            PixelBounds(min_pixels, max_pixels),
            block_limits=BlockLimits(*(_count(settings, key, folder) for key in BLOCK_KEYS)),
            **{ours: settings[key] for ours, key in names.items() if key in settings},
        )

    def grid(self, width: int, height: int, bounds: PixelBounds) -> Grid:
        """Patches (rows, columns) of an image of `width` x `height` pixels. Raises InputError.

        Sides are multiples of `patch * merge` close to the image's own, their product within `bounds`, like
        `smart_resize` in transformers' `image_processing_pil_paddleocr_vl.py`.
        """
        factor = self.patch * self.merge
        wide, high = float(width), float(height)
        if high < factor:
            wide, high = round(wide * factor / high), factor
        if wide < factor:
            wide, high = factor, round(high * factor / wide)
        if max(wide, high) / min(wide, high) > MAX_ASPECT:
            raise InputError(
                f"an image of {width} x {height} pixels cannot be read: its longer side is more than {MAX_ASPECT} "
                "times the shorter; cut it into pieces"
            )
        rows, columns = round(high / factor), round(wide / factor)
        if rows * columns * factor**2 > bounds.max_pixels:
            shrink = math.sqrt(wide * high / bounds.max_pixels)
            rows = max(1, math.floor(high / shrink / factor))
            columns = max(1, math.floor(wide / shrink / factor))
        elif rows * columns * factor**2 < bounds.min_pixels:
            grow = math.sqrt(bounds.min_pixels / (wide * high))
            rows, columns = math.ceil(high * grow / factor), math.ceil(wide * grow / factor)
        return rows * self.merge, columns * self.merge

    def patches(self, image: Image.Image, grid: Grid) -> np.ndarray:
        """(rows * columns, 3, patch, patch) fp32, in raster order."""
        rows, columns = grid
        scaled = image.convert("RGB").resize((columns * self.patch, rows * self.patch), self.resample)
        pixels = np.asarray(scaled).reshape(rows, self.patch, columns, self.patch, 3).transpose(0, 2, 4, 1, 3)
        levels = (np.arange(256) * self.rescale).astype(np.float32)  # each of the 256 values is normalised once
        out = np.empty(pixels.shape, dtype=np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            np.take((levels - np.float32(mean)) / np.float32(std), pixels[:, :, channel], out=out[:, :, channel])
        return out.reshape(rows * columns, 3, self.patch, self.patch)


def _count(settings: Mapping[str, Any], key: str, folder: Path) -> int | None:
    """The value of one of BLOCK_KEYS. Raises ValueError."""
    count = settings.get(key)
    if count is not None and (type(count) is not int or count < 1):
        raise ValueError(f"{folder}: {key} is {count!r}; it must be a whole number from 1 on, or null")
    return count
