from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.device import DeviceError
from engine.memory import MIB, MemoryPlan, plan

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _thousand_bytes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.memory.psutil.virtual_memory", lambda: SimpleNamespace(available=1000))


def planned(**sizes: Any) -> MemoryPlan:
    return plan(
        CPU,
        **({"weights": 500, "prefill": 0, "images": 0, "graphs": 0, "slot": 300, "slots": None, "limit": None} | sizes),
    )


def test_slots_fill_the_memory_that_prefill_and_images_leave() -> None:
    assert planned().slots == 3
    assert planned(prefill=200, images=150).slots == 1


def test_a_limit_counts_the_weights_too() -> None:
    assert planned(limit=900).slots == 1
    with pytest.raises(DeviceError, match="raise GPU_MEMORY_LIMIT"):
        planned(limit=700)


def test_where_no_slot_fits_the_error_names_the_settings_that_use_memory() -> None:
    with pytest.raises(DeviceError, match="Lower MAX_MODEL_LEN or PICTURE_CACHE_BYTES"):
        planned(images=900)


def test_more_slots_than_fit_are_refused() -> None:
    with pytest.raises(DeviceError, match="Lower SLOTS"):
        planned(slots=4)


def test_the_plan_adds_up() -> None:
    text = str(MemoryPlan(weights=5 * MIB, prefill=3 * MIB, images=2 * MIB, graphs=0, slots=4, slot=2 * MIB))
    assert text == "weights 5 + prefill 3 + image cache 2 + 4 slots x 2 = 18 MiB"
