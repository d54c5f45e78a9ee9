"""Checkpoint folders of layout networks for tests: transformers' own classes, small, with random weights."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    PPDocLayoutV2Config,
    PPDocLayoutV3Config,
    PPDocLayoutV4Config,
    PPLCNetConfig,
    PPLCNetForImageClassification,
    UVDocConfig,
    UVDocModel,
)

from engine.engine import Engine
from models.layout.network import CLASSES

LABELS = {0: "text", 1: "table", 2: "doc_title"}
INPUT = 160  # pixels per side of the network's input
QUERIES = 20
BACKBONE = {
    "model_type": "hgnet_v2",
    "embedding_size": 8,
    "depths": [1] * 4,
    "hidden_sizes": [16, 24, 32, 32],
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 24, 32],
    "stage_mid_channels": [8] * 4,
    "stage_out_channels": [16, 24, 32, 32],
    "stage_num_blocks": [1] * 4,
    "stage_numb_of_layers": [1] * 4,
    "out_features": ["stage2", "stage3", "stage4"],
}
COMMON = {
    "backbone_config": BACKBONE,
    "encoder_in_channels": [24, 32, 32],
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "d_model": 32,
    "num_queries": QUERIES,
    "decoder_in_channels": [32] * 3,
    "decoder_ffn_dim": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "id2label": LABELS,
}
READING_ORDER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
MASKS = {"mask_feature_channels": [16, 16], "x4_feat_dim": 16, "num_prototypes": 8}
WITH_STAGE_1 = {"backbone_config": BACKBONE | {"out_features": ["stage1", "stage2", "stage3", "stage4"]}}
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "pp_doclayout_v2": (
        PPDocLayoutV2Config,
        {"class_thresholds": [0.1] * 3, "class_order": [4, 3, 1], "reading_order_config": READING_ORDER},
    ),
    "pp_doclayout_v3": (PPDocLayoutV3Config, MASKS | WITH_STAGE_1),
    "pp_doclayout_v4": (PPDocLayoutV4Config, {"hidden_size": 32}),
}


def write_layout_checkpoint(folder: Path, model_type: str) -> Path:
    """A whole checkpoint in `folder`, with the image settings of a release, but for the size."""
    kind, own = CONFIGS[model_type]
    torch.manual_seed(0)
    network = getattr(transformers, CLASSES[model_type])(kind(**COMMON | own))
    for layer in network.modules():  # the class's own start gives every query of every page the same outputs
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            layer.reset_parameters()
        if isinstance(layer, torch.nn.Linear) and layer.out_features == len(LABELS):
            torch.nn.init.normal_(layer.weight)
    network.save_pretrained(folder)
    settings = {"size": {"height": INPUT, "width": INPUT}, "resample": 3, "do_resize": True, "do_pad": None}
    settings |= {"rescale_factor": 0.00392156862745098, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def write_orientation_checkpoint(folder: Path) -> Path:
    """A small network with the labels and image settings of the release."""
    torch.manual_seed(0)
    blocks = [[[3, 8, 8, 2, False]], [[3, 8, 8, 2, False]], [[3, 8, 8, 2, False]], [[3, 8, 8, 2, False]]]
    config = PPLCNetConfig(
        stem_channels=8,
        block_configs=[*blocks, [[5, 8, 8, 2, True]]],
        class_expand=16,
        id2label={index: str(90 * index) for index in range(4)},
    )
    PPLCNetForImageClassification(config).save_pretrained(folder)
    settings = {"resize_short": 256, "crop_size": 224, "resample": 2, "size": {"height": 256, "width": 256}}
    settings |= {"image_mean": [0.406, 0.456, 0.485], "image_std": [0.225, 0.224, 0.229], "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def write_unwarping_checkpoint(folder: Path) -> Path:
    """A small network whose input is smaller than the release's."""
    torch.manual_seed(0)
    backbone = {
        "model_type": "uvdoc_backbone",
        "resnet_head": [[3, 8], [8, 8]],
        "resnet_configs": [[[8, 8, 1, False]], [[8, 8, 1, True]], [[8, 8, 1, True]]],
        "stage_configs": [[[8, 1]], [[8, 2]]],
        "out_features": ["stage1", "stage2"],
    }
    config = UVDocConfig(backbone_config=backbone, bridge_connector=[8, 8], out_point_positions2D=[[8, 4], [4, 2]])
    UVDocModel(config).save_pretrained(folder)
    settings = {"size": {"height": 96, "width": 64}, "do_resize": True, "rescale_factor": 0.00392156862745098}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def say(engine: Engine, degrees: int) -> None:
    """Let the orientation network of an engine give one answer to every page."""
    assert engine.runner is not None
    network = engine.runner.look.networks.orientation
    assert network is not None
    head = network.network.head
    head.weight.zero_()
    head.bias.copy_(torch.eye(4)[degrees // 90])
