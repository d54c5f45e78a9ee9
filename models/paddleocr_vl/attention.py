"""All attention of the model, in three shapes; none holds a full score matrix or copies the cache.

Rules for old GPUs: never `enable_gqa` (the memory-efficient kernel rejects it and PyTorch falls back to the math path,
which holds every score); no FlashAttention where another way is not at hand; without a fused kernel, queries are
processed in chunks. Which of several ways is used is measured at start (engine/fastest.py), but for prefill on GPUs:
FlashAttention saved 0.4 of the 3.6 ms of a prompt of 1250 tokens (H200), and cannot start after a reused prefix.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from models.paddleocr_vl.slices import parts
from models.protocol import Sliced

SCORES_PER_CHUNK = 1 << 24  # scores without a fused kernel, or elements of a mask, held at once: 64 MiB in fp32
SPLITS = 8  # parts of a row's keys; 4 to 16 were alike at 1024 keys (H200)
HEADS_PER_PRODUCT = 2  # fastest for 256 queries at 1024 and 5184 keys: their scores stay in the CPU's cache

# The operations themselves: choosing one by `sdpa_kernel` would add 20 us to each call.
EFFICIENT = torch.ops.aten._scaled_dot_product_efficient_attention
FLASH = torch.ops.aten._scaled_dot_product_flash_attention
CUDNN = torch.ops.aten._scaled_dot_product_cudnn_attention
VARIABLE_FLASH = torch.ops.aten._flash_attention_forward  # with lengths on the device

FullAttention = Callable[[Tensor, Tensor, Tensor, int | None], Sliced[Tensor]]
"""q, k, v (B, H, L, D) and the maximum queries per slice -> (B, H, L, D), without a mask."""


def packed_attention(
    qkv: Tensor, lengths: Sequence[int], full: FullAttention, queries: int | None = None
) -> Sliced[Tensor]:
    """Full attention inside each image of a packed batch, in slices of at most `queries` queries.

    qkv: (sum of lengths, 3 * heads, D) -> (sum of lengths, heads * D). Neighbours of equal length run in one call,
    without padding.
    """
    outputs = []
    start = index = 0
    while index < len(lengths):
        length, count = lengths[index], 1
        while index + count < len(lengths) and lengths[index + count] == length:
            count += 1
        stop = start + count * length
        own = qkv[start:stop].view(count, length, 3, -1, qkv.shape[-1])
        q, k, v = own.permute(2, 0, 3, 1, 4).unbind(0)
        attended = yield from full(q, k, v, queries and max(1, queries // count))
        outputs.append(attended.transpose(1, 2).reshape(stop - start, -1))
        start, index = stop, index + count
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def attention_between(ends: Tensor, qkv: Tensor, _queries: int | None) -> Sliced[Tensor]:
    """Full attention inside each image by FlashAttention, where only the device knows where images end.

    qkv: (N, 3 * heads, D) -> (N, heads * D). `ends` (images + 1,) int32, from 0; what is beyond the last is undefined.
    """
    count = len(qkv)
    q, k, v = qkv.view(count, 3, -1, qkv.shape[-1]).unbind(1)
    attended = VARIABLE_FLASH(q, k, v, ends, ends, count, count, 0.0, False, False)[0]
    yield
    return attended.flatten(1)


def full_fused(q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:
    """`FullAttention` by the device's fused kernel."""
    return _full_by(lambda *own: (fused_attention(*own, causal=False),), q, k, v, queries)


