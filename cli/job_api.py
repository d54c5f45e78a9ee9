"""The OCR API, which keeps documents as jobs, as the command asks it.

Environment variables:
  OCR_API_URL  its address (default http://127.0.0.1:8000)
  OCR_API_KEY  needed only if it requires a key
"""

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx2

from cli.documents import Document
from cli.errors import NoServerError, RefusedError, UsageError

DEFAULT_URL = "http://127.0.0.1:8000"
SECONDS = 120.0  # without a byte
RETRIES = 8  # after which a full queue is given up, and an API that went away
PAUSE = 1.0  # seconds before it is asked again, unless it says how long
PAGE = 100  # jobs of one list
NAME = re.compile(r"filename\*=UTF-8''([^;]+)")

Job = dict[str, Any]  # as the API shows it


class JobApi:
    """The OCR API at an address. Each call raises NoServerError and RefusedError."""

    def __init__(self, url: str) -> None:
        """Raises UsageError."""
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"OCR_API_URL or --url has value {url!r}. Not an address like {DEFAULT_URL}.")
        self.url = url.rstrip("/").removesuffix("/v1")
        key = os.environ.get("OCR_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=SECONDS)

    def close(self) -> None:
        self._client.close()

    def submit(self, document: Document | str, fields: dict[str, str]) -> Job:
        """The new job of a document, or of an address that the API fetches. A full queue is waited for."""
        form: dict[str, Any] = {name: (None, value) for name, value in fields.items()}
        if isinstance(document, str):
            form["url"] = (None, document)
        else:
            form["file"] = (document.name, document.data, document.mime)
        for tried in count():
            with self._connected():
                answer = self._client.post("/v1/jobs", files=form)
            if answer.status_code not in (429, 503) or tried == RETRIES:
                break
            time.sleep(float(answer.headers.get("retry-after", PAUSE)))
        return _job(answer)

    def listed(self, statuses: Sequence[str], limit: int) -> Iterator[Job]:
        """Up to `limit` jobs, newest first."""
        after: str | None = None
        while limit > 0:
            wanted: dict[str, Any] = {"status": list(statuses), "limit": min(limit, PAGE)}
            found = self._get("/v1/jobs", params=wanted | ({"after": after} if after else {}))
            yield from found["data"]
            limit -= len(found["data"])
            if not found["has_more"]:
                return
            after = found["last_id"]

    def job(self, job: str) -> Job:
        return self._get(_path(job))

    def act(self, job: str, action: str) -> Job:
        """The job after `cancel` or `retry`."""
        with self._connected():
            return _job(self._client.post(f"{_path(job)}/{action}"))

    def followed(self, job: str) -> Iterator[Job]:
        """The job whenever it changes, until it has ended; an API that is started again is asked again."""
        tried = 0
        while True:
            try:
                yield from self._events(job)
                now = self.job(job)
            except NoServerError:
                tried += 1
                if tried == RETRIES:
                    raise
                time.sleep(PAUSE)
                continue
            tried = 0
            yield now
            if now["status"] not in ("queued", "running"):
                return

    def _events(self, job: str) -> Iterator[Job]:
        with self._connected(), self._client.stream("GET", f"{_path(job)}/events") as events:
            if events.is_error:
                events.read()
                raise _refused(events)
            for line in events.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    @contextmanager
    def result(self, job: str, format_: str | None) -> Iterator[tuple[str, Iterator[bytes]]]:
        """A result's name and its bytes, piece by piece."""
        params = {"format": format_} if format_ else {}
        with self._connected(), self._client.stream("GET", f"{_path(job)}/result", params=params) as answer:
            if answer.is_error:
                answer.read()
                raise _refused(answer)
            named = NAME.search(answer.headers.get("content-disposition", ""))
            yield Path(unquote(named[1])).name if named else job, answer.iter_bytes()

    def _get(self, path: str, **how: Any) -> Any:
        with self._connected():
            return _job(self._client.get(path, **how))

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise self._no_server() from error

    def _no_server(self) -> NoServerError:
        return NoServerError(f"No OCR API answers at {self.url}. Start one with scripts/ocr_api, or set OCR_API_URL.")


def _path(job: str) -> str:
    return f"/v1/jobs/{quote(job, safe='')}"


def _job(answer: httpx2.Response) -> Any:
    if answer.is_error:
        raise _refused(answer)
    return answer.json()


def _refused(answer: httpx2.Response) -> RefusedError:
    """The API's own words."""
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.text[:200]
    return RefusedError(f"{answer.status_code}: {message}")
