"""A layout network from a checkpoint folder: page images in, their blocks in reading order out.

Knows the folder's files and transformers' PP-DocLayout classes; the config names the class and the labels. Nothing
serves it yet. One call runs all pages in one batch and waits for the device.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    PPDocLayoutV2ForObjectDetection,
    PPDocLayoutV3ForObjectDetection,
    PPDocLayoutV4ForObjectDetection,
)

from models.detection import Detection
from models.layout.images import LayoutImageSettings
from models.layout.postprocess import detections

CLASSES: dict[str, Any] = {
    "pp_doclayout_v2": PPDocLayoutV2ForObjectDetection,
    "pp_doclayout_v3": PPDocLayoutV3ForObjectDetection,
    "pp_doclayout_v4": PPDocLayoutV4ForObjectDetection,
}


class LayoutError(ValueError):
    """A layout network cannot be loaded, or its output be used; the message names what is wrong."""


class LayoutNetwork:
    """A loaded network with the settings of its images and its labels."""

    def __init__(self, network: Any, settings: LayoutImageSettings) -> None:
        self.network = network
        self.settings = settings
        self.labels: Mapping[int, str] = network.config.id2label

    @torch.inference_mode()
    def find(self, pages: Sequence[Image.Image], threshold: float) -> list[list[Detection]]:
        """Each page's blocks that score at least `threshold` (0..1), in reading order. No pages give no lists.

        Raises LayoutError for outputs that are not finite, whose blocks would be lost without a word.
        """
        if not pages:
            return []
        rescale_first = self.network.config.model_type == "pp_doclayout_v4"
        pixels = self.settings.prepare(pages, rescale_first=rescale_first)
        outputs = self.network(pixel_values=pixels.to(self.network.device, self.network.dtype))
        if not (outputs.logits.isfinite().all() and outputs.pred_boxes.isfinite().all()):
            raise LayoutError(f"the layout network's output is not finite in {self.network.dtype}")
        input_size = (self.settings.width, self.settings.height)
        return detections(outputs, [page.size for page in pages], input_size, self.labels, threshold)


def load_network(folder: Path, device: torch.device, dtype: torch.dtype) -> LayoutNetwork:
    """The network of `folder`, ready for inference. Raises LayoutError, and StoreError for missing image settings."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise LayoutError(f"{folder}/config.json cannot be read: {error}") from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type not in CLASSES:
        raise LayoutError(f"{folder}/config.json has model_type {model_type!r}. None of {', '.join(CLASSES)}.")
    settings = LayoutImageSettings.read(folder)
    try:
        network, loading = CLASSES[model_type].from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise LayoutError(f"{folder} cannot be loaded: {error}") from error
    if missing := sorted(loading["missing_keys"]):
        raise LayoutError(f"{folder} lacks {len(missing)} tensors, such as {missing[0]}")
    return LayoutNetwork(network.to(device).requires_grad_(False).eval(), settings)