def full_flash(q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:
    """`FullAttention` by FlashAttention, from compute capability 8.0 up."""
    return _full_by(FLASH, q, k, v, queries)


def full_cudnn(q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:
    """`FullAttention` by cuDNN, from compute capability 8.0 up; it plans for each shape that is new to it.

    By the memory-efficient kernel where it has no plan for one.
    """

    def attend(*own: Any) -> Any:
        try:
            return CUDNN(*own)
        except RuntimeError:
            return EFFICIENT(*own)

    return _full_by(attend, q, k, v, queries, None, False)


def full_efficient(q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:
    """`FullAttention` by the memory-efficient kernel."""
    return _full_by(EFFICIENT, q, k, v, queries, None, False)


def _full_by(operation: Any, q: Tensor, k: Tensor, v: Tensor, queries: int | None, *more: object) -> Sliced[Tensor]:
    outputs = []
    for part in parts(q.shape[2], queries):
        outputs.append(operation(q[:, :, part], k, v, *more)[0])
        yield
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


def full_by_products(q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:
    """`FullAttention` by matrix products, which use a CPU's bf16 units where the fused kernel does not.

    Scores are rounded to the tensors' dtype. So keys are centred first, which makes scores smaller and changes no
    probability (SageAttention, Zhang et al. 2024, arXiv:2410.02367, section 4.2).
    """
    batch, heads, length, head_dim = q.shape
    keys = (k - k.mean(dim=2, keepdim=True)).reshape(batch * heads, length, head_dim).transpose(1, 2)
    values = v.reshape(batch * heads, length, head_dim)
    q = (q * head_dim**-0.5).reshape(batch * heads, length, head_dim)
    output = torch.empty_like(q)
    for part in parts(length, queries):
        for own in parts(batch * heads, HEADS_PER_PRODUCT):
            output[own, part] = (q[own, part] @ keys[own]).softmax(-1) @ values[own]
        yield
    return output.view(batch, heads, length, head_dim)


def prefill_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of the last L of a prompt's S tokens: q (L, heads, D), k and v (kv_heads, S, D) of the cache."""
    length, heads, head_dim = q.shape
    kv_heads = k.shape[0]
    group = heads // kv_heads
    # KV heads are the batch; their query heads share one key by a stride of 0, so nothing is repeated in memory.
    q = q.view(length, kv_heads, group, head_dim).permute(1, 2, 0, 3)
    k, v = (x[:, None].expand(-1, group, -1, -1) for x in (k, v))
    return fused_attention(q, k, v, causal=True).permute(2, 0, 1, 3).reshape(length, heads, head_dim)


def decode_attention(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """One new token for each of B sequences: q (B, heads, D); keys and values (B, kv_heads, L, D) of the cache.

    `mask` (B, 1, 1, L) is added to the scores. The query heads of one KV head are folded into the query axis, so the
    cache is read in place.
    """
    folded = q.unflatten(1, (keys.shape[1], -1))
    if mask is not None:
        mask = mask.expand(-1, *folded.shape[1:3], -1)
    return fused_attention(folded, keys, values, causal=False, mask=mask).flatten(1, 2)


def decode_by_products(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """`decode_attention` by matrix products."""
    folded = q.unflatten(1, (keys.shape[1], -1))
    scores = ((folded * q.shape[-1] ** -0.5) @ keys.transpose(2, 3)).float()
    if mask is not None:
        scores += mask
    return (scores.softmax(-1).to(q.dtype) @ values).flatten(1, 2)


def decode_split(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """`decode_attention` with each row's keys split among SPLITS blocks, as in FlashDecoding (Dao et al. 2023).

    By the memory-efficient kernel, which returns the log of the sum of exponentials of each part.
    """
    length = keys.shape[2]
    if mask is None or length % (SPLITS * 8):  # the kernel's alignment of masks
        return decode_attention(q, keys, values, mask)
    outputs = []
    split_mask = mask[:, 0, 0].unflatten(1, (SPLITS, 1, -1)).expand(-1, -1, q.shape[1] // keys.shape[1], -1)
    for own, own_keys, own_values in zip(
        q.unflatten(1, (keys.shape[1], -1)).unbind(1), keys.unbind(1), values.unbind(1), strict=True
    ):
        query = own[:, None].expand(-1, SPLITS, -1, -1)
        split = (x.unflatten(1, (SPLITS, -1)) for x in (own_keys, own_values))
        attended, logsumexp, *_ = EFFICIENT(query, *split, split_mask, True)
        weights = logsumexp[..., : own.shape[1]].softmax(1)[..., None]
        # A part without a key has a weight of 0, and an output that is not a number; other such numbers must stay.
        outputs.append(torch.where(weights == 0, 0, attended * weights).sum(1).to(q.dtype))
    return torch.stack(outputs, 1).flatten(1, 2)


def decode_flash(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor | None) -> Tensor:
    """`decode_attention` by FlashAttention, from compute capability 8.0 up.

    `lengths` (3, B + 1) int32: the first row of q of each sequence, its first token in memory from that of the first
    one on, and how many tokens it has (B of them).
    """
    if lengths is None:
        return decode_attention(q, keys, values, None)
    rows, kv_heads, length, head_dim = keys.shape
    shape = (keys.stride(0) // head_dim * (rows - 1) + length, kv_heads, head_dim)
    stored = (x.as_strided(shape, (head_dim, x.stride(1), 1)) for x in (keys, values))
    first, start, used = lengths.unbind()
    attended: Tensor = VARIABLE_FLASH(q, *stored, first, start, 1, length, 0.0, False, False, seqused_k=used[:-1])[0]
    return attended


def fused_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of q (B, H, L, D) with k, v (B, H, S, D), by the best kernel without full scores.

    `causal`: the queries are the last L of the S tokens, and each attends to the keys up to its own. Otherwise a `mask`
    (B, H, L, S) may be added to the scores.
    """
    if q.device.type == "cpu":
        return _sdpa(q, k, v, causal, mask)
    if q.device.type == "cuda":
        if mask is None and (not causal or q.shape[2] == k.shape[2]):
            attended: Tensor = EFFICIENT(q, k, v, None, False, 0.0, causal)[0]
            return attended
        with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
            return _sdpa(q, k, v, causal, mask)
    return chunked_attention(q, k, v, causal=causal, mask=mask)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None) -> Tensor:
    """PyTorch's attention; `is_causal` aligns the first query and key, so fewer queries than keys need a mask.

    The mask is built for chunks of queries. PyTorch's `causal_lower_right` does not help: on a CPU it builds the whole
    mask, and its import loads the compiler.
    """
    length, keys = q.shape[2], k.shape[2]
    if not causal or length == keys:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    step = max(1, SCORES_PER_CHUNK // keys)
    outputs = []
    for start in range(0, length, step):
        rows = min(step, length - start)
        visible = keys - length + start + rows  # keys of the last query of the chunk
        allowed = torch.ones(rows, visible, dtype=torch.bool, device=q.device).tril_(visible - rows)
        chunk = q[:, :, start : start + rows]
        outputs.append(scaled_dot_product_attention(chunk, k[:, :, :visible], v[:, :, :visible], attn_mask=allowed))
    return torch.cat(outputs, dim=2)


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, mask: Tensor | None = None) -> Tensor:
    """`fused_attention` by matrix products over chunks of queries: for devices without a fused kernel."""
    batch, heads, length, head_dim = q.shape
    keys = k.shape[2]
    step = max(1, SCORES_PER_CHUNK // (batch * heads * keys))
    outputs = []
    for start in range(0, length, step):
        scores = (q[:, :, start : start + step].float() * head_dim**-0.5) @ k.float().transpose(2, 3)
        if mask is not None:
            scores += mask[:, :, start : start + step]
        if causal:
            query = torch.arange(start, start + scores.shape[2], device=q.device) + keys - length
            scores.masked_fill_(torch.arange(keys, device=q.device) > query[:, None], float("-inf"))
        outputs.append((scores.softmax(-1) @ v.float()).to(q.dtype))
    return torch.cat(outputs, dim=2)
