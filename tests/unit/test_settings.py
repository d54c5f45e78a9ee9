from pathlib import Path

import pytest

from engine.config import EngineConfig
from settings import SettingsError, load_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({})
    assert (settings.device, settings.dtype, settings.max_model_len) == ("auto", "auto", 8192)


def test_a_variable_sets_its_field() -> None:
    assert load_settings({"MAX_MODEL_LEN": "1024", "DEVICE": "cuda:1"}).max_model_len == 1024


def test_an_empty_variable_is_an_unset_one() -> None:
    assert load_settings({"SLOTS": ""}).slots is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVICE", "gpu"),
        ("DEVICE", "cuda:x"),
        ("DTYPE", "int8"),
        ("SLOTS", "0"),
        ("PICTURE_CACHE_BYTES", "-1"),
        ("MAX_MODEL_LEN", "many"),
    ],
)
def test_a_bad_value_is_named_with_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"Setting {name} has value '{value}'"):
        load_settings({name: value})


def test_names_are_separated_by_commas() -> None:
    settings = load_settings({"SERVED_MODEL_NAMES": "ocr, gpt-4 ,", "ALLOWED_HOSTS": "*.example.org"})
    assert settings.served_model_names == ("ocr", "gpt-4")
    assert settings.limits().fetching.allowed_hosts == ("*.example.org",)


@pytest.mark.parametrize(("value", "meaning"), [("1", True), ("true", True), ("0", False)])
def test_switches_are_switched(value: str, meaning: bool) -> None:
    assert load_settings({"STRICT_FIELDS": value}).strict_fields is meaning


def test_engine_settings_reach_the_engine() -> None:
    settings = load_settings({"SLOTS": "3", "MAX_WAITING": "0", "PICTURE_CACHE_BYTES": "0", "DTYPE": "float32"})
    config = settings.engine_config(Path("model"))
    assert config == EngineConfig(Path("model"), dtype="float32", slots=3, max_waiting=0, picture_cache_bytes=0)
    assert load_settings({}).engine_config(Path("model")) == EngineConfig(Path("model"))


def test_limits_reach_those_who_hold_them() -> None:
    limits = load_settings({"MAX_PAGES": "3", "MAX_IMAGE_BYTES": "9", "FETCH_SECONDS": "0.5"}).limits()
    assert (limits.max_pages, limits.max_image_bytes) == (3, 9)
    assert (limits.fetching.max_bytes, limits.fetching.seconds) == (9, 0.5)
