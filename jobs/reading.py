"""What a way of reading is: how a page is asked of a server, and what is made of all pages of a document."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.document import Document
from jobs.job import Job
from jobs.servers import Servers


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """A page that is to be read: a PDF of one page, or an image."""

    number: int  # from 1, as the document counts
    data: bytes


class Reader(Protocol):
    """What it keeps of a page is JSON that says the same whenever it is asked, so that a document that was interrupted
    comes out equal."""

    async def ask(self, servers: Servers, job: Job, page: PageFile, headers: Mapping[str, str]) -> dict[str, Any]:
        """What is read on a page, as JSON. `headers`: of the request. Raises Failure."""

    def join(self, job: Job, pages: Iterable[dict[str, Any]]) -> Document:
        """The document of all pages, in their order, each as `ask` gave it."""
