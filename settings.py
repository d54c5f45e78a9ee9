"""The environment -> one frozen, validated Settings. A bad value is named with what would be right."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from api.gate import BODY_SECONDS
from api.keys import Keys
from api.logs import LogFormat
from api.tracing import Exporter
from engine.config import EngineConfig
from environment import Address, ApiKeys, Folder, KeysFile, Names, WebAddress, are_origins, every_address, load
from images.fetching import FetchLimits
from images.loading import ImageLimits
from models.choice import checked_choice


def _is_device(value: str) -> str:
    name, _, index = value.partition(":")
    if value not in ("auto", "cpu") and not (name == "cuda" and (index.isdigit() or value == "cuda")):
        raise ValueError("Use auto, cpu, cuda or cuda:N")
    return value


def _are_gpus(value: str) -> str:
    if not all(part.isdigit() or part.startswith(("GPU-", "MIG-")) for part in map(str.strip, value.split(","))):
        raise ValueError("Use numbers or UUIDs as nvidia-smi -L shows them, separated by commas, such as 0,1")
    return value


SECRET = {"api_keys"}
LogLevel = Literal["critical", "error", "warning", "info", "debug"]


class Settings(BaseModel):
    """Each field is an environment variable of the same name in capitals; docs/settings.md lists them."""

    model_config = ConfigDict(frozen=True)

    model: Annotated[str, AfterValidator(partial(checked_choice, "model"))] | None = Field(
        default=None,
        description="what is served where no `--arg model=` says so: a tag of the model store, or `HUB_ID@COMMIT`, "
        "fetched at the first start; unset: the embedded checkpoint, in an image nothing",
    )
    layout: Annotated[str, AfterValidator(partial(checked_choice, "layout"))] | None = Field(
        default=None,
        description="what finds the blocks of a page ([more](models.md#layout)), chosen as `MODEL` is, or `embedded`, "
        "which parts pages by their ink, or `off`; unset: `embedded` with the embedded checkpoint, otherwise `off`",
    )
    orientation: Annotated[str, AfterValidator(partial(checked_choice, "orientation"))] | None = Field(
        default=None, description="what finds how a page was turned, chosen as `MODEL` is, or `off`; unset: `off`"
    )
    unwarping: Annotated[str, AfterValidator(partial(checked_choice, "unwarping"))] | None = Field(
        default=None, description="what flattens a photographed page, chosen as `MODEL` is, or `off`; unset: `off`"
    )
    host: Address | None = Field(
        default=None,
        description="the IP address that is listened on; unset: all, of IPv6 too where there are any",
    )
    port: int = Field(default=8001, ge=1, le=65535, description="and the port")
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="processes with a model each; on GPUs, one for each ([more](deployment.md#several-gpus))",
    )
    api_keys: ApiKeys | None = Field(
        default=None,
        description="keys of which clients must send one as `Authorization: Bearer SECRET`: `NAME:SECRET`, separated "
        "by commas; unset, and no file: any client may ask ([more](../SECURITY.md))",
    )
    api_keys_file: KeysFile | None = Field(
        default=None, description="a file with a key a line instead, read again when it changes"
    )
    metrics_open: bool = Field(default=False, description="`/metrics` needs no key")
    rate_limit: int | None = Field(
        default=None,
        ge=1,
        description="requests a minute of one key, or of one address where there are no keys; more get 429 with "
        "`Retry-After`",
    )
    cors_origins: Annotated[Names, AfterValidator(are_origins)] = Field(
        default=(), description="origins of web pages whose scripts may ask, or `*`; separated by commas"
    )
    ui: bool = Field(default=True, description="the page for people at `/`; `0` turns it off")
    log_level: LogLevel = Field(
        default="info", description="the least that is logged: `critical`, `error`, `warning`, `info` or `debug`"
    )
    log_format: LogFormat = Field(default="text", description="`text`, or `json`: an object a line")
    log_texts: bool = Field(
        default=False,
        description="a request's line holds what was asked and answered, cut to 2000 characters each",
    )
    otel_exporter_otlp_endpoint: WebAddress | None = Field(
        default=None,
        description="where a trace of each request is sent by OTLP over HTTP, such as `http://localhost:4318`; "
        "OpenTelemetry's other variables work too",
    )
    otel_traces_exporter: Literal["otlp", "console", "none"] | None = Field(
        default=None, description="`console` writes traces to the log's stream; unset: `otlp` where there is an address"
    )
    reload: bool = Field(default=False, description="`scripts/serve` starts anew when a file changes, for development")
    cuda_visible_devices: Annotated[str, AfterValidator(_are_gpus)] | None = Field(
        default=None,
        description="the GPUs that may be used, by number or UUID; unset: the first, or as many as `WORKERS`",
    )
    hf_home: Folder | None = Field(
        default=None, description="the hub's cache, for models that are fetched; unset: `~/.cache/huggingface`"
    )
    transformers_cache: Folder | None = Field(default=None, description="its older name, for the cache's `hub` folder")
    device: Annotated[str, AfterValidator(_is_device)] = Field(
        default="auto", description="`cpu`, `cuda` or `cuda:N`; `auto` takes a GPU where there is one"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="`float32`, `bfloat16` or `float16`; `auto`: bf16 from capability 8.0, elsewhere what a "
        "measurement at start finds faster, or fp16 where fp32 leaves room for fewer than 4 requests",
    )
    weights: Literal["auto", "native", "fp16", "int8", "int4"] = Field(
        default="auto",
        description="how a CPU stores weights: `native`, in the dtype; `fp16`, beside fp32 arithmetic; `int8`, the "
        "decoder and the vision tower in 8 bits, where that is no slower; `int4`, the decoder's layers in 4 and the "
        "rest likewise ([their loss](../models/tiny/README.md#measured-error)); `auto`: native or, beside fp32, 16 "
        "bits that lose less than bf16",
    )
    keep_weights: bool = Field(
        default=EngineConfig.keep_weights,
        description="weights of 4 to 16 bits are kept in `~/.cache/paddleocr-vl` as a CPU multiplies by them, so that "
        "later starts only map them and workers share their memory; they take as much room there as in memory",
    )
    max_model_len: int | None = Field(
        default=None,
        ge=64,
        le=131072,
        description="tokens of prompt and answer together; unset: 8192, or fewer where memory is short, as the log and "
        "`/v1/models` say ([more](performance.md#bounds))",
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="requests that run at once; unset: by memory, at most 8 on a CPU, 64 on a GPU",
    )
    max_waiting: int = Field(
        default=EngineConfig.max_waiting,
        ge=0,
        description="requests that wait beyond those; one more gets 429 with `Retry-After`. A quarter more may wait of "
        "clients that have none there yet, as of the next",
    )
    max_waiting_bytes: int = Field(
        default=EngineConfig.max_waiting_bytes,
        ge=1,
        description="memory that images may take until they are read, from their encoded bytes to the model's "
        "input; more gets 429 with `Retry-After`, unless nothing else waits",
    )
    request_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="from a request's arrival to its answer's end; after them 504. A client may ask for less by the "
        "header `x-request-timeout`, in seconds",
    )
    picture_cache_bytes: int | None = Field(
        default=None,
        ge=0,
        description="memory, on the model's device, for features of images that may be asked about again; "
        "`0` keeps none; unset: 256 MiB, less where memory is short",
    )
    gpu_memory_limit: int | None = Field(
        default=None,
        ge=1,
        description="bytes that the server may take of the GPU's memory, besides 0.3 to 0.6 GB of CUDA's own; unset: "
        "what is free. The plan that keeps to it is in the log (on a CPU: a warning)",
    )
    cuda_graphs: bool = Field(
        default=EngineConfig.cuda_graphs,
        description="on a GPU, decode steps and small images are captured once and replayed; `0` launches each "
        "operation, which is slower and needs less memory",
    )
    served_model_names: Names = Field(
        default=(), description="names, besides the checkpoint's own, that are answered and listed; separated by commas"
    )
    strict_model_names: bool = Field(default=False, description="any other PaddleOCR-VL name is 404")
    strict_fields: bool = Field(
        default=False, description="a field that the server does not know is 400, not just named in `x-ignored-fields`"
    )
    max_request_bytes: int = Field(default=128 * 2**20, ge=1, description="of a request's body; more is 413")
    body_seconds: float = Field(
        default=BODY_SECONDS,
        gt=0,
        description="between two pieces of a body, and before it must have come at 1000 bytes a second; more is 408",
    )
    max_image_bytes: int = Field(default=ImageLimits.max_image_bytes, ge=1, description="of an image or document")
    max_image_pixels: int = Field(default=ImageLimits.max_image_pixels, ge=1, description="of a decoded image")
    decode_seconds: float = Field(
        default=20.0,
        gt=0,
        description="for an image or page to be decoded, in a process apart that is ended when they are over",
    )
    max_images: int = Field(default=ImageLimits.max_images, ge=1, description="images and documents in one request")
    max_pages: int = Field(default=ImageLimits.max_pages, ge=1, description="of one document")
    fetch_seconds: float = Field(default=FetchLimits.seconds, gt=0, description="for an image given by its address")
    max_redirects: int = Field(default=FetchLimits.max_redirects, ge=0, description="of such an address")
    allowed_hosts: Names = Field(
        default=(),
        description="hosts that may have private addresses, `*.example.org` for all below one; others are fetched from "
        "public addresses only",
    )
    media_folder: Folder | None = Field(default=None, description="the folder whose files `file://` addresses may name")
    drain_seconds: float = Field(
        default=30.0,
        ge=0,
        description="for running requests to finish at shutdown; new ones get 503. At most 5 s later the process ends",
    )

    @model_validator(mode="after")
    def _one_gpu_for_each_worker(self) -> Self:
        if self.workers > 1 and self.device.startswith("cuda:"):
            raise ValueError(f"WORKERS is {self.workers} and DEVICE one GPU, {self.device}. Use DEVICE=cuda or auto")
        return self

    @model_validator(mode="after")
    def _keys_have_one_place(self) -> Self:
        if self.api_keys is not None and self.api_keys_file is not None:
            raise ValueError("API_KEYS and API_KEYS_FILE are both set. Leave one out")
        return self

    def keys(self) -> Keys | None:
        if self.api_keys_file is not None:
            return Keys(self.api_keys_file)
        return None if self.api_keys is None else Keys(self.api_keys.get_secret_value())

    @property
    def bind_host(self) -> str:
        return self.host or every_address()

    @property
    def exporter(self) -> Exporter | None:
        """Exporter of spans; None: no tracing."""
        chosen = self.otel_traces_exporter or ("otlp" if self.otel_exporter_otlp_endpoint else "none")
        return None if chosen == "none" else chosen

    def limits(self) -> ImageLimits:
        fetching = FetchLimits(
            max_bytes=self.max_image_bytes,
            seconds=self.fetch_seconds,
            max_redirects=self.max_redirects,
            allowed_hosts=self.allowed_hosts,
            media_folder=self.media_folder,
        )
        return ImageLimits(
            max_image_bytes=self.max_image_bytes,
            max_image_pixels=self.max_image_pixels,
            max_images=self.max_images,
            max_pages=self.max_pages,
            fetching=fetching,
        )

    def engine_config(self, folders: Mapping[str, Path], worker: int = 1, *, segments: bool = False) -> EngineConfig:
        """Configuration of the worker with this number, from 1; `folders`: role of `models.choice` -> checkpoint.

        `segments`: pages are parted by their ink.
        """
        return EngineConfig(
            model=folders["model"],
            layout=folders.get("layout"),
            segments=segments,
            orientation=folders.get("orientation"),
            unwarping=folders.get("unwarping"),
            device=self.device,
            dtype=self.dtype,
            weights=self.weights,
            keep_weights=self.keep_weights,
            max_model_len=self.max_model_len,
            slots=self.slots,
            max_waiting=self.max_waiting,
            max_waiting_bytes=self.max_waiting_bytes,
            image_cache_bytes=self.picture_cache_bytes,
            gpu_memory_limit=self.gpu_memory_limit,
            cuda_graphs=self.cuda_graphs,
            worker=worker - 1,
            workers=self.workers,
        )


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""
    return load(Settings, environment, SECRET)
