"""Settings of the OCR API and its workers, from environment variables. What is named as the server's means the same."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from api.keys import Keys
from api.logs import LogFormat
from api.tracing import Exporter
from environment import Address, ApiKeys, Folder, KeysFile, Names, WebAddress, is_web_address, load
from images.fetching import FetchLimits

MEBIBYTE = 2**20
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
SECRET = {"api_keys", "vllm_api_key", "jobs_webhook_secret", "jobs_database_url", "nats_url"}


def _are_servers(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("Use at least one address such as http://localhost:8001")
    return tuple(is_web_address(address).rstrip("/").removesuffix("/v1") for address in value)


def _is_database(value: str) -> str:
    if not re.match(r"sqlite:///.|postgres(ql)?(\+psycopg)?://.", value):
        raise ValueError("Use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
    return re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql+psycopg://", value)


def _duration(value: Any) -> Any:
    """A duration such as 7d or 12h."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,6})([smhd])", value.strip())):
        return timedelta(**{UNITS[found[2]]: int(found[1])})
    if isinstance(value, str):
        raise ValueError("Use a number with a unit: 90s, 30m, 12h or 7d")
    return value


def _is_webhook_secret(value: SecretStr) -> SecretStr:
    if not 16 <= len(value.get_secret_value()) <= 512:
        raise ValueError("Use 16 to 512 characters, as `openssl rand -hex 32` makes them")
    return value


def _is_base(value: str) -> str:
    return value.rstrip("/")


def _are_nats(value: SecretStr) -> SecretStr:
    urls = value.get_secret_value().split(",")
    if not all(re.fullmatch(r"(nats|tls)://[^\s/]+/?", url.strip()) for url in urls):
        raise ValueError("Use addresses such as nats://localhost:4222, separated by commas")
    return value


NatsName = Annotated[str, Field(pattern=r"^[\w-]{1,100}$")]
NatsSubject = Annotated[str, Field(pattern=r"^[\w-]+(\.[\w-]+)*$", max_length=200)]
Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta())]


