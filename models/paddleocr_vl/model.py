"""PaddleOCR-VL as one module: vision tower, projector, decoder and output head, with no state of any request."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.paddleocr_vl.attention import attention_between, packed_attention
from models.paddleocr_vl.slices import run
from models.paddleocr_vl.text import TextDecoder
from models.paddleocr_vl.vision import Projector, VisionTower
from models.protocol import Attend, Grid, Patches, Sliced


class PaddleOCRVL(nn.Module):
    """The whole network, built from transformers' `PaddleOCRVLConfig`; `weights.load_model` fills it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.image_token_id: int = config.image_token_id
        self.visual = VisionTower(config.vision_config)
        self.projector = Projector(config)
        self.text = TextDecoder(config.text_config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)

    @property
    def vocabulary(self) -> int:
        """Rows of the logits."""
        return len(self.text.embed_tokens.weight)

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """(channels, patch, patch), the pixels of one patch."""
        vision = self.config.vision_config
        return vision.num_channels, vision.patch_size, vision.patch_size

    @property
    def dtype(self) -> torch.dtype:
        """What the layers compute in; on a CPU, weights may be stored in fewer bits."""
        return self.text.norm.weight.dtype

    @property
    def residual_dtype(self) -> torch.dtype:
        """dtype of the residual stream: fp32 where layers compute in fp16, which would overflow there; else theirs."""
        return torch.float32 if self.dtype == torch.float16 else self.dtype

    def encode(self, pixels: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Features of each image, (image tokens, hidden), from `pixels` (N, channels, patch, patch)."""
        return run(self.encode_sliced(pixels, grids))

    def encode_sliced(self, pixels: Tensor, grids: Sequence[Grid], rows: int | None = None) -> Sliced[list[Tensor]]:
        """`encode` in slices of at most `rows` patches."""
        lengths = [rows * columns for rows, columns in grids]

        def attend(qkv: Tensor, queries: int | None) -> Sliced[Tensor]:
            return packed_attention(qkv, lengths, self.visual.full_attention, queries)

        hidden = yield from self.visual(self.embed_patches(pixels, grids), attend, rows)
        return self.features(hidden, grids)

    def embed_patches(self, pixels: Tensor, grids: Sequence[Grid]) -> Patches:
        """Input of the vision tower's layers."""
        return self.visual.embed(pixels, grids, self.residual_dtype)

    def encode_patches(self, patches: Patches, ends: Tensor) -> Tensor:
        """Hidden states of patches, of which each image has those between two of `ends`, whose first is 0.

        Only the device knows `ends` (images + 1,) int32. Patches beyond the last belong to no image; FlashAttention.
        """
        return run(self.visual(patches, partial(attention_between, ends), None))

    def features(self, hidden: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Hidden states of all patches -> features of each image, (image tokens, hidden)."""
        merged = self.projector(hidden, grids)
        return list(merged.split([rows * columns // self.projector.merge**2 for rows, columns in grids]))

    def embed(self, input_ids: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        """Decoder inputs (N, hidden) of `input_ids` (N,), with the images' features in place of image tokens."""
        x = self.text.embed_tokens(input_ids).to(self.dtype)
        if features:
            x = x.masked_scatter((input_ids == self.image_token_id)[:, None], torch.cat(list(features)).to(x.dtype))
        return x.to(self.residual_dtype)

    def decode(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Hidden states (N, hidden) of decoder inputs `x` (N, hidden) at M-RoPE `positions` (3, N)."""
        return run(self.text(x, positions, attend))

    def decode_sliced(self, x: Tensor, positions: Tensor, attend: Attend) -> Sliced[Tensor]:
        """`decode` in slices of half a layer each."""
        return self.text(x, positions, attend)

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, hidden) -> (N, vocabulary), fp32."""
        return self.lm_head(hidden).float()
