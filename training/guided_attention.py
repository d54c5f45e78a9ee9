"""The decoder's attention during training, with the guided-attention loss.

Guided attention: Tachibana et al. 2017, arXiv:1710.08969.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from training.batches import NO_IMAGE_TOKEN


class GuidedAttention:
    """Causal attention over whole equal-length sequences that records where the guided heads look in the image."""

    GUIDED_HEAD: ClassVar = {1: 0, 2: 2}  # layer -> query head

    def __init__(self, count: int, first_row: int, image: range) -> None:
        self.count = count  # sequences
        self.first_row = first_row  # position whose output predicts the first answer token
        self.image = image  # positions of the image tokens
        self.log_probabilities: dict[int, Tensor] = {}  # layer -> (B, T, C), of the answer rows on the image tokens

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        q, k, v = (x.unflatten(0, (self.count, -1)).transpose(1, 2) for x in (q, *kv.chunk(2, dim=1)))
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if layer in self.GUIDED_HEAD:
            head = self.GUIDED_HEAD[layer]
            rows = q[:, head, self.first_row :] * q.shape[-1] ** -0.5
            scores = rows @ k[:, head].transpose(1, 2)
            future = torch.arange(k.shape[2], device=q.device) > torch.arange(
                self.first_row, k.shape[2], device=q.device
            ).unsqueeze(1)
            scores = scores.masked_fill(future, float("-inf")).log_softmax(-1)
            self.log_probabilities[layer] = scores[:, :, self.image.start : self.image.stop]
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(0, 1)

    def loss(self, layer: int, image_tokens: Tensor) -> Tensor:
        """Mean negative log probability of the right image token; image_tokens: (B, T), some NO_IMAGE_TOKEN."""
        index = image_tokens.clamp(min=0).unsqueeze(2)
        picked = self.log_probabilities[layer].gather(2, index).squeeze(2)
        known = image_tokens != NO_IMAGE_TOKEN
        return -(picked * known).sum() / known.sum()
