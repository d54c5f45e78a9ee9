"""The environment -> one frozen, validated Settings. A bad value is named with what would be right."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.fetching import FetchLimits
from api.image_loading import Limits
from engine.config import EngineConfig


class SettingsError(SystemExit):
    """A setting has a value that cannot be; ends the process with the message."""


def _is_device(value: str) -> str:
    name, _, index = value.partition(":")
    if value not in ("auto", "cpu") and not (name == "cuda" and (index.isdigit() or value == "cuda")):
        raise ValueError("use auto, cpu, cuda or cuda:N")
    return value


def _split(value: Any) -> Any:
    return [name for part in value.split(",") if (name := part.strip())] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Settings(BaseModel):
    """Each field is an environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True)

    device: Annotated[str, AfterValidator(_is_device)] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    weights: Literal["native", "int8"] = "native"
    max_model_len: int = Field(default=8192, ge=64, le=131072)  # tokens of prompt and answer together
    slots: int | None = Field(default=None, ge=1, le=1024)  # requests that run at once; unset: by memory
    max_waiting: int = Field(default=256, ge=0)  # requests that wait beyond those
    picture_cache_bytes: int = Field(default=256 * 2**20, ge=0)  # features of pictures kept for further questions
    gpu_memory_limit: int | None = Field(default=None, ge=1)  # bytes of the GPU's memory that may be taken
    served_model_names: Names = ()  # names besides the checkpoint's own
    strict_model_names: bool = False  # no other PaddleOCR-VL name is answered
    strict_fields: bool = False  # a field that the server does not know is an error
    max_request_bytes: int = Field(default=128 * 2**20, ge=1)
    max_image_bytes: int = Field(default=20 * 2**20, ge=1)  # of a picture or document
    max_image_pixels: int = Field(default=50_000_000, ge=1)
    max_images: int = Field(default=16, ge=1)  # pictures and documents in one request
    max_pages: int = Field(default=64, ge=1)  # of one document
    fetch_seconds: float = Field(default=20.0, gt=0)  # for a picture given by its address
    max_redirects: int = Field(default=3, ge=0)
    allowed_hosts: Names = ()  # that may have private addresses; *.example.org for all of a domain
    media_folder: Path | None = None  # whose files may be named by file:// addresses
    drain_seconds: float = Field(default=30.0, ge=0)  # for running requests to finish at shutdown

    def limits(self) -> Limits:
        fetching = FetchLimits(
            self.max_image_bytes, self.fetch_seconds, self.max_redirects, self.allowed_hosts, self.media_folder
        )
        return Limits(self.max_image_bytes, self.max_image_pixels, self.max_images, self.max_pages, fetching)

    def engine_config(self, model: Path) -> EngineConfig:
        return EngineConfig(
            model,
            self.device,
            self.dtype,
            self.weights,
            self.max_model_len,
            self.slots,
            self.max_waiting,
            self.picture_cache_bytes,
            self.gpu_memory_limit,
        )


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""
    values = {name: environment[name.upper()] for name in Settings.model_fields if environment.get(name.upper())}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        name, said = str(fault["loc"][0]).upper(), fault["msg"].removeprefix("Value error, ")
        raise SettingsError(f"Setting {name} has value {fault['input']!r}. {said}.") from None
