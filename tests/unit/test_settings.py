from pathlib import Path

import pytest

from engine.config import EngineConfig
from environment import SettingsError
from scripts import settings_table
from settings import Settings, load_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({})
    assert (settings.device, settings.dtype, settings.max_model_len) == ("auto", "auto", None)


def test_a_variable_sets_its_field() -> None:
    assert load_settings({"MAX_MODEL_LEN": "1024", "DEVICE": "cuda:1"}).max_model_len == 1024


def test_an_empty_variable_is_an_unset_one() -> None:
    assert load_settings({"SLOTS": ""}).slots is None


BAD_VALUES = {
    "MODEL": [("PaddlePaddle/PaddleOCR-VL-1.5", "HUB_ID@COMMIT"), ("Ocr", "NAME:VERSION"), ("off", "HUB_ID@COMMIT")],
    "LAYOUT": [("PP-DocLayoutV3", "NAME:VERSION"), ("on", "40 digits, or embedded, or off")],
    "ORIENTATION": [("true", "40 digits, or off"), ("embedded", "40 digits, or off")],
    "UNWARPING": [("UVDoc", "NAME:VERSION")],
    "HOST": [("localhost", "IP address")],
    "PORT": [("0", "greater than or equal to 1"), ("65536", "less than or equal to 65535")],
    "WORKERS": [("0", "greater than or equal to 1"), ("two", "integer")],
    "API_KEYS_FILE": [("/no/such/file", "No such file"), (str(Path(__file__).parent), "Use a file that can be read")],
    "METRICS_OPEN": [("some", "boolean")],
    "UI": [("on page", "boolean")],
    "RATE_LIMIT": [("0", "greater than or equal to 1")],
    "LOG_FORMAT": [("xml", "'text' or 'json'")],
    "LOG_TEXTS": [("all", "boolean")],
    "OTEL_EXPORTER_OTLP_ENDPOINT": [("localhost:4318", "such as http://localhost:4318")],
    "OTEL_TRACES_EXPORTER": [("jaeger", "'otlp', 'console' or 'none'")],
    "LOG_LEVEL": [("loud", "'critical', 'error', 'warning', 'info' or 'debug'")],
    "RELOAD": [("always", "boolean")],
    "CUDA_VISIBLE_DEVICES": [("first", "such as 0,1")],
    "HF_HOME": [(f"{__file__}/hub", "Use a folder")],
    "TRANSFORMERS_CACHE": [(__file__, "Use a folder")],
    "DEVICE": [("gpu", "auto, cpu, cuda or cuda:N"), ("cuda:x", "auto, cpu, cuda or cuda:N")],
    "DTYPE": [("int8", "'auto', 'float32', 'bfloat16' or 'float16'")],
    "WEIGHTS": [("int2", "'auto', 'native', 'fp16', 'int8' or 'int4'")],
    "MAX_MODEL_LEN": [("many", "integer"), ("63", "greater than or equal to 64")],
    "SLOTS": [("0", "greater than or equal to 1")],
    "MAX_WAITING": [("-1", "greater than or equal to 0")],
    "MAX_WAITING_BYTES": [("1GiB", "integer")],
    "REQUEST_SECONDS": [("0", "greater than 0"), ("inf", "finite")],
    "PICTURE_CACHE_BYTES": [("-1", "greater than or equal to 0")],
    "GPU_MEMORY_LIMIT": [("6GB", "integer")],
    "CUDA_GRAPHS": [("never", "boolean")],
    "KEEP_WEIGHTS": [("never", "boolean")],
    "STRICT_MODEL_NAMES": [("2", "boolean")],
    "STRICT_FIELDS": [("perhaps", "boolean")],
    "MAX_REQUEST_BYTES": [("0", "greater than or equal to 1")],
    "BODY_SECONDS": [("0", "greater than 0")],
    "MAX_IMAGE_BYTES": [("20MB", "integer")],
    "MAX_IMAGE_PIXELS": [("0", "greater than or equal to 1")],
    "DECODE_SECONDS": [("0", "greater than 0")],
    "MAX_IMAGES": [("0", "greater than or equal to 1")],
    "MAX_PAGES": [("0", "greater than or equal to 1")],
    "FETCH_SECONDS": [("0", "greater than 0")],
    "MAX_REDIRECTS": [("-1", "greater than or equal to 0")],
    "MEDIA_FOLDER": [(__file__, "Use a folder")],
    "DRAIN_SECONDS": [("soon", "number")],
}


@pytest.mark.parametrize(
    ("name", "value", "allowed"), [(name, *case) for name, cases in BAD_VALUES.items() for case in cases]
)
def test_a_bad_value_is_named_with_its_setting_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings({name: value})
    assert str(refusal.value).startswith(f"Setting {name} has value '{value}'. ")
    assert allowed in str(refusal.value)


