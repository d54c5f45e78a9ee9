"""A page flattened, by transformers' UVDoc: where each point of the flat page lies on the photographed one.

Knows page images and the network's folder. Prepares images and samples the flat page as transformers'
UVDocImageProcessor does, which imports torchvision.
"""

from collections.abc import Iterator, Sequence
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

CLASSES = {"uvdoc": "UVDocModel"}
# Activations at their most, per pixel of the input, with the release's config: on a CPU 300, with cuDNN 454 (H200).
PEAK_BYTES = 500


@dataclass(frozen=True)
class UnwarpingImageSettings:
    """How a checkpoint's page images are resized; transformers' defaults are the release's."""

    height: int = 712  # pixels
    width: int = 488
    rescale: float = 1 / 255

    @classmethod
    def read(cls, folder: Path) -> "UnwarpingImageSettings":
        """The settings of a checkpoint folder. Raises LayoutError for what this module does not support."""
        settings = image_settings(folder)
        for name, value in {"do_resize": True, "do_rescale": True, "do_normalize": False}.items():
            if settings.get(name) not in (None, value):
                raise LayoutError(f"{folder}: {name} is {settings[name]}; only {value} is supported")
        size = settings.get("size") or {}
        if size and not {"height", "width"} <= set(size):
            raise LayoutError(f"{folder}: size is {size}; only height and width are supported")
        chosen = {side: size[side] for side in ("height", "width") if size}
        return cls(rescale=settings.get("rescale_factor") or cls.rescale, **chosen)

    def channels(self, page: Image.Image) -> Iterator[Tensor]:
        """Red, green and blue, each (1, 1, page's height, page's width) fp32.

        One after another: together they take twelve times the memory of the page.
        """
        for channel in page.convert("RGB").split():
            yield torch.from_numpy(np.array(channel))[None, None] * self.rescale

    def prepare(self, page: Image.Image) -> Tensor:
        """(1, 3, height, width) fp32 on the CPU: blue, green, red."""
        size = (self.height, self.width)
        resized = [F.interpolate(one, size, mode="bilinear", align_corners=True) for one in self.channels(page)]
        return torch.cat(resized[::-1], dim=1)


class UnwarpingNetwork:
    """A loaded network, which tells where the points of the flat page are."""

    def __init__(self, network: Any, settings: UnwarpingImageSettings) -> None:
        self.network = network
        self.settings = settings
        self.page_bytes = PEAK_BYTES * settings.height * settings.width

    def prepare(self, page: Image.Image) -> Tensor:
        return self.settings.prepare(page)

    def run_sliced(self, pixels: Tensor, _thresholds: Sequence[float]) -> Sliced[list[Tensor]]:
        """Each page's mesh: (1, 2, rows, columns) fp32, x and y from -1 to 1, on the CPU. Raises LayoutError."""
        pixels = pixels.to(self.network.device, self.network.dtype)
        outputs = yield from forward_sliced(self.network, lambda: self.network(pixel_values=pixels), pixels.device)
        meshes = outputs.last_hidden_state.float().cpu()
        if not meshes.isfinite().all():
            raise LayoutError(f"the unwarping network's output is not finite in {self.network.dtype}")
        return list(meshes.split(1))

    def flat(self, mesh: Tensor, page: Image.Image) -> Image.Image:
        """The flat page, as large as the photographed one; black where the mesh leaves it."""
        mesh = F.interpolate(mesh, (page.height, page.width), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
        flat = [
            Image.fromarray((F.grid_sample(one, mesh, align_corners=True)[0, 0] * 255.0).to(torch.uint8).numpy())
            for one in self.settings.channels(page)
        ]
        return Image.merge("RGB", flat)


def load_unwarping(folder: Path, device: torch.device) -> UnwarpingNetwork:
    """The network of `folder`. Raises LayoutError, and StoreError for missing image settings."""
    return UnwarpingNetwork(load(folder, CLASSES, device), UnwarpingImageSettings.read(folder))
