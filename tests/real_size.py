"""The real model's configuration, for arithmetic on its sizes."""

import json
from typing import Any

from transformers import PaddleOCRVLConfig

from benchmarks.random_checkpoint import SIZES, TINY

PARAMETERS = 905_601_648


def real_config() -> Any:
    """The 0.9B model's."""
    config = json.loads((TINY / "config.json").read_text())
    vision = {"vision_config": config["vision_config"] | SIZES["0.9b"]["vision_config"]}
    return PaddleOCRVLConfig(**(config | SIZES["0.9b"] | vision))