def test_every_setting_that_can_have_a_bad_value_is_tried_with_one() -> None:
    any_text = {"SERVED_MODEL_NAMES", "ALLOWED_HOSTS"}
    tried_below = {"API_KEYS", "CORS_ORIGINS"}
    assert BAD_VALUES.keys() | any_text | tried_below == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("value", ["hunter2", "alice:hunter2 and more", ","])
def test_a_bad_key_is_named_by_its_setting_and_never_shown(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^Setting API_KEYS has a value that is not shown\. ") as refusal:
        load_settings({"API_KEYS": value})
    assert "hunter2" not in str(refusal.value)


def test_keys_are_in_no_text_of_the_settings() -> None:
    secret = "0123456789abcdef"
    settings = load_settings({"API_KEYS": f"alice:{secret}"})
    assert secret not in f"{settings!r} {settings} {settings.model_dump_json()}"
    keys = settings.keys()
    assert keys is not None
    assert keys.client_of(secret) == "alice"


def test_keys_have_one_place(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("0123456789abcdef")
    with pytest.raises(SettingsError, match="API_KEYS and API_KEYS_FILE are both set") as refusal:
        load_settings({"API_KEYS": "0123456789abcdef", "API_KEYS_FILE": str(tmp_path / "keys")})
    assert "0123456789abcdef" not in str(refusal.value)


def test_a_bad_line_of_the_keys_file_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("0123456789abcdef\nshort")
    with pytest.raises(SettingsError, match=r"API_KEYS_FILE has value .* Key 2 is not NAME:SECRET") as refusal:
        load_settings({"API_KEYS_FILE": str(tmp_path / "keys")})
    assert "short" not in str(refusal.value)


def test_an_origin_has_no_path() -> None:
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS .* Use origins such as"):
        load_settings({"CORS_ORIGINS": "https://example.org/app"})


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_traces_are_exported_where_that_is_set(environment: dict[str, str], exporter: str | None) -> None:
    assert load_settings(environment).exporter == exporter


def test_one_gpu_is_no_device_for_several_workers() -> None:
    with pytest.raises(SettingsError, match="WORKERS is 2 and DEVICE one GPU, cuda:1"):
        load_settings({"WORKERS": "2", "DEVICE": "cuda:1"})


def test_the_tables_of_settings_are_up_to_date() -> None:
    """To update it: scripts/settings_table.py"""
    text = settings_table.PAGE.read_text()
    assert settings_table.with_tables(text) == text


def test_names_are_separated_by_commas() -> None:
    settings = load_settings({"SERVED_MODEL_NAMES": "ocr, gpt-4 ,", "ALLOWED_HOSTS": "*.example.org"})
    assert settings.served_model_names == ("ocr", "gpt-4")
    assert settings.limits().fetching.allowed_hosts == ("*.example.org",)


@pytest.mark.parametrize(("value", "meaning"), [("1", True), ("true", True), ("0", False)])
def test_switches_are_switched(value: str, meaning: bool) -> None:
    assert load_settings({"STRICT_FIELDS": value}).strict_fields is meaning


def test_engine_settings_reach_the_engine() -> None:
    settings = load_settings({"SLOTS": "3", "MAX_WAITING": "0", "PICTURE_CACHE_BYTES": "0", "DTYPE": "float32"})
    config = settings.engine_config({"model": Path("model")})
    assert config == EngineConfig(model=Path("model"), dtype="float32", slots=3, max_waiting=0, image_cache_bytes=0)
    assert load_settings({}).engine_config({"model": Path("model")}) == EngineConfig(model=Path("model"))


def test_every_chosen_checkpoint_reaches_the_engine() -> None:
    folders = {role: Path(role) for role in ("model", "layout", "orientation", "unwarping")}
    config = load_settings({}).engine_config(folders)
    assert {role: getattr(config, role) for role in folders} == folders


@pytest.mark.parametrize("value", ["layout:1", f"some/layout@{'0' * 40}", "embedded", "off"])
def test_a_layout_is_chosen_by_tag_or_commit_or_word(value: str) -> None:
    assert load_settings({"LAYOUT": value}).layout == value


def test_the_second_of_three_workers_takes_the_second_gpu() -> None:
    config = load_settings({"WORKERS": "3"}).engine_config({"model": Path("model")}, worker=2)
    assert (config.worker, config.workers) == (1, 3)


def test_limits_reach_the_code_that_applies_them() -> None:
    limits = load_settings({"MAX_PAGES": "3", "MAX_IMAGE_BYTES": "9", "FETCH_SECONDS": "0.5"}).limits()
    assert (limits.max_pages, limits.max_image_bytes) == (3, 9)
    assert (limits.fetching.max_bytes, limits.fetching.seconds) == (9, 0.5)
