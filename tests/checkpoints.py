"""Checkpoint folders for tests: the real file formats and token ids, with random weights and made-up vocabulary.

Real weights are not available to the tests. Realistic are config layouts, tensor names, tokenizer class, token ids,
chat template and image settings; dimensions, weights and the ordinary vocabulary are not.
"""

import json
from collections.abc import Iterator
from functools import cache
from itertools import chain, product
from math import prod, sqrt
from pathlib import Path
from shutil import copy
from string import ascii_lowercase, digits
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

from models.paddleocr_vl.images import BLOCK_KEYS
from models.protocol import BlockLimits

Layout = Literal["hub", "transformers"]

TINY = Path(__file__).resolve().parent.parent / "models" / "tiny"
REAL_VOCABULARY = 103_424  # embedding rows; ids after the last token are unused
REAL_ENTRIES = 100_272  # ids before the first control token after the ordinary pieces

CONTROL_TOKENS = {
    "<unk>": 0,
    "<s>": 1,
    "</s>": 2,
    "<|end_of_sentence|>": 100_272,
    "<|begin_of_sentence|>": 100_273,
    "<|IMAGE_PLACEHOLDER|>": 100_295,
    "<|IMAGE_START|>": 101_305,
    "<|IMAGE_END|>": 101_306,
    "<|VIDEO_PLACEHOLDER|>": 101_307,
}
LOCATION_TOKENS = {f"<|LOC_{place}|>": 100_297 + place for place in range(1001)}
TABLE_TOKENS = dict(
    zip(("<fcel>", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>"), range(101_308, 101_314), strict=True)
)

ENGLISH = """the and of to in for that with this from Table Figure Total Invoice Number Date Amount Page Recognition
    document text reading image quick brown fox jumps over lazy dog table recognition formula chart spotting seal
    Assistant User Formula Chart Spotting Seal OCR"""
CHINESE = "文字 识别 表格 图像 中文 公式 印章 北京 中国 人民 共和国 发票 号码 日期 金额 合计 你好 世界 模型"
ALPHABET = "▁\n\t" + "".join(
    chr(code)
    for first, last in (
        (0x21, 0x7E),  # ASCII
        (0xA1, 0x17F),  # Latin
        (0x391, 0x3C9),  # Greek
        (0x410, 0x44F),  # Cyrillic
        (0x3001, 0x3011),  # CJK punctuation
        (0x3041, 0x30FE),  # kana
        (0x4E00, 0x9FA5),  # Chinese
        (0xFF01, 0xFF5E),  # full width
    )
    for code in range(first, last + 1)
)


def write_checkpoint(
    folder: Path,
    layout: Layout = "hub",
    tied: bool = False,
    seed: int = 0,
    real_tokenizer: bool = False,
    min_pixels: int = 112_896,
    max_pixels: int = 1_003_520,
) -> Path:
    """A whole small checkpoint in `folder`; `tied` leaves out the output head."""
    write_settings(folder, layout, tied, real_tokenizer, min_pixels, max_pixels)
    write_weights(folder, layout, tied, seed)
    return folder


def write_settings(
    folder: Path,
    layout: Layout = "hub",
    tied: bool = False,
    real_tokenizer: bool = False,
    min_pixels: int = 112_896,
    max_pixels: int = 1_003_520,
) -> Path:
    """Everything but the weights: config, tokenizer, chat template, image settings."""
    folder.mkdir(parents=True, exist_ok=True)
    config = small_config(real_tokenizer)
    if layout == "hub":
        _write_json(folder / "config.json", config)
    else:
        nested: Any = PaddleOCRVLConfig(**config)
        nested.tie_word_embeddings = nested.text_config.tie_word_embeddings = tied
        nested.save_pretrained(folder)
    settings = json.loads((TINY / "preprocessor_config.json").read_text())
    settings |= {"min_pixels": min_pixels, "max_pixels": max_pixels}
    for ours in BLOCK_KEYS:
        del settings[ours]
    _write_json(folder / "preprocessor_config.json", settings)
    names = ["chat_template.jinja", "generation_config.json", "tokenizer_config.json"]
    for name in names if real_tokenizer else [*names, "tokenizer.json"]:
        copy(TINY / name, folder)
    if real_tokenizer:
        write_tokenizer(folder)
    return folder


def small_config(real_tokenizer: bool) -> dict[str, Any]:
    """The hub's flat config: the embedded checkpoint's, with smaller and less even dimensions."""
    config: dict[str, Any] = json.loads((TINY / "config.json").read_text())
    config |= {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_theta": 500_000,
    }
    config["rope_scaling"] |= {"mrope_section": [2, 3, 3]}
    config["vision_config"] |= {
        "hidden_size": 72,
        "intermediate_size": 100,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,  # heads of 24: as with the real 72, no power of two
        "image_size": 126,  # 9 x 9 positions
    }
    if real_tokenizer:
        config |= {
            "vocab_size": REAL_VOCABULARY,
            "image_token_id": CONTROL_TOKENS["<|IMAGE_PLACEHOLDER|>"],
            "video_token_id": CONTROL_TOKENS["<|VIDEO_PLACEHOLDER|>"],
            "vision_start_token_id": CONTROL_TOKENS["<|IMAGE_START|>"],
            "vision_end_token_id": CONTROL_TOKENS["<|IMAGE_END|>"],
        }
    return config


# --- weights --------------------------------------------------------------------------------------------------------


def write_weights(folder: Path, layout: Layout, tied: bool, seed: int) -> None:
    """Random fp32 weights for the config in `folder`, under the layout's tensor names."""
    config = PaddleOCRVLConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = PaddleOCRVLForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: random_tensor(name, shape, generator) for name, shape in sorted(shapes.items())}
    if tied:
        del tensors["lm_head.weight"]
    if layout == "hub":
        tensors = {hub_name(name): tensor for name, tensor in tensors.items()} | unused_tensors(config, generator)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_limits(folder: Path, limits: BlockLimits) -> None:
    """Let a checkpoint say how it reads blocks."""
    file = folder / "preprocessor_config.json"
    _write_json(file, json.loads(file.read_text()) | dict(zip(BLOCK_KEYS, limits, strict=True)))


def write_script(folder: Path, *pieces: str) -> Path:
    """A checkpoint that answers every prompt with `pieces`, one token each; a repeated piece makes it loop.

    No layer adds anything to the residual stream, so the input of the output head is the newest token's embedding: any
    token of a prompt is followed by the first piece, each piece by the next one, the last by the end.
    """
    write_checkpoint(folder, min_pixels=784)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    first = max(token["id"] for token in tokenizer["added_tokens"]) + 1
    script = {piece: first + i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer["added_tokens"] += [{"id": own, "content": piece, **flags} for piece, own in script.items()]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text())
    config |= {"vocab_size": first + len(script), "hidden_size": 64}
    _write_json(folder / "config.json", config)
    write_weights(folder, "hub", tied=False, seed=0)
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if name.startswith("model.layers.") and name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.zero_()
    tensors["model.norm.weight"].fill_(1)
    embeddings, head = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
    embeddings.zero_()[:first, 0] = head.zero_()[first, 0] = 1
    ids = [script[piece] for piece in pieces]
    for own, following in zip(ids, [*ids[1:], CONTROL_TOKENS["</s>"]], strict=True):
        embeddings[own, own - first + 1] = 1
        if not head[:, own - first + 1].any():
            head[following, own - first + 1] = 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Values as large as trained ones, so that every tensor matters and the best logits are distinct."""
    values = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        return 0.2 * values
    if len(shape) == 1:  # a norm's scale
        return 1 + 0.2 * values
    if "embed_tokens" in name or "position_embedding" in name:
        return values
    gain = 3.0 if name == "lm_head.weight" else 1.0
    return gain * values / sqrt(prod(shape[1:]))


def hub_name(name: str) -> str:
    """transformers' name of a tensor -> the name in the hub's checkpoints."""
    for ours, theirs in {
        "model.visual.": "visual.",
        "model.projector.": "mlp_AR.",
        "model.language_model.": "model.",
    }.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def unused_tensors(config: Any, generator: torch.Generator) -> dict[str, Tensor]:
    """Tensors in the hub's files that no forward pass uses."""
    hidden, wide = config.vision_config.hidden_size, config.vision_config.intermediate_size
    shapes = {
        "embeddings.packing_position_embedding.weight": (64, hidden),
        "head.attention.in_proj_bias": (3 * hidden,),
        "head.attention.in_proj_weight": (3 * hidden, hidden),
        "head.attention.out_proj.bias": (hidden,),
        "head.attention.out_proj.weight": (hidden, hidden),
        "head.layernorm.bias": (hidden,),
        "head.layernorm.weight": (hidden,),
        "head.mlp.fc1.bias": (wide,),
        "head.mlp.fc1.weight": (wide, hidden),
        "head.mlp.fc2.bias": (hidden,),
        "head.mlp.fc2.weight": (hidden, wide),
        "head.probe": (1, 1, hidden),
    }
    return {f"visual.vision_model.{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()}


# --- tokenizer ------------------------------------------------------------------------------------------------------


def write_tokenizer(folder: Path, entries: int = REAL_ENTRIES) -> None:
    """A tokenizer of the real class and size: byte fallback, merges on words, control tokens at the real ids.

    Merges stop at `entries` ids; the ids from there to the control tokens stay unused. The real ids of the OTSL tokens
    are unknown.
    """
    (folder / "tokenizer.json").write_text(_tokenizer_json(entries), encoding="utf-8")
    copy(TINY / "tokenizer_config.json", folder)


@cache
def _tokenizer_json(entries: int) -> str:
    vocabulary = {token: CONTROL_TOKENS[token] for token in ("<unk>", "<s>", "</s>")}
    for piece in chain((f"<0x{byte:02X}>" for byte in range(256)), ALPHABET):
        vocabulary[piece] = len(vocabulary)
    merges = []
    for first, second in _merges():
        if len(vocabulary) >= entries:
            break
        if first + second not in vocabulary:
            vocabulary[first + second] = len(vocabulary)
            merges.append((first, second))
    added = CONTROL_TOKENS | LOCATION_TOKENS | TABLE_TOKENS
    holes = set(range(len(vocabulary), max(added.values()))) - set(added.values())
    vocabulary |= added | {f"<unused{hole}>": hole for hole in holes}
    tokenizer = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer["added_tokens"] = [
        {"id": added[token], "content": token, **flags, "special": token in CONTROL_TOKENS}
        for token in sorted(added, key=added.__getitem__)
    ]
    tokenizer["model"] |= {"vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])), "merges": merges}
    return json.dumps(tokenizer, ensure_ascii=False)


def _merges() -> Iterator[tuple[str, str]]:
    """Merges by rank: whole words, letter by letter, then pairs and triples that fill the vocabulary."""
    english = ENGLISH.split()
    for word in [*(f"▁{word}" for word in english), *(word for word in english if word[0].isupper()), *CHINESE.split()]:
        yield from ((word[:length], word[length]) for length in range(1, len(word)))
    for letters in (ascii_lowercase, digits):
        yield from product(letters, letters)
        yield from (("".join(pair), letter) for *pair, letter in product(letters, repeat=3))
    chinese = [character for character in ALPHABET if "\u4e00" <= character <= "\u9fa5"]
    for step in (31, 331, 3331, 13331):
        yield from ((first, chinese[(index * step + 7) % len(chinese)]) for index, first in enumerate(chinese))


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2))
