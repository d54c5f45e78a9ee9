"""A job: one document that is to be read, its options, and how far it is."""

import re
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from images.addresses import AddressError, http_url, split
from jobs.failures import Kind
from modes.registry import MODE_NAMES
from modes.tables import TableFormat

Status = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[Status, ...] = ("done", "failed", "cancelled")
Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
MODES = tuple(name for name in MODE_NAMES if name != "raw")  # modes of the server; `raw` is for conversations
if TYPE_CHECKING:
    ModeName = str
else:
    ModeName = Literal[MODES]
DOCUMENT = "document"  # the mode that reads whole pages


def _are_ranges(value: str) -> str:
    ranges(value)
    return value


def ranges(text: str) -> list[tuple[int, int]]:
    """Ranges of pages, from 1, both ends included, of a text such as `1-3,7`. Raises ValueError."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9]\d{0,5})\s*(?:-\s*([1-9]\d{0,5})\s*)?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError("use pages from 1 such as 1-3,7")
        found.append((int(match[1]), int(match[2] or match[1])))
    return found


class JobOptions(BaseModel):
    """What is wanted of a document. Fields of the server's chat mean the same here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: ModeName = DOCUMENT
    layout: bool | None = None
    running: bool = False
    table_format: TableFormat = "auto"
    upright: bool = False
    unwarp: bool = False
    images: Literal["none", "link", "inline"] = "none"
    pages: Annotated[str, AfterValidator(_are_ranges)] | None = None  # such as 1-3,7; None: all
    formats: list[str] = Field(default=["markdown", "json"], min_length=1)  # names of jobs.formats.FORMATS
    payload: dict[str, Any] = {}  # fields of another reader than the default one


def is_web_url(url: str) -> str:
    """The URL of a document or a webhook. Raises ValueError for one that can be neither."""
    try:
        http_url(split(url))
    except AddressError as error:
        raise ValueError(f"the URL {error}") from None
    return url


class Source(BaseModel):
    """The origin of a document: the client's upload, which is in the store, or an address."""

    url: str | None = None
    name: str | None = None  # the client's name of the file
    bytes: int = 0  # 0: not known yet


class JobFailure(BaseModel):
    kind: Kind
    code: str
    message: str
    page: int | None = None


class Job(BaseModel):
    """A job as the database has it. Times are Unix seconds."""

    id: str
    owner: str  # the key that may see it; "" where there are no keys
    client: str  # a key's name or an address: clients take turns
    own_id: str | None = None  # the client's own, by which a repeated request is told
    digest: str = ""  # tells what was asked for under that id
    batch: str | None = None  # what the client groups jobs by
    reader: str = "chat"  # name in jobs.readers.READERS
    source: Source
    options: JobOptions
    deliver: list[dict[str, Any]] = []  # each a target with a `kind` of jobs.delivery.KINDS
    metadata: dict[str, str] = {}
    priority: Priority = "normal"
    turn: int = 0  # among the jobs of its priority
    run: int = 1  # number of its run: a retry is the next
    status: Status = "queued"
    pages_total: int | None = None  # None until it is split
    pages_done: int = 0
    failure: JobFailure | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    traceparent: str | None = None  # the trace of the request that submitted it

    @property
    def workflow(self) -> str:
        """Id of the workflow that runs it now."""
        return workflow_id(self.id, self.run)

    @property
    def rank(self) -> int:
        """Its priority as a number, the smallest first."""
        return PRIORITIES.index(self.priority)

    @property
    def ended(self) -> bool:
        return self.status in ENDED


def workflow_id(job: str, run: int) -> str:
    return f"{job}.{run}"


def new_id() -> str:
    """An id that begins with the time and cannot be guessed."""
    return f"job_{int(time.time() * 1000):012x}{secrets.token_hex(12)}"
