"""Page images as input of a layout network: resized to one size and normalised, by PyTorch's own bicubic resize.

Knows the settings of a checkpoint's image processor. Equal to transformers' PP-DocLayout processors, which ask
torchvision for a resize without antialiasing: `F.interpolate` underneath. Pillow's bicubic resize antialiases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from models.checkpoint import image_settings

FIXED = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_center_crop": None,
    "do_pad": None,
    "resample": int(Image.Resampling.BICUBIC),
}


@dataclass(frozen=True)
class LayoutImageSettings:
    """How a checkpoint's page images are resized and normalised."""

    height: int = 800  # pixels
    width: int = 800
    rescale: float = 1 / 255
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)

    @classmethod
    def read(cls, folder: Path) -> "LayoutImageSettings":
        """The settings of a checkpoint folder. Raises ValueError for settings that this module does not support."""
        settings = image_settings(folder)
        for name, value in FIXED.items():
            given = settings.get(name, value)
            if given != value and (given or value):  # false and null both switch a step off
                raise ValueError(f"{folder}: {name} is {given}; only {value} is supported")
        size = settings.get("size") or {}
        if size and not {"height", "width"} <= set(size):
            raise ValueError(f"{folder}: size is {size}; only height and width are supported")
        names = {"rescale": "rescale_factor", "mean": "image_mean", "std": "image_std"}
        chosen = {ours: settings[key] for ours, key in names.items() if settings.get(key) is not None}
        chosen |= {side: size[side] for side in ("height", "width") if size}
        return cls(**chosen)

    def prepare(self, images: Sequence[Image.Image], *, rescale_first: bool) -> Tensor:
        """(images, 3, height, width) fp32 on the CPU.

        `rescale_first`: resize fp32 instead of bytes, as V4 was trained; rounding to bytes in between shifts high
        contrast edges so far that its reading order changes.
        """
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (self.mean, self.std))
        size = (self.height, self.width)
        out = torch.empty(len(images), 3, *size)
        for row, image in zip(out, images, strict=True):
            levels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()[None]
            if rescale_first:
                levels = _resized(levels.float() * self.rescale, size).clamp(0, 255 * self.rescale)
                row.copy_(levels[0]).sub_(mean).div_(std)
            else:  # mean and std take the rescaling over, so that the last bit is that of transformers
                row.copy_(_resized(levels, size)[0]).sub_(mean * (1 / self.rescale)).div_(std * (1 / self.rescale))
        return out


def _resized(levels: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, 3, height, width) in the dtype of `levels`; an image that has the size already stays as it is."""
    if levels.shape[-2:] == size:
        return levels
    return F.interpolate(levels, size, mode="bicubic", align_corners=False, antialias=False)
