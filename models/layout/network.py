"""A layout network from a checkpoint folder: page images in, their blocks in reading order out.

Knows the folder's files and transformers' PP-DocLayout classes; the config names the class and the labels. The engine
runs it in three parts: images and blocks in any thread, the network between them on the engine's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from models.detection import Detection
from models.layout.images import LayoutImageSettings
from models.layout.loading import LayoutError, load
from models.layout.postprocess import Found, choose, detections
from models.layout.slices import forward_sliced
from models.paddleocr_vl.slices import run
from models.protocol import Sliced

CLASSES = {
    "pp_doclayout_v2": "PPDocLayoutV2ForObjectDetection",
    "pp_doclayout_v3": "PPDocLayoutV3ForObjectDetection",
    "pp_doclayout_v4": "PPDocLayoutV4ForObjectDetection",
}
# Activations at their most, per pixel of the input of a page, in fp32. Measured with transformers' default configs, as
# growth of a CPU process's resident memory: V2 690, V3 970 (850 in a batch), V4 800. V3 makes the first boxes of all
# 300 queries from their masks.
PEAK_BYTES = 1000
ORDER_SETTINGS = ("class_thresholds", "class_order")  # V2's forward needs them; transformers' defaults are None


class LayoutNetwork:
    """A loaded network with the settings of its images and its labels."""

    def __init__(self, network: Any, settings: LayoutImageSettings) -> None:
        self.network = network
        self.settings = settings
        self.labels: Mapping[int, str] = network.config.id2label
        self.model_type: str = network.config.model_type
        self.page_bytes = PEAK_BYTES * settings.height * settings.width

    def prepare(self, page: Image.Image) -> Tensor:
        """(1, 3, height, width) fp32 on the CPU."""
        return self.settings.prepare([page], rescale_first=self.model_type == "pp_doclayout_v4")

    def run_sliced(self, pixels: Tensor, thresholds: Sequence[float]) -> Sliced[list[Found]]:
        """The blocks of each page that score at least its threshold, 0 to 1, from (pages, 3, height, width).

        Raises LayoutError for outputs that are not finite, whose blocks would be lost without a word.
        """
        pixels = pixels.to(self.network.device, self.network.dtype)
        outputs = yield from forward_sliced(self.network, lambda: self._forward(pixels), pixels.device)
        if not (outputs.logits.isfinite().all() and outputs.pred_boxes.isfinite().all()):
            raise LayoutError(f"the layout network's output is not finite in {self.network.dtype}")
        return [choose(outputs, page, threshold) for page, threshold in enumerate(thresholds)]

    def detections(self, found: Found, page: Image.Image) -> list[Detection]:
        """A page's blocks in reading order."""
        return detections(found, page.size, (self.settings.width, self.settings.height), self.labels)

    @torch.inference_mode()
    def find(self, pages: Sequence[Image.Image], threshold: float) -> list[list[Detection]]:
        """Each page's blocks that score at least `threshold`. No pages give no lists. Raises LayoutError."""
        if not pages:
            return []
        found = run(self.run_sliced(torch.cat([self.prepare(page) for page in pages]), [threshold] * len(pages)))
        return [self.detections(one, page) for one, page in zip(found, pages, strict=True)]

    def _forward(self, pixels: Tensor) -> Any:
        """The outputs of transformers' own forward; V3's masks are made of what they need once a block is chosen."""
        if self.model_type != "pp_doclayout_v3":
            return self.network(pixel_values=pixels)
        masks = _LastMasks()
        hook = self.network.model.decoder.register_forward_pre_hook(masks.put_off, with_kwargs=True)
        try:
            outputs = self.network(pixel_values=pixels)
        finally:
            hook.remove()
        outputs.out_masks = masks.pages()
        return outputs


class _LastMasks:
    """V3's masks of the last decoder layer, not computed yet.

    Its decoder computes those of all six layers, for every query, and then joins them, of which only the last are read:
    550 MiB a page.
    """

    def __init__(self) -> None:
        self._head: Any = None
        self._queries: Tensor | None = None  # (pages, queries, prototypes), by the newest layer
        self._features: Tensor | None = None  # (pages, prototypes, rows, columns)

    def put_off(self, _decoder: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Forward pre-hook of the decoder: its masks are those of no queries."""
        self._head, self._features = kwargs["mask_query_head"], kwargs["mask_feat"]
        return args, kwargs | {"mask_query_head": self._no_queries}

    def _no_queries(self, hidden: Tensor) -> Tensor:
        self._queries = self._head(hidden)
        return self._queries[:, :0]

    def pages(self) -> list["PageMasks"]:
        assert self._queries is not None
        assert self._features is not None
        return [PageMasks(*page) for page in zip(self._queries, self._features, strict=True)]


@dataclass(frozen=True)
class PageMasks:
    """A page's masks, computed for the queries that are asked for."""

    queries: Tensor  # (queries, prototypes)
    features: Tensor  # (prototypes, rows, columns)

    def __getitem__(self, chosen: Tensor) -> Tensor:
        """(chosen, rows, columns) logits."""
        return (self.queries[chosen] @ self.features.flatten(1)).unflatten(1, self.features.shape[1:])


def load_network(folder: Path, device: torch.device) -> LayoutNetwork:
    """The network of `folder`, ready for inference. Raises LayoutError, and StoreError for missing image settings."""
    network = load(folder, CLASSES, device)
    config = network.config
    lacking = [name for name in ORDER_SETTINGS if getattr(config, name, ()) is None]
    if lacking:
        raise LayoutError(
            f"{folder}/config.json lacks {' and '.join(lacking)}, by which {config.model_type} orders blocks"
        )
    return LayoutNetwork(network, LayoutImageSettings.read(folder))
