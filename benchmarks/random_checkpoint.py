"""A checkpoint of the real model's size with random weights: the same work without a download.

The tokenizer is the embedded checkpoint's. Ids that are unknown to it, end an answer or are an incomplete character
have zero weights in the output head, so that the answers of every server continue as plain text. Random weights would
repeat one character for ever, which our server guesses; those of `counting_checkpoint` name one character after the
other, as a text does not repeat itself.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoTokenizer, PaddleOCRVLConfig

from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.weights import save_model

TINY = Path(__file__).resolve().parent.parent / "models" / "tiny"
SIZES: dict[str, dict[str, Any]] = {
    # config.json of PaddlePaddle/PaddleOCR-VL-1.5
    "0.9b": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 18,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "vocab_size": 103_424,
        "max_position_embeddings": 131_072,
        "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
        },
    }
}
OUTWEIGHS = 10.0  # size of an embedding's numbers beside those that all layers add, which are about 2
IMAGES = {"min_pixels": 112_896, "max_pixels": 1_003_520, "max_lines": None, "max_rows": None, "min_block_pixels": None}


def counting_checkpoint(folder: Path, size: str) -> Path:
    """`random_checkpoint` whose greedy answers go round all characters: 95 tokens without a repetition."""
    return random_checkpoint(folder, size, count)


def random_checkpoint(
    folder: Path, size: str, change: Callable[[PaddleOCRVL, torch.Tensor], None] = lambda *_: None
) -> Path:
    """The checkpoint folder, made if it does not exist: bf16, 1.8 GB for 0.9b.

    `change` is given the model and the mask of tokens that are one character.
    """
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder)
    config = json.loads((TINY / "config.json").read_text())
    wanted = SIZES[size] | {"vision_config": config["vision_config"] | SIZES[size]["vision_config"]}
    (folder / "config.json").write_text(json.dumps(config | wanted, indent=2))
    settings = json.loads((TINY / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | IMAGES, indent=2))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # a GPU draws them in a second
    model = random_model(PaddleOCRVLConfig.from_pretrained(folder), device)
    plain = plain_text(folder, len(model.lm_head.weight)).to(device)
    model.lm_head.weight[~plain] = 0
    change(model, plain)
    unfinished = folder / "unfinished"
    save_model(model, unfinished, torch.bfloat16)
    unfinished.rename(folder / "model.safetensors")
    return folder


@torch.no_grad()
def random_model(config: Any, device: torch.device) -> PaddleOCRVL:
    """Matrices of normal values as large as trained ones, norm scales of 1, biases of 0."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = PaddleOCRVL(config).bfloat16()
    model.to_empty(device=device).requires_grad_(False)
    for name, parameter in tqdm(list(model.named_parameters()), desc="random weights", unit="tensor"):
        if parameter.ndim > 1:
            parameter.normal_(std=1 / math.sqrt(parameter.shape[1]))
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


@torch.no_grad()
def count(model: PaddleOCRVL, plain: torch.Tensor) -> None:
    """Let each character's embedding outweigh what the layers add, and be what the head takes for the next one."""
    (tokens,) = plain.nonzero(as_tuple=True)
    embeddings = torch.randn(len(tokens), model.text.embed_tokens.embedding_dim, device=plain.device).bfloat16()
    model.text.embed_tokens.weight[tokens] = OUTWEIGHS * embeddings
    model.lm_head.weight[tokens.roll(-1)] = embeddings


def plain_text(folder: Path, size: int) -> torch.Tensor:
    """Mask of the token ids that are one printable ASCII character, (size,) bool."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    known = torch.zeros(size, dtype=torch.bool)
    for piece, token in tokenizer.get_vocab().items():
        known[token] = len(piece) == 1 and piece.isascii() and piece.isprintable()
    return known
