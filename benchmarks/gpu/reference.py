"""transformers' PaddleOCR-VL on the device: the reference for logits and tokens, and the speed to beat.

Before 5.23 transformers resamples the learned positions of an image's grid with aligned corners, which the published
model does not; it is set right here.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PaddleOCRVLForConditionalGeneration

from benchmarks.gpu.requests import Answer
from benchmarks.gpu.workplace import Workplace
from engine.request import Sequence as Request


def load_reference(place: Workplace, folder: Path, dtype: torch.dtype, attention: str) -> Any:
    model: Any = PaddleOCRVLForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation=attention)
    for module in model.modules():
        if hasattr(module, "interpolation_align_corners"):
            module.interpolation_align_corners = False
    return model.to(place.device).eval().requires_grad_(False)


def tensors_of(request: Request, reference: Any) -> dict[str, Tensor]:
    """A request's input in the form that the reference takes, on its device and in its dtype."""
    prompt: Any = request.prompt
    ids = torch.tensor([prompt.input_ids])
    tensors = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == reference.config.image_token_id).int(),
        "pixel_values": torch.from_numpy(prompt.pixels).to(reference.dtype),
        "image_grid_thw": torch.tensor([(1, rows, columns) for rows, columns in prompt.grids]),
    }
    return {name: tensor.to(reference.device) for name, tensor in tensors.items()}


@torch.inference_mode()
def last_logits(reference: Any, request: Request) -> Tensor:
    """Logits of a prompt's next token, (vocabulary,) fp32."""
    reference.model.rope_deltas = None  # those of the last prompt
    logits: Tensor = reference(**tensors_of(request, reference)).logits[0, -1]
    return logits.float()


@torch.inference_mode()
def greedy(reference: Any, request: Request, tokens: int) -> Answer:
    """Its answer of at most that many tokens."""
    reference.model.rope_deltas = None
    inputs = tensors_of(request, reference)
    output = reference.generate(
        **inputs, max_new_tokens=tokens, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    best = torch.stack(output.logits)[:, 0].topk(2).values
    return Answer(output.sequences[0, inputs["input_ids"].shape[1] :].tolist(), (best[:, 0] - best[:, 1]).tolist())


def generate(reference: Any, inputs: dict[str, Tensor], tokens: int) -> None:
    """Plain generation of exactly that many tokens."""
    reference.model.rope_deltas = None
    reference.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
