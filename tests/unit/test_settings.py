import pytest

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
    [("DEVICE", "gpu"), ("DEVICE", "cuda:x"), ("DTYPE", "int8"), ("SLOTS", "0"), ("MAX_MODEL_LEN", "many")],
)
def test_a_bad_value_is_named_with_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"Setting {name} has value '{value}'"):
        load_settings({name: value})
