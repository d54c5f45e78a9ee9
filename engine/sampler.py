"""Logits -> tokens. One transfer to the host for the whole batch."""

from collections.abc import Sequence as List

import torch
from torch import Tensor

from engine.request import Sequence

NOT_FINITE = -1


@torch.inference_mode()
def sample(logits: Tensor, sequences: List[Sequence]) -> list[int]:
    """The next token of every sequence, or NOT_FINITE where its logits hold NaN or infinity.

    logits: (B, vocabulary), fp32. Each sequence draws from its own generator, so a seeded answer does not depend on
    what else runs.
    """
    tokens = logits.argmax(dim=-1)
    for row, sequence in enumerate(sequences):
        if not sequence.params.greedy:
            tokens[row] = draw(logits[row], sequence)
    return tokens.where(logits.isfinite().all(dim=-1), NOT_FINITE).tolist()


def draw(logits: Tensor, sequence: Sequence) -> Tensor:
    """One token by temperature, then top-k, then top-p, as vLLM orders them; logits: (vocabulary,)."""
    params = sequence.params
    ordered, indices = (logits / params.temperature).sort(descending=True, stable=True)
    if params.top_k:
        ordered, indices = ordered[: params.top_k], indices[: params.top_k]
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= params.top_p, 0.0)
    reach = probabilities.cumsum(dim=-1)
    chosen = torch.searchsorted(reach, sequence.random.random() * reach[-1], right=True)
    return indices[chosen.clamp(max=len(indices) - 1)]
