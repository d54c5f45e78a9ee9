"""The orientation of a page, by transformers' PP-LCNet (PP-LCNet_x1_0_doc_ori): turned by 0, 90, 180 or 270 degrees.

Knows page images and the network's folder. Prepares images as transformers' PPLCNetImageProcessor does, which imports
torchvision: resized with antialiasing, the middle cut out, normalised, in the order blue, green, red.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from models.checkpoint import image_settings
from models.layout.loading import LayoutError, load
from models.layout.slices import forward_sliced
from models.protocol import Sliced

CLASSES = {"pp_lcnet": "PPLCNetForImageClassification"}
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
BILINEAR = int(Image.Resampling.BILINEAR)
MAX_ASPECT = 100  # longer side over shorter, of what is resized
# Activations at their most, per pixel of the input, with the release's config: on a CPU 600, with cuDNN 704 (H200).
PEAK_BYTES = 800


@dataclass(frozen=True)
class OrientationImageSettings:
    """How a checkpoint's page images are resized, cut and normalised; transformers' defaults are the release's."""

    short_side: int = 256  # pixels
    crop: int = 224
    rescale: float = 1 / 255
    mean: Sequence[float] = (0.406, 0.456, 0.485)
    std: Sequence[float] = (0.225, 0.224, 0.229)

    @classmethod
    def read(cls, folder: Path) -> "OrientationImageSettings":
        """The settings of a checkpoint folder. Raises LayoutError for what this module does not support."""
        settings = image_settings(folder)
        fixed = {"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True}
        for name, value in fixed.items() | {("resample", BILINEAR), ("size_divisor", 1)}:
            if settings.get(name) not in (None, value):
                raise LayoutError(f"{folder}: {name} is {settings[name]}; only {value} is supported")
        crop = settings.get("crop_size") or cls.crop
        sides = set(crop.values()) if isinstance(crop, dict) else {crop}
        if len(sides) != 1:
            raise LayoutError(f"{folder}: crop_size is {crop}; only a square is supported")
        names = {"short_side": "resize_short", "rescale": "rescale_factor", "mean": "image_mean", "std": "image_std"}
        chosen = {ours: settings[key] for ours, key in names.items() if settings.get(key) is not None}
        return cls(crop=sides.pop(), **chosen)

    def prepare(self, page: Image.Image) -> Tensor:
        """(1, 3, crop, crop) fp32 on the CPU."""
        page = _middle(page)
        levels = torch.from_numpy(np.array(page.convert("RGB"))).permute(2, 0, 1)[None].contiguous()
        scale = self.short_side / min(page.size)
        size = [round(side * scale) for side in levels.shape[-2:]]
        levels = F.interpolate(levels, size, mode="bilinear", align_corners=False, antialias=True)
        top, left = (int((side - self.crop) / 2) for side in size)
        levels = levels[..., top : top + self.crop, left : left + self.crop]
        mean, std = (torch.tensor(values)[:, None, None] * (1 / self.rescale) for values in (self.mean, self.std))
        return levels.float().sub_(mean).div_(std).flip(1)


def _middle(page: Image.Image) -> Image.Image:
    """The page without its far ends, if it is very long: a strip would be resized to gigabytes for one square of it."""
    longest = MAX_ASPECT * min(page.size)
    width, height = (min(side, longest) for side in page.size)
    left, top = (page.width - width) // 2, (page.height - height) // 2
    return page.crop((left, top, left + width, top + height)) if page.size != (width, height) else page


class OrientationNetwork:
    """A loaded network, which tells by how much a page must be turned."""

    def __init__(self, network: Any, settings: OrientationImageSettings) -> None:
        self.network = network
        self.settings = settings
        self.page_bytes = PEAK_BYTES * settings.crop**2
        self._degrees = [int(network.config.id2label[index]) for index in range(network.config.num_labels)]

    def prepare(self, page: Image.Image) -> Tensor:
        return self.settings.prepare(page)

    def run_sliced(self, pixels: Tensor, _thresholds: Sequence[float]) -> Sliced[list[int]]:
        """The degrees, counter-clockwise, by which each page must be turned. Raises LayoutError: not finite."""
        pixels = pixels.to(self.network.device, self.network.dtype)
        outputs = yield from forward_sliced(self.network, lambda: self.network(pixel_values=pixels), pixels.device)
        logits = outputs.last_hidden_state  # (pages, labels): transformers' class gives them under this name
        if not logits.isfinite().all():
            raise LayoutError(f"the orientation network's output is not finite in {self.network.dtype}")
        return [self._degrees[label] for label in logits.argmax(dim=1).tolist()]

    def turned(self, degrees: int, page: Image.Image) -> Image.Image:
        """The page turned counter-clockwise, pixel by pixel; PaddleX interpolates, and loses a row at the edge."""
        return page.transpose(TURNS[degrees]) if degrees else page


def load_orientation(folder: Path, device: torch.device) -> OrientationNetwork:
    """The network of `folder`. Raises LayoutError, and StoreError for missing image settings."""
    network = load(folder, CLASSES, device)
    labels = network.config.id2label
    if not {str(label) for label in labels.values()} <= {"0", *map(str, TURNS)}:
        names = ", ".join(map(str, labels.values()))
        raise LayoutError(f"{folder}/config.json has the labels {names}; an orientation is 0, 90, 180 or 270")
    return OrientationNetwork(network, OrientationImageSettings.read(folder))
