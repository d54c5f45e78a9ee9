"""A real server with faults that tests switch on, and clients that record how an answer ended."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from tests.e2e.sample import IMAGE
from tests.e2e.servers import HANG_SECONDS, Server, wait_until
from tests.payloads import image_part

CHAT = "/v1/chat/completions"

INJECT = Path(__file__).parent / "inject"
HOURS_AHEAD = 5  # offset of the server's clock when it starts
CULPRIT = 666  # as in inject/sitecustomize.py


@dataclass
class Faulty:
    server: Server
    folder: Path  # for the faults

    @property
    def worker(self) -> psutil.Process:
        """The worker that serves, or is about to."""
        children = psutil.Process(self.server.process.pid).children()
        return next(child for child in children if child.status() != psutil.STATUS_ZOMBIE)

    @property
    def log(self) -> str:
        return self.server.log.read_text()

    @contextmanager
    def fault(self, name: str, text: str = "") -> Iterator[None]:
        """Context in which the fault is switched on."""
        struck = self.folder / f"{name}.struck"
        struck.unlink(missing_ok=True)
        (self.folder / name).write_text(text)
        try:
            yield
        finally:
            (self.folder / name).unlink(missing_ok=True)

    def wait_until_struck(self, name: str) -> None:
        wait_until((self.folder / f"{name}.struck").exists)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.server.url}{path}", timeout=HANG_SECONDS)

    def wait_until_ready_again(self) -> None:
        self.server.wait_until_ready()


@dataclass
class Outcome:
    """The outcome of one request as its client sees it."""

    status: int | None  # None: no answer, and the connection broke
    text: str = ""
    finish_reason: str | None = None
    error: str | None = None
    done: bool = False  # a stream said [DONE], or the body was whole
    broken: bool = False  # the connection broke in the middle

    @property
    def complete(self) -> bool:
        """Whether it looks like a whole answer."""
        return self.finish_reason is not None and self.error is None and not self.broken


def line_question(number: int = 0, **fields: Any) -> dict[str, Any]:
    """A request about one line of the sample page; each `number` makes another image of it."""
    with Image.open(IMAGE) as page:
        image = page.convert("RGB").crop((0, 0, page.width, 80))
    image.putpixel((0, 0), (255, 255, 255 - number))
    part = image_part(image)
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "OCR:"}]}]} | fields


def endless_question(number: int = 0, **fields: Any) -> dict[str, Any]:
    """A request that takes more than ten seconds unless something ends it: guesses find few of its tokens."""
    endless = {"ignore_eos": True, "repetition_detection": False, "max_tokens": 8000, "temperature": 1.0}
    return line_question(number) | endless | fields


async def ask(client: httpx.AsyncClient, body: dict[str, Any], begun: asyncio.Event | None = None) -> Outcome:
    """Send one request, streamed if its body says so; the first text of a stream sets `begun`."""
    outcome = Outcome(None)
    try:
        async with client.stream("POST", CHAT, json=body) as answer:
            outcome.status = answer.status_code
            if body.get("stream") and answer.status_code == 200:
                async for line in answer.aiter_lines():
                    parse_event(outcome, line)
                    if begun is not None and outcome.text:
                        begun.set()
            else:
                parse_body(outcome, json.loads(await answer.aread()))
    except httpx.TransportError as error:
        outcome.broken = True
        outcome.error = repr(error)
    return outcome


def parse_event(outcome: Outcome, line: str) -> None:
    """Add one line of server-sent events to the outcome."""
    if line == "data: [DONE]":
        outcome.done = True
    elif line.startswith("data:"):
        event = json.loads(line.removeprefix("data:"))
        outcome.error = event.get("error", {}).get("message", outcome.error)
        for choice in event.get("choices", []):
            outcome.text += choice["delta"].get("content") or ""
            outcome.finish_reason = choice["finish_reason"] or outcome.finish_reason


def parse_body(outcome: Outcome, body: dict[str, Any]) -> None:
    """Set the outcome from a whole answer."""
    outcome.done = True
    if "error" in body:
        outcome.error = body["error"]["message"]
    else:
        (choice,) = body["choices"]
        outcome.text, outcome.finish_reason = choice["message"]["content"], choice["finish_reason"]


def ask_all(faulty: Faulty, *bodies: dict[str, Any]) -> list[Outcome]:
    """Send all requests at once."""

    async def run() -> list[Outcome]:
        async with httpx.AsyncClient(base_url=faulty.server.url, timeout=HANG_SECONDS) as client:
            return await asyncio.gather(*(ask(client, body) for body in bodies))

    return asyncio.run(run())
