"""The CUDA kernels next to the plain paths that stand beside them; their source runs in an emulator on the CPU."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import PaddleOCRVLConfig

from engine.decode_attention import KernelAttention
from engine.engine import Engine
from engine.kv_cache import KVCache
from engine.request import SamplingParams
from models.paddleocr_vl.gpu import FewRows, use_decoder_kernels, use_vision_kernels
from models.paddleocr_vl.kernels import KEYS, ROWS, SOURCE, Kernels, defines, keys_of_part
from models.paddleocr_vl.linear import gated
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.rope import cosines_sines, rotate
from models.paddleocr_vl.slices import run
from models.paddleocr_vl.weights import load_model
from tests.emulator import EmulatedModule
from tests.engines import answers, collect, ids_of, running_engine, submit

HEADS, KV_HEADS = 8, 2
IMAGE_DIM = 72
HEAD_DIMS = 48, 128  # the embedded checkpoint's, which is no power of two, and the real one's
EPS = 1e-5
HIDDEN = 328  # more than a warp loads at once, and not a multiple of it
PAIRS = {  # weights with activations, residual stream
    "bf16": (torch.bfloat16, torch.bfloat16),
    "fp16": (torch.float16, torch.float32),
    "fp32": (torch.float32, torch.float32),
}
TOLERANCE = {torch.bfloat16: 0.02, torch.float16: 0.002, torch.float32: 1e-5}


@pytest.fixture(scope="module", params=list(PAIRS))
def dtypes(request: pytest.FixtureRequest) -> tuple[torch.dtype, torch.dtype]:
    return PAIRS[request.param]


@pytest.fixture(scope="module", params=HEAD_DIMS)
def head_dim(request: pytest.FixtureRequest) -> int:
    dimensions: int = request.param
    return dimensions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Kernels]:
    def make(dtype: torch.dtype, residual_dtype: torch.dtype, head_dim: int = HEAD_DIMS[-1]) -> Kernels:
        text = SimpleNamespace(num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=head_dim)
        vision = SimpleNamespace(hidden_size=2 * IMAGE_DIM, num_attention_heads=2)
        macros = defines(SimpleNamespace(text_config=text, vision_config=vision), dtype, residual_dtype)
        return Kernels(EmulatedModule(SOURCE, macros, tmp_path_factory.mktemp("kernels")))

    return make


@pytest.fixture(scope="module")
def kernels(made: Callable[..., Kernels], dtypes: tuple[torch.dtype, torch.dtype]) -> Kernels:
    return made(*dtypes)


def random(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    return (torch.randn(shape) * scale).to(dtype)


def assert_close(ours: Tensor, expected: Tensor) -> None:
    """Both in fp32, within the rounding of the dtype of ours."""
    tolerance = TOLERANCE[ours.dtype]
    torch.testing.assert_close(ours.float(), expected.float(), rtol=tolerance, atol=tolerance)


def normed(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x.float(), weight.shape, weight.float(), EPS)


@pytest.mark.parametrize("rows", [1, 2, 3, max(ROWS)])
def test_a_linear_layer_of_normalised_inputs(
    kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype], rows: int
) -> None:
    x, norm = random(rows, HIDDEN, dtype=dtypes[1]), random(HIDDEN, dtype=dtypes[0])
    weight = random(11, HIDDEN, dtype=dtypes[0], scale=HIDDEN**-0.5)
    assert_close(kernels.normed_linear(x, norm, EPS, weight), normed(x, norm) @ weight.float().T)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_gated_layer_of_normalised_inputs(
    kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype], rows: int
) -> None:
    x, norm = random(rows, HIDDEN, dtype=dtypes[1]), random(HIDDEN, dtype=dtypes[0])
    weight = random(2 * 9, HIDDEN, dtype=dtypes[0], scale=HIDDEN**-0.5)
    assert_close(kernels.normed_gated(x, norm, EPS, weight), gated(normed(x, norm) @ weight.float().T))


@pytest.mark.parametrize("rows", [1, 5])
def test_a_linear_layer_added_to_the_residual_stream(
    kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype], rows: int
) -> None:
    x, residual = random(rows, HIDDEN, dtype=dtypes[0]), random(rows, 10, dtype=dtypes[1])
    weight = random(10, HIDDEN, dtype=dtypes[0], scale=HIDDEN**-0.5)
    assert_close(kernels.linear_add(x, weight, residual), residual.float() + x.float() @ weight.float().T)


@pytest.mark.parametrize("vocabulary", [64, 37])
def test_logits_are_not_rounded(kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype], vocabulary: int) -> None:
    x, weight = random(2, HIDDEN, dtype=dtypes[0]), random(vocabulary, HIDDEN, dtype=dtypes[0])
    ours = kernels.logits(x, weight)
    torch.testing.assert_close(ours, x.float() @ weight.float().T, rtol=1e-4, atol=1e-4)


def test_heads_are_rotated_in_place_and_their_neighbours_left_alone(
    kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype]
) -> None:
    whole = random(5, 3 * HEADS, 72, dtype=dtypes[0])
    expected = whole.clone()
    cos, sin = cosines_sines(random(5, 36))
    rotate(expected[:, : 2 * HEADS], cos, sin)
    kernels.rotate(whole[:, : 2 * HEADS], cos, sin)
    assert_close(whole, expected)
    assert torch.equal(whole[:, 2 * HEADS :], expected[:, 2 * HEADS :])


def test_gating_of_many_rows(kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    x = random(7, 2 * 24, dtype=dtypes[0])
    assert_close(kernels.gated(x), gated(x.float()))


def test_rms_and_layer_norms(kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    x = random(3, HIDDEN, dtype=dtypes[1]) + 1
    weight, bias = random(HIDDEN, dtype=dtypes[0]), random(HIDDEN, dtype=dtypes[0])
    assert_close(kernels.norm(x, weight, None, EPS), normed(x, weight))
    expected = F.layer_norm(x.float(), (HIDDEN,), weight.float(), bias.float(), EPS)
    assert_close(kernels.norm(x, weight, bias, EPS), expected)


def test_a_norm_may_first_add_to_the_residual_stream(kernels: Kernels, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    x, added, weight = (
        random(3, HIDDEN, dtype=dtypes[1]),
        random(3, HIDDEN, dtype=dtypes[0]),
        random(HIDDEN, dtype=dtypes[0]),
    )
    total = x + added
    assert_close(kernels.norm(x, weight, None, EPS, added=added), normed(total, weight))
    assert torch.equal(x, total)


def test_each_row_attends_to_its_own_keys_and_stores_its_new_one(
    made: Callable[..., Kernels], dtypes: tuple[torch.dtype, torch.dtype], head_dim: int
) -> None:
    """NaN beyond a row's position is never read; a row without a sequence writes nothing."""
    kernels = made(*dtypes, head_dim)
    dtype, idle = dtypes[0], 700
    slots, positions = torch.tensor([3, 0, 2, 1]), torch.tensor([0, 31, 600, idle])
    cache = random(4, 2, KV_HEADS, idle + 1, head_dim, dtype=dtype)
    for slot, position in zip(slots, positions, strict=True):
        cache[slot, :, :, position:] = float("nan")
    before = cache.clone()
    tokens = random(4, HEADS + 2 * KV_HEADS, head_dim, dtype=dtype)
    q, kv = tokens[:, :HEADS], tokens[:, HEADS:]
    out = kernels.attend(q, kv, cache, slots, positions, 640, idle)
    for row, (slot, position) in enumerate(zip(slots.tolist(), positions.tolist(), strict=True)):
        if position == idle:
            assert not out[row].any()
            assert torch.equal(cache[slot].isnan(), before[slot].isnan())
            continue
        assert torch.equal(cache[slot, :, :, position].flatten(0, 1), kv[row])
        keys, values = (x.float().repeat_interleave(HEADS // KV_HEADS, 0) for x in cache[slot, :, :, : position + 1])
        expected = F.scaled_dot_product_attention(q[row].float()[:, None], keys, values)[:, 0]
        assert_close(out[row], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("queries", [None, 100])
def test_patches_attend_inside_their_image_by_tensor_cores(
    made: Callable[..., Kernels], dtype: torch.dtype, queries: int | None
) -> None:
    """Two images of 150 patches: more than a block's queries, and no multiple of a tile's keys."""
    qkv = random(2, 150, 3, 1, IMAGE_DIM, dtype=dtype)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    ours = run(made(dtype, torch.float32).attend_image(q, k, v, queries))
    assert_close(ours, F.scaled_dot_product_attention(q.float(), k.float(), v.float()))


def test_blocks_read_fewer_keys_where_there_are_few_rows() -> None:
    assert keys_of_part(2, 1024) < keys_of_part(64, 1024) <= KEYS
    assert keys_of_part(128, 8192) == KEYS


# --- a whole engine -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_kernels(small_module: EmulatedModule) -> Kernels:
    return Kernels(small_module)


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("few", [0, max(ROWS)])
def test_an_engine_answers_the_same_by_our_kernels(
    checkpoint: Path, engine: Engine, small_kernels: Kernels, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """An image, and in graphs, several rows at once, of which one ends early and leaves a row without a sequence."""
    asked = [SamplingParams(max_tokens=tokens, ignore_eos=True) for tokens in (2, 5, 5)]
    expected = answers(engine, *asked)
    expected_of_image = asyncio.run(answer_to_image(engine))

    def with_kernels(cache: KVCache, *_: object) -> KernelAttention:
        return KernelAttention(cache, small_kernels)

    monkeypatch.setattr("engine.build.decode_attention_over", with_kernels)

    def loaded(*arguments: Any) -> PaddleOCRVL:
        model = load_model(*arguments)
        use_decoder_kernels(model, small_kernels, FewRows(few))
        use_vision_kernels(model, small_kernels)
        return model

    monkeypatch.setattr("engine.build.load_model", loaded)
    with running_engine(checkpoint) as other:
        assert [ids_of(events) for events in answers(other, *asked)] == [ids_of(events) for events in expected]
        assert asyncio.run(answer_to_image(other)) == expected_of_image


async def answer_to_image(engine: Engine) -> list[int]:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8))
    return ids_of(await collect(await submit(engine, [image], max_tokens=4, ignore_eos=True)))


def test_layers_that_were_replaced_can_be_put_back(checkpoint: Path, small_kernels: Kernels) -> None:
    model = load_model(checkpoint, PaddleOCRVLConfig.from_pretrained(checkpoint), torch.device("cpu"), torch.float32)
    before = dict(model.named_modules())
    restore = [use_decoder_kernels(model, small_kernels, FewRows(1)), use_vision_kernels(model, small_kernels)]
    assert not set(before.values()) & set(model.text.layers[0].children())
    assert not set(before.values()) & set(model.visual.layers[0].children())
    for put_back in restore:
        put_back()
    assert dict(model.named_modules()) == before
