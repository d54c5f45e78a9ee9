from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PPDocLayoutV3Config

from engine.build import _slots_in
from engine.config import EngineConfig
from engine.device import DeviceError
from engine.memory import FRAGMENTATION, LENGTHS, MIB, MemoryPlan, Sizes, free_bytes, plan, weight_bytes
from models.layout.images import LayoutImageSettings
from models.layout.network import LayoutNetwork
from models.layout.networks import PageNetworks
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from tests.real_size import PARAMETERS, real_config

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16
OUTSIDE = 450 * MIB  # assumed for CUDA's context and a display, on each card
REAL = real_config()
IMAGE = 1280  # tokens of the largest image by the settings of releases 1.5 and 1.6
BLOCK = 1500  # tokens that a block of text may need


PAGE_BYTES = PageNetworks(
    LayoutNetwork(SimpleNamespace(config=PPDocLayoutV3Config()), LayoutImageSettings())
).page_bytes


def planned(
    memory: int,
    dtype: torch.dtype,
    *,
    device: torch.device = GPU,
    image: int = IMAGE,
    page_bytes: int = 0,
    **wanted: Any,
) -> Any:
    """The plan for the real model on a card with so many MiB."""
    weights = PARAMETERS * dtype.itemsize
    free = memory * MIB - OUTSIDE - weights
    config = EngineConfig(model=Path(), **wanted)
    workspaces = 18 * MIB if device == GPU else 0
    return plan(
        config,
        REAL,
        device,
        dtype,
        stored=dtype,
        image_tokens=image,
        weights=weights,
        workspaces=workspaces,
        free=free,
        page_bytes=page_bytes,
    )


CARDS = {
    # MiB, dtype, slots at least, tokens of a slot at least
    "GTX 1050 Ti": (4096, FP16, 8, 8192),
    "GTX 1060 3 GB": (3072, FP16, 1, 2048),
    "GTX 1060 6 GB": (6144, FP32, 3, 4096),
    "GTX 1070": (8192, FP32, 8, 8192),
    "GTX 1080 Ti": (11264, FP32, 16, 8192),
    "Tesla P100": (16384, FP32, 32, 8192),
    "GTX 1650": (4096, FP16, 8, 8192),
    "RTX 2060": (6144, FP16, 16, 8192),
    "RTX 2080": (8192, FP16, 28, 8192),
    "RTX 3060": (12288, BF16, 48, 8192),
    "Tesla T4": (15360, FP16, 64, 8192),
    "RTX 4090": (24564, BF16, 64, 8192),
    "H100": (81559, BF16, 64, 8192),
}


@pytest.mark.parametrize("card", CARDS)
def test_each_card_has_slots_for_blocks_of_text(card: str) -> None:
    """Bug: 6 GB in fp32 and 4 GB in fp16 were refused, and 8 GB in fp32 had two slots."""
    memory, dtype, slots, length = CARDS[card]
    found = planned(memory, dtype)
    assert found.slots >= slots
    assert found.sizes.length >= max(length, BLOCK)
    assert found.total + OUTSIDE < memory * MIB


@pytest.mark.parametrize(
    ("memory", "dtype", "slots"), [(8192, FP32, 6), (6144, FP32, 3), (4096, FP16, 1)], ids=["8 GB", "6 GB", "4 GB"]
)
def test_small_cards_hold_the_largest_image_of_the_first_release(memory: int, dtype: torch.dtype, slots: int) -> None:
    found = planned(memory, dtype, image=3600)
    assert found.slots >= slots
    assert found.sizes.image >= 3600
    assert found.sizes.length > 3600


@pytest.mark.parametrize(("memory", "dtype"), [(2048, FP16), (3072, FP32), (4096, FP32)])
def test_a_card_that_holds_little_more_than_the_weights_is_refused(memory: int, dtype: torch.dtype) -> None:
    with pytest.raises(DeviceError, match="The model does not fit"):
        planned(memory, dtype)


def test_prefill_shrinks_before_the_length_of_a_slot_and_that_before_their_number() -> None:
    large, medium, small, least = (planned(memory, FP32) for memory in (11264, 7680, 6144, 5000))
    assert large.sizes.length == medium.sizes.length > small.sizes.length > least.sizes.length
    assert large.prefill > medium.prefill
    assert min(large.slots, medium.slots, small.slots) >= 8 > least.slots


