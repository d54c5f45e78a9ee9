"""Networks that look at pages, of the releases' sizes and image settings, with random weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

LABELS = 25  # as in PP-DocLayoutV3
SMALL = 160  # pixels per side of the input of a layout network that a CPU tries


@dataclass(frozen=True)
class Kind:
    """What transformers calls a network, its role on a server, and what its folder says beside the defaults."""

    role: str  # in PageNetworks
    network: str
    config: str
    settings: Mapping[str, Any]
    own: Mapping[str, Any] = field(default_factory=dict)  # keys of the config


LAYOUT_IMAGES = {"size": {"height": 800, "width": 800}, "resample": 3, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
ORDER = {"class_thresholds": [0.5] * LABELS, "class_order": list(range(LABELS))}
ALL_STAGES = {"backbone_config": {"model_type": "uvdoc_backbone", "out_features": [f"stage{n}" for n in range(1, 7)]}}
TURNS = {"num_labels": 4, "id2label": {index: str(90 * index) for index in range(4)}}
KINDS = {
    "pp_doclayout_v2": Kind("layout", "PPDocLayoutV2ForObjectDetection", "PPDocLayoutV2Config", LAYOUT_IMAGES, ORDER),
    "pp_doclayout_v3": Kind("layout", "PPDocLayoutV3ForObjectDetection", "PPDocLayoutV3Config", LAYOUT_IMAGES),
    "pp_doclayout_v4": Kind("layout", "PPDocLayoutV4ForObjectDetection", "PPDocLayoutV4Config", LAYOUT_IMAGES),
    "pp_lcnet": Kind("orientation", "PPLCNetForImageClassification", "PPLCNetConfig", {}, TURNS),
    "uvdoc": Kind("unwarping", "UVDocModel", "UVDocConfig", {}, ALL_STAGES),
}


def random_page_network(folder: Path, kind: str, *, small: bool = False) -> Path:
    """The checkpoint folder, made if it does not exist; `kind`: a model_type. `small`: pages are made tiny for it."""
    if (folder / "model.safetensors").exists():
        return folder
    chosen = KINDS[kind]
    labels: dict[str, Any] = {}
    if chosen.role == "layout":
        labels["id2label"] = {number: f"label {number}" for number in range(LABELS)}
    torch.manual_seed(0)
    config = getattr(transformers, chosen.config)(**labels, **chosen.own)
    network = getattr(transformers, chosen.network)(config)
    for layer in network.modules():  # the class's own start gives every query of every page the same outputs
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.reset_parameters()
    network.save_pretrained(folder)
    settings = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, **chosen.settings}
    if small and chosen.role == "layout":
        settings["size"] = {"height": SMALL, "width": SMALL}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
