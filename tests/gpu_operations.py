"""Attention operations that PyTorch has only on a GPU, with the same contract on a CPU.

None reads a value on the host, so that they can be recorded.
"""

import torch
from torch import Tensor

LOGSUMEXP_ALIGNMENT = 32  # the kernel rounds queries up to it; what it adds means nothing


def efficient(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, with_logsumexp: bool) -> tuple[Tensor, Tensor]:
    """`_scaled_dot_product_efficient_attention`: NaN for a query without a key, whose logsumexp is -inf."""
    assert with_logsumexp
    scores = (q.float() @ k.float().transpose(-2, -1)) * q.shape[-1] ** -0.5
    if bias is not None:
        scores += bias
    beyond = -q.shape[-2] % LOGSUMEXP_ALIGNMENT
    logsumexp = torch.nn.functional.pad(scores.logsumexp(-1), (0, beyond), value=float("nan"))
    return (scores.softmax(-1) @ v.float()).to(q.dtype), logsumexp


def variable_flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    first_queries: Tensor,
    first_keys: Tensor,
    _max_queries: int,
    _max_keys: int,
    dropout: float,
    causal: bool,
    with_mask: bool,
    *,
    seqused_k: Tensor | None = None,
) -> tuple[Tensor]:
    """`_flash_attention_forward` of sequences whose first queries and keys only the device knows.

    q (queries, heads, D), k and v (keys, kv_heads, D). NaN for queries beyond the last sequence, as they are undefined.
    """
    assert (dropout, causal, with_mask) == (0.0, False, False)
    used = first_keys.diff() if seqused_k is None else seqused_k
    queries, keys = torch.arange(len(q)), torch.arange(len(k))
    sequence = (queries[:, None] >= first_queries[1:]).sum(1)
    own = sequence.clamp(max=len(used) - 1)
    begin = first_keys[own][:, None]
    read = (keys >= begin) & (keys < begin + used[own][:, None])
    v = v.masked_fill(~read.any(0)[:, None, None], 0)  # a weight of 0 would not do: they may be NaN
    group = q.shape[1] // k.shape[1]
    k, v = (x.float()[:, :, None].expand(-1, -1, group, -1).flatten(1, 2).transpose(0, 1) for x in (k, v))
    scores = (q.float().transpose(0, 1) @ k.transpose(1, 2)) * q.shape[-1] ** -0.5
    attended = scores.masked_fill(~read, float("-inf")).softmax(-1) @ v
    return (attended.transpose(0, 1).masked_fill((sequence == len(used))[:, None, None], float("nan")).to(q.dtype),)