class JobSettings(BaseModel):
    """Each field is an environment variable of the same name in capitals; docs/settings.md lists them."""

    model_config = ConfigDict(frozen=True)

    vllm_url: Annotated[Names, AfterValidator(_are_servers)] = Field(
        default=("http://localhost:8001",), description="addresses of the servers that read pages, separated by commas"
    )
    vllm_api_key: SecretStr | None = Field(default=None, description="the key that they want")
    model_name: str = Field(default="PaddlePaddle/PaddleOCR-VL", description="the name of the model that is asked for")
    jobs_host: Address = Field(
        default="0.0.0.0",  # noqa: S104 - an API is there to be reached
        description="the IP address that the OCR API listens on",
    )
    jobs_port: int = Field(default=8000, ge=1, le=65535, description="and the port")
    jobs_public_url: WebAddress | None = Field(
        default=None, description="the address by which clients reach it, in links to results; unset: as each asked"
    )
    ui: bool = Field(default=True, description="as for the server: the page at `/` lists jobs and takes documents")
    jobs_folder: Folder = Field(
        default=Path("~/paddleocr-jobs").expanduser(),
        description="where jobs and documents are kept, unless the next two say otherwise; its default is in your home",
    )
    jobs_database_url: Annotated[str, AfterValidator(_is_database)] | None = Field(
        default=None,
        description="where jobs are kept: `postgresql://...` for workers on several machines, `sqlite:///FILE`; unset: "
        "`jobs.sqlite` in the folder",
    )
    jobs_store: str | None = Field(
        default=None,
        description="where documents and results are kept: a folder, or an address such as "
        "`s3://bucket/prefix`; unset: `documents` in the folder",
    )
    jobs_retention: Duration = Field(
        default=timedelta(days=7), description="how long a finished job and its documents are kept: `12h`, `7d`"
    )
    jobs_worker: bool = Field(default=True, description="`scripts/ocr_api` runs a worker, too")
    jobs_worker_id: Annotated[str, Field(pattern=r"^[\w.:-]{1,100}$")] | None = Field(
        default=None, description="a name that only this worker has, also after a restart; unset: host and number"
    )
    jobs_documents: int = Field(
        default=16, ge=1, le=1000, description="documents of each priority that one worker reads at once"
    )
    jobs_pages: int = Field(default=8, ge=1, le=1000, description="pages that one worker asks of each server at once")
    jobs_max_waiting: int = Field(default=10_000, ge=1, description="jobs that may wait; more get 429")
    jobs_max_waiting_bytes: int = Field(
        default=20 * 1024 * MEBIBYTE, ge=1, description="bytes of their documents; more get 429"
    )
    jobs_max_bytes: int = Field(default=200 * MEBIBYTE, ge=1, description="of one document")
    jobs_max_pages: int = Field(default=2000, ge=1, description="of one document")
    jobs_page_seconds: float = Field(default=600.0, gt=0, description="for one page, each time that it is asked for")
    jobs_seconds: Duration = Field(
        default=timedelta(days=1),
        description="for one job, from when it began, or went on after its worker had ended",
    )
    jobs_attempts: int = Field(
        default=4,
        ge=1,
        le=100,
        description="how often a page is asked for, with growing pauses, while the failure may pass; a server that is "
        "busy or cannot be reached is waited for instead",
    )
    jobs_lease_seconds: float = Field(
        default=15.0, ge=1, description="without a sign of life after which a worker's jobs go to others"
    )
    jobs_alive_file: Path | None = Field(
        default=None, description="a file that a worker touches three times in a lease, for health checks"
    )
    jobs_drain_seconds: float = Field(
        default=60.0, ge=0, description="for pages that are being read to finish at shutdown; the rest goes on later"
    )
    jobs_webhook_secret: Annotated[SecretStr, AfterValidator(_is_webhook_secret)] | None = Field(
        default=None, description="signs webhooks; unset: none can be asked for"
    )
    jobs_fetch_seconds: float = Field(default=300.0, gt=0, description="for a document given by its address")
    max_redirects: int = Field(default=FetchLimits.max_redirects, ge=0, description="of such an address")
    allowed_hosts: Names = Field(
        default=(), description="hosts of documents and webhooks that may have private addresses, as for the server"
    )
    api_keys: ApiKeys | None = Field(default=None, description="as for the server")
    api_keys_file: KeysFile | None = Field(default=None, description="as for the server")
    metrics_open: bool = Field(default=False, description="as for the server")
    rate_limit: int | None = Field(default=None, ge=1, description="as for the server")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", description="as for the server"
    )
    log_format: LogFormat = Field(default="text", description="as for the server")

    content_api_url: Annotated[WebAddress, AfterValidator(_is_base)] | None = Field(
        default=None,
        description="of a simple-content service, which gets the Markdown of its documents; unset: none does",
    )
    content_api_timeout: float = Field(default=30.0, gt=0, description="seconds for one request to it")
    nats_url: Annotated[SecretStr, AfterValidator(_are_nats)] | None = Field(
        default=None,
        description="NATS servers whose queue workers serve, such as `nats://localhost:4222`, separated by commas",
    )
    nats_stream: NatsName = Field(
        default="OCR_JOBS", description="the JetStream stream of jobs; made if it is not there"
    )
    nats_subject: NatsSubject = Field(
        default="ocr.jobs", description="the subject of jobs; `.high` and `.low` at its end give their priority"
    )
    nats_consumer: NatsName = Field(default="ocr-worker", description="the durable consumer that all workers share")
    nats_max_concurrent: int = Field(
        default=16, ge=1, le=10_000, description="jobs of each priority that one worker takes from the queue at once"
    )
    nats_ack_wait: float = Field(
        default=60.0, ge=1, description="seconds without a sign of life after which a job goes to another worker"
    )
    nats_max_deliver: int = Field(
        default=5, ge=1, description="deliveries of a message that becomes no job, after which it is a dead letter"
    )
    otel_exporter_otlp_endpoint: WebAddress | None = Field(default=None, description="as for the server, with each job")
    otel_traces_exporter: Literal["otlp", "console", "none"] | None = Field(
        default=None, description="as for the server"
    )

    @property
    def exporter(self) -> Exporter | None:
        """Exporter of spans; None: no tracing."""
        chosen = self.otel_traces_exporter or ("otlp" if self.otel_exporter_otlp_endpoint else "none")
        return None if chosen == "none" else chosen

    @property
    def database(self) -> str:
        """The address of the database, for SQLAlchemy."""
        return self.jobs_database_url or f"sqlite:///{self.jobs_folder.absolute() / 'jobs.sqlite'}"

    @property
    def store(self) -> str:
        return self.jobs_store or str(self.jobs_folder.absolute() / "documents")

    def keys(self) -> Keys | None:
        if self.api_keys_file is not None:
            return Keys(self.api_keys_file)
        return None if self.api_keys is None else Keys(self.api_keys.get_secret_value())

    def fetching(self) -> FetchLimits:
        return FetchLimits(
            max_bytes=self.jobs_max_bytes,
            seconds=self.jobs_fetch_seconds,
            max_redirects=self.max_redirects,
            allowed_hosts=self.allowed_hosts,
        )


def load_job_settings(environment: Mapping[str, str] = os.environ) -> JobSettings:
    """Raises SettingsError."""
    return load(JobSettings, environment, SECRET)
