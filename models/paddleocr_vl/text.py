"""The text decoder (ERNIE-4.5-0.3B): RMS norm, grouped-query attention with M-RoPE, SwiGLU.

Its input is a flat list of tokens, (N, hidden). Sequences and the KV cache are known only to the caller's `attend`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.paddleocr_vl.linear import SwiGLU, linear_add, normed_linear
from models.paddleocr_vl.norm import RMSNorm
from models.paddleocr_vl.rope import Rotate, axis_of_frequency, multimodal_rope, rotate
from models.protocol import Attend, Sliced


class TextLayer(nn.Module):
    """One layer of the decoder: attention by the caller's `attend`, then SwiGLU."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        hidden, self.head_dim = config.hidden_size, config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.input_layernorm = RMSNorm(hidden, config.rms_norm_eps)
        self.qkv_proj = nn.Linear(hidden, (self.heads + 2 * self.kv_heads) * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, hidden, bias=False)
        self.post_attention_layernorm = RMSNorm(hidden, config.rms_norm_eps)
        self.gate_up_proj = SwiGLU(hidden, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, hidden, bias=False)
        self.rotate: Rotate = rotate

    def forward(self, index: int, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """x: (N, hidden), cos and sin: (N, 1, D)."""
        return self.with_feed_forward(self.with_attention(index, x, cos, sin, attend))

    def with_attention(self, index: int, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """The first half of `forward`."""
        qkv = normed_linear(self.input_layernorm, self.qkv_proj, x).unflatten(-1, (-1, self.head_dim))
        self.rotate(qkv[:, : self.heads + self.kv_heads], cos, sin)
        attended = attend(index, qkv[:, : self.heads], qkv[:, self.heads :])
        return linear_add(self.o_proj, attended.flatten(1), x)

    def with_feed_forward(self, x: Tensor) -> Tensor:
        """The second half."""
        return linear_add(self.down_proj, normed_linear(self.post_attention_layernorm, self.gate_up_proj, x), x)


class TextDecoder(nn.Module):
    """Token embeddings, the layers and the final norm."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        theta = float(config.rope_parameters["rope_theta"])
        # Plain attributes, not buffers: these must survive casts and construction on the meta device.
        with torch.device("cpu"):
            self.inv_freq = 1.0 / theta ** (torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
            self.axis_of = axis_of_frequency(config.rope_parameters["mrope_section"])

    def place(self, device: torch.device) -> None:
        """Move the tensors that are not parameters: a copy in every step would stall the host and rule out graphs."""
        self.inv_freq, self.axis_of = self.inv_freq.to(device), self.axis_of.to(device)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (N, 1, D) of positions (3, N)."""
        return multimodal_rope(positions, self.inv_freq, self.axis_of)

    def forward(self, x: Tensor, positions: Tensor, attend: Attend) -> Sliced[Tensor]:
        """x: (N, hidden) embeddings, positions: (3, N) -> (N, hidden), normalised, in the weights' dtype.

        Each slice is half a layer.
        """
        cos, sin = self.angles(positions)
        layer: Any
        for index, layer in enumerate(self.layers):
            x = layer.with_attention(index, x, cos, sin, attend)
            yield
            x = layer.with_feed_forward(x)
            yield
        return self.norm(x)
