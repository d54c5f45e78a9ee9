"""A network of transformers from a checkpoint folder, with every tensor, and an error that names what is wrong.

Knows folders and transformers' classes. Images and outputs are those of each network's own file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils import logging

LOADING_ERRORS = (OSError, RuntimeError, ValueError, SafetensorError)


class LayoutError(ValueError):
    """A network cannot be loaded, or its output be used; the message names what is wrong."""


def load(folder: Path, classes: Mapping[str, str], device: torch.device) -> Any:
    """The network of `folder`, fp32, ready for inference. Raises LayoutError.

    `classes`: transformers' class for each model_type of a config; it is imported when it is loaded.

    In fp32 on every device: a page takes a fraction of the time that reading it takes, and a centre in half precision
    would be a pixel off on a page of 2000 pixels. So convolutions may not be computed in TF32 either, as PyTorch lets
    cuDNN do: it has the precision of half. No other network here has any.
    """
    torch.backends.cudnn.allow_tf32 = False
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise LayoutError(f"{folder}/config.json cannot be read: {error}") from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(model_type, str) or model_type not in classes:
        raise LayoutError(f"{folder}/config.json has model_type {model_type!r}, which is none of {', '.join(classes)}.")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its bar has no place in a server's log
    try:
        network, loading = getattr(transformers, classes[model_type]).from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except LOADING_ERRORS as error:
        raise LayoutError(f"{folder} cannot be loaded: {error}") from error
    if missing := sorted(loading["missing_keys"]):
        raise LayoutError(f"{folder} lacks {len(missing)} tensors, such as {missing[0]}")
    return network.to(device).requires_grad_(False).eval()
