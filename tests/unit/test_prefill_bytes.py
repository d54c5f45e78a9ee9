"""The plan's bytes of a prefill against the tensors that are alive in the network, on the meta device: nothing runs."""

import weakref
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.encode import Encode
from engine.image_cache import ImageCache
from engine.kv_cache import KVCache
from engine.memory import Sizes, prefill_bytes
from engine.prefill import Prefill
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.slices import run
from tests.real_size import real_config

META = torch.device("meta")
SIDE = 72  # patches: 1 MP
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


class Alive(TorchDispatchMode):
    """The bytes of all tensors made within it that are alive, and their peak."""

    def __init__(self, others: Iterable[Tensor]) -> None:
        """`others`: tensors whose views do not count."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._known: dict[int, Any] = {other.untyped_storage()._cdata: other for other in others}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        self.peak = max(self.peak, self.bytes)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
            self.bytes += size

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self.bytes -= size


@pytest.fixture(params=DTYPES, ids=str)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PaddleOCRVL:
    """Two layers of the real size; a fused kernel's output is laid out as PyTorch's kernels do."""

    def fused(q: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)

    monkeypatch.setattr("models.paddleocr_vl.attention.fused_attention", fused)
    config = real_config()
    config.vision_config.num_hidden_layers = config.text_config.num_hidden_layers = 2
    with META:
        model = PaddleOCRVL(config).to(request.param)
    model.text.place(META)
    return model


def peak_of(model: PaddleOCRVL, sizes: Sizes, images: int) -> int:
    """Peak bytes of prefilling one prompt of some images of 72 x 72 patches and 200 tokens of text."""
    merge, patch = model.config.vision_config.spatial_merge_size, model.config.vision_config.patch_size
    tokens = SIDE**2 // merge**2
    ids = [model.image_token_id] * tokens * images + [1] * 200
    pixels = np.zeros((SIDE**2, 3, patch, patch), np.float32)
    prompt = SimpleNamespace(
        input_ids=ids,
        positions=torch.zeros(3, len(ids), dtype=torch.int64),
        image_tokens=[tokens] * images,
        image_keys=[bytes([image]) for image in range(images)],
        grids=[(SIDE, SIDE)] * images,
        pixels_of=lambda _image: pixels,
    )
    cache = KVCache(model.config.text_config, slots=1, length=sizes.length, device=META, dtype=model_dtype(model))
    prefill = Prefill(
        model=model,
        cache=cache,
        images=ImageCache(0),
        max_patches=sizes.image * merge**2,
        encode=Encode(model, sizes.rows, META),
        chunk=sizes.chunk,
    )
    with Alive([*model.parameters(), cache.entries]) as alive, torch.inference_mode():
        run(prefill.run_sliced([SimpleNamespace(prompt=prompt, reused=0, slot=0)]))  # type: ignore[list-item]
    return alive.peak


def model_dtype(model: PaddleOCRVL) -> torch.dtype:
    return model.lm_head.weight.dtype


def sizes_of(**changed: int) -> Sizes:
    return Sizes(
        **(
            {"length": 4096, "group": 256, "chunk": 1024, "image": 1296, "rows": 512, "graphs": 0, "images": 0}
            | changed
        )
    )


@pytest.mark.parametrize("rows", [512, 2048, 8192])
def test_an_image_takes_what_is_planned(model: PaddleOCRVL, rows: int) -> None:
    sizes = sizes_of(length=2048, rows=rows)
    assert 0.85 < peak_of(model, sizes, images=1) / prefill_bytes(model.config, model_dtype(model), sizes) <= 1


def test_images_read_together_take_what_is_planned(model: PaddleOCRVL) -> None:
    sizes = sizes_of(group=4096, image=4096, rows=8192, chunk=4096)
    assert 0.8 < peak_of(model, sizes, images=3) / prefill_bytes(model.config, model_dtype(model), sizes) <= 1


@pytest.mark.parametrize("chunk", [1024, 4096])
def test_a_long_prompt_takes_what_is_planned(model: PaddleOCRVL, chunk: int) -> None:
    """Bug: the decoder ran on a long prompt as a whole, which took more than its images, read one by one."""
    sizes = sizes_of(chunk=chunk)
    assert 0.8 < peak_of(model, sizes, images=3) / prefill_bytes(model.config, model_dtype(model), sizes) <= 1
