from types import SimpleNamespace

import pytest
import torch

from engine.device import DeviceError, plan_slots

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _thousand_bytes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.device.psutil.virtual_memory", lambda: SimpleNamespace(available=1000))


def test_slots_share_what_is_not_reserved() -> None:
    assert plan_slots(CPU, bytes_per_slot=100, reserved=0) == 6
    assert plan_slots(CPU, bytes_per_slot=100, reserved=500) == 3


def test_where_no_slot_fits_the_settings_that_take_memory_are_named() -> None:
    with pytest.raises(DeviceError, match="MAX_MODEL_LEN or PICTURE_CACHE_BYTES"):
        plan_slots(CPU, bytes_per_slot=100, reserved=900)