def test_free_memory_is_told_though_cached_memory_cannot_be_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: after a capture that failed while work was timed, the plan ended the start."""

    def refused() -> None:
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "empty_cache", refused)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (5, 10))
    assert free_bytes(GPU) == 5


def test_several_workers_keep_one_length_whatever_memory_they_find() -> None:
    """Bug: a request that one worker accepted was too long for another."""
    assert planned(6144, FP32).sizes.length < planned(6144, FP32, workers=2).sizes.length
    assert planned(8192, FP32, workers=2).sizes.length == LENGTHS[0]


def test_fewer_slots_than_fit_do_not_look_like_short_memory(checkpoint: Path) -> None:
    """Bug: SLOTS=2 made old GPUs take fp16, as if memory were short."""
    processor = Processor(checkpoint)
    few = EngineConfig(model=checkpoint, slots=2)
    unset, none = EngineConfig(model=checkpoint), PageNetworks()
    assert _slots_in(FP32, few, processor, CPU, none) == _slots_in(FP32, unset, processor, CPU, none) > 2


@pytest.mark.parametrize("length", [2048, 8192])
def test_a_length_that_is_set_is_kept(length: int) -> None:
    assert planned(6144, FP32, max_model_len=length).sizes.length == length


def test_slots_that_are_set_are_kept() -> None:
    found = planned(6144, FP32, slots=16)
    assert found.slots == 16
    assert found.sizes.length == LENGTHS[-1]


def test_slots_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DeviceError, match="Lower SLOTS, MAX_MODEL_LEN or PICTURE_CACHE_BYTES"):
        planned(6144, FP32, slots=64)


def test_where_no_slot_fits_the_error_names_the_settings_that_use_memory() -> None:
    with pytest.raises(DeviceError, match="Lower MAX_MODEL_LEN or PICTURE_CACHE_BYTES"):
        planned(6144, FP32, image_cache_bytes=4 * 2**30)


def test_three_gigabytes_hold_eight_slots_of_4096_tokens() -> None:
    found = planned(81559, BF16, slots=8, max_model_len=4096, gpu_memory_limit=3_000_000_000)
    assert found.total <= 3_000_000_000
    assert (found.slots, found.sizes.length, found.sizes.image) == (8, 4096, IMAGE)


def test_a_limit_counts_the_weights_too() -> None:
    with pytest.raises(DeviceError, match="raise GPU_MEMORY_LIMIT"):
        planned(81559, BF16, gpu_memory_limit=2_000_000_000)


def test_a_limit_has_no_effect_on_a_cpu() -> None:
    assert planned(16384, FP32, device=CPU, gpu_memory_limit=1).slots == 8


def test_the_context_ends_with_the_checkpoints_positions() -> None:
    config = real_config()
    config.text_config.max_position_embeddings = 4000
    found = plan(
        EngineConfig(model=Path()),
        config,
        CPU,
        FP32,
        stored=FP32,
        image_tokens=IMAGE,
        weights=0,
        workspaces=0,
        free=64 * 2**30,
    )
    assert found.sizes.length <= 4000


def test_free_memory_on_a_cpu_is_what_other_processes_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.memory.psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
    assert free_bytes(CPU) == 1000


def test_the_real_model_has_the_weights_that_these_plans_count() -> None:
    with torch.device("meta"):
        assert weight_bytes(PaddleOCRVL(REAL).bfloat16()) == 2 * PARAMETERS


def test_the_plan_adds_up() -> None:
    sizes = Sizes(length=1, group=1, chunk=1, image=1, rows=1, graphs=0, images=0)
    found = MemoryPlan(
        weights=5 * MIB, prefill=3 * MIB, images=2 * MIB, graphs=0, workspaces=0, slots=4, slot=2 * MIB, sizes=sizes
    )
    assert str(found) == "weights 5 + prefill 3 + image cache 2 + 4 slots x 2 = 18 MiB"


def test_pages_take_from_prefill_before_they_take_slots() -> None:
    without, beside = planned(8192, FP32), planned(8192, FP32, page_bytes=PAGE_BYTES)
    assert beside.slots == without.slots
    assert beside.prefill < without.prefill
    assert beside.pages == int(FRAGMENTATION * beside.sizes.pages * PAGE_BYTES)


def test_where_memory_is_short_pages_are_looked_at_one_by_one() -> None:
    large, small = planned(81559, BF16, page_bytes=PAGE_BYTES), planned(6144, FP32, page_bytes=PAGE_BYTES)
    assert large.sizes.pages > small.sizes.pages == 1


def test_pages_are_told_beside_prefill() -> None:
    assert "pages 671 +" in str(planned(16384, FP32, device=CPU, page_bytes=PAGE_BYTES))


def test_the_sizes_are_told() -> None:
    text = str(planned(6144, FP32).sizes)
    assert text.startswith("slots of 4096 tokens; prefill of 1024 tokens together, 1024 of one prompt, images of 1280")
