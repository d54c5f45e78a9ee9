"""One checkpoint loaded twice, by us and by transformers, and how the two are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PaddleOCRVLForConditionalGeneration
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil
from transformers.models.paddleocr_vl.processing_paddleocr_vl import PaddleOCRVLProcessor

from models.paddleocr_vl.attention import prefill_attention
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import PaddleOCRVLInput, Processor
from models.paddleocr_vl.weights import load_model
from models.protocol import Grid

SMALLEST = 784  # min_pixels: one image token, so that small images stay small
NEAR_TIE = 1e-3  # two best logits closer than this may swap


@dataclass(frozen=True)
class Pair:
    """The same checkpoint as our model and as the reference, both fp32."""

    folder: Path
    processor: Processor
    ours: PaddleOCRVL
    reference_processor: Any
    reference: Any


def load_pair(folder: Path) -> Pair:
    processor = Processor(folder)
    ours = load_model(folder, processor.config, torch.device("cpu"), torch.float32)
    return Pair(folder, processor, ours, load_reference_processor(folder), load_reference(folder))


def load_reference(folder: Path) -> Any:
    """transformers' model, with its plain attention: nothing in it is shared with ours."""
    model: Any = PaddleOCRVLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.requires_grad_(False).eval()


def load_reference_processor(folder: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    image_processor = PaddleOCRVLImageProcessorPil.from_pretrained(folder)
    make: Any = PaddleOCRVLProcessor  # untyped in transformers
    return make(image_processor, tokenizer, chat_template=tokenizer.chat_template)


def tensors_of(model_input: PaddleOCRVLInput, image_token_id: int) -> dict[str, Tensor]:
    """Our model input in the form that transformers' model takes."""
    ids = torch.tensor([model_input.input_ids])
    tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model_input.pixels is not None:
        tensors["mm_token_type_ids"] = (ids == image_token_id).int()
        tensors["pixel_values"] = torch.from_numpy(model_input.pixels)
        tensors["image_grid_thw"] = grids_thw(model_input.grids)
    return tensors


def grids_thw(grids: Sequence[Grid]) -> Tensor:
    return torch.tensor([(1, rows, columns) for rows, columns in grids])


def our_logits(model: PaddleOCRVL, model_input: PaddleOCRVLInput) -> Tensor:
    """Logits (L, vocabulary) of every token of one prompt."""
    features = []
    if model_input.pixels is not None:
        features = model.encode(torch.from_numpy(model_input.pixels), model_input.grids)
    x = model.embed(torch.tensor(model_input.input_ids), features)
    return model.logits(model.decode(x, model_input.positions, _attend))


def _attend(_layer: int, q: Tensor, kv: Tensor) -> Tensor:
    keys, values = kv.transpose(0, 1).chunk(2)
    return prefill_attention(q, keys, values)


def reference_logits(reference: Any, model_input: PaddleOCRVLInput) -> Tensor:
    logits: Tensor = reference(**tensors_of(model_input, reference.config.image_token_id)).logits[0]
    return logits


def reference_greedy(
    reference_model: Any, model_input: PaddleOCRVLInput, max_new_tokens: int
) -> tuple[list[int], list[float]]:
    """transformers' greedy tokens, including the end token, and the gap of the two best logits at each step."""
    reference_model.model.rope_deltas = None  # otherwise those of an earlier image would shift a prompt without one
    tensors = tensors_of(model_input, reference_model.config.image_token_id)
    output = reference_model.generate(
        **tensors, max_new_tokens=max_new_tokens, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    tokens = output.sequences[0, len(model_input.input_ids) :].tolist()
    best = torch.stack(output.logits)[:, 0].topk(2).values
    return tokens, (best[:, 0] - best[:, 1]).tolist()


def assert_same_tokens(ours: Sequence[int], reference_tokens: Sequence[int], gaps: Sequence[float]) -> None:
    """Equal up to a first difference, which must be a near tie of the reference; what follows may differ."""
    for step, (token, expected, gap) in enumerate(zip(ours, reference_tokens, gaps, strict=False)):
        if token != expected:
            assert gap < NEAR_TIE, f"step {step}: {token}, not {expected}, though the gap is {gap:.4f}"
            return
    assert len(ours) == len(reference_tokens)


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()
