"""The peers of `bench.py compare`: how each is started and how it runs requests.

`python -m benchmarks.peers TASK ...` is the child's side: `transformers serve`, plain `generate`, and two baselines
that need torch. A task reports JSON lines on standard output. Only tasks import torch and transformers.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil

from benchmarks.baselines import decode_floor, vision_rates
from benchmarks.child_processes import child, next_message, server
from benchmarks.load import ServerError, Timing, Work, closed_loop, connect, negotiate_dialect
from benchmarks.process_memory import server_processes

# --- peers ----------------------------------------------------------------------------------------------------------


class Peer(Protocol):
    """A server or library that runs the same requests as ours."""

    @property
    def name(self) -> str: ...

    @property
    def max_at_once(self) -> int: ...

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:
        """`count` requests of `work`; `done` is called after each. Raises ChildError."""

    def processes(self) -> list[psutil.Process]:
        """The processes whose memory is the peer's."""


@dataclass(frozen=True)
class ServerPeer:
    """A server with OpenAI's API, addressed in a dialect that it accepts."""

    name: str
    url: str
    model: str
    fields: Mapping[str, Any]  # one of load.DIALECTS
    max_at_once: int

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:
        adapted = replace(work, model=self.model, fields=self.fields)
        return asyncio.run(closed_loop(self.url, adapted, count, at_once, done))

    def processes(self) -> list[psutil.Process]:
        return server_processes(self.url)


@dataclass(frozen=True)
class GeneratePeer:
    """The task `generate` in a child process, one request at a time."""

    process: subprocess.Popen[str]
    log: Path
    name: str = "generate"
    max_at_once: int = 1

    def run(self, work: Work, count: int, at_once: int, done: Callable[[], object]) -> list[Timing]:  # noqa: ARG002
        assert self.process.stdin is not None
        timings = []
        for body, _ in zip(work.requests(), range(count), strict=False):
            timing = Timing(time.monotonic())
            with contextlib.suppress(BrokenPipeError):  # `next_message` reports why the process ended
                self.process.stdin.write(json.dumps(body) + "\n")
                self.process.stdin.flush()
            answer = next_message(self.process, self.log)
            timing.arrivals, timing.ended = answer["arrivals"], answer["ended"]
            timing.tokens = len(timing.arrivals)
            timings.append(timing)
            done()
        return timings

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid)]


def connect_peer(name: str, url: str, work: Work, max_at_once: int) -> ServerPeer:
    """A running server, warmed up by one request of `work`; an empty `work.model` is the first that it lists.

    Raises ServerError.
    """

    async def connected() -> ServerPeer:
        async with connect(url, 1) as client:
            try:
                model = work.model or (await client.get("/v1/models")).raise_for_status().json()["data"][0]["id"]
            except (httpx.HTTPError, ValueError, LookupError) as error:
                raise ServerError(f"{url}/v1/models lists no model: {error!r}") from error
            adapted = await negotiate_dialect(client, replace(work, model=model))
            return ServerPeer(name=name, url=url, model=model, fields=adapted.fields, max_at_once=max_at_once)

    peer = asyncio.run(connected())
    validated(peer.name, peer.run(work, 1, 1, lambda: None), work)
    return peer


def validated(name: str, timings: Sequence[Timing], work: Work) -> Sequence[Timing]:
    """`timings` unchanged. Raises ServerError if one failed or has another length than `work` demands."""
    for timing in timings:
        if timing.error is not None:
            raise ServerError(f"{name}: {timing.error}")
        if timing.tokens != work.tokens or not timing.arrivals:
            raise ServerError(f"{name} answered with {timing.tokens} tokens, not {work.tokens}, or without text")
    return timings


# --- tasks, from the parent's side ----------------------------------------------------------------------------------


def task(name: str, *arguments: object) -> list[str]:
    """The Python command line of a task."""
    return ["-m", "benchmarks.peers", name, *map(str, arguments)]


def run_task(log: Path, name: str, *arguments: object) -> Any:
    """The message of a task that reports once and ends. Raises ChildError."""
    with child(task(name, *arguments), log) as process:
        return next_message(process, log)


def transformers_server(folder: Path, device: str, log: Path) -> contextlib.AbstractContextManager[tuple[str, float]]:
    return server(task("transformers", "serve", folder, "--device", device), "/health", log)


# --- tasks, in the child --------------------------------------------------------------------------------------------


def transformers(*arguments: str) -> None:
    """The command `transformers ...`, without the package accelerate.

    `transformers serve` needs accelerate only to place the model on its device while loading; here it is moved after.
    """
    from transformers.cli import transformers as command
    from transformers.cli.serving import model_manager

    manager_class: Any = model_manager.ModelManager
    load = manager_class._load_model

    def load_and_place(manager: Any, *positional: Any, **named: Any) -> Any:
        device, manager.device = manager.device, None
        return load(manager, *positional, **named).to(device)

    manager_class._load_model = load_and_place
    sys.argv = ["transformers", *arguments]
    run: Any = command.main
    run()


def generate(report: Callable[[Any], None], folder: str, device: str) -> None:
    """transformers' `generate`, one request at a time: reads request bodies as JSON lines, reports their timings."""
    import torch
    from transformers import AutoProcessor, PaddleOCRVLForConditionalGeneration

    load: Any = AutoProcessor.from_pretrained  # untyped in transformers
    processor = load(folder)
    model: Any = PaddleOCRVLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    model.to(device)
    report(True)
    for line in sys.stdin:
        body = json.loads(line)
        arrivals = Arrivals()
        inputs = processor.apply_chat_template(
            with_images(body["messages"]),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(device)
        length = {"max_new_tokens": body["max_tokens"], "eos_token_id": -1, "pad_token_id": 0}
        model.generate(**inputs, **length, do_sample=False, streamer=arrivals)
        report({"arrivals": arrivals.seconds, "ended": arrivals.now()})


def with_images(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """OpenAI's messages in the form that transformers' processors expect."""
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image", "url": part["image_url"]["url"]} if part["type"] == "image_url" else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]


class Arrivals:
    """A streamer for `generate` that records the arrival of each token, in seconds from its construction."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = time.monotonic()
        self._is_prompt = True  # `generate` passes the prompt first

    def now(self) -> float:
        return time.monotonic() - self._started

    def put(self, tokens: Any) -> None:
        tokens.tolist()  # waits for the device
        if not self._is_prompt:
            self.seconds.append(self.now())
        self._is_prompt = False

    def end(self) -> None:
        """Nothing is buffered."""


def main(name: str = "", *arguments: str) -> None:
    # Standard output carries only messages: prints of libraries go to standard error.
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(message: Any) -> None:
        print(json.dumps(message), file=messages, flush=True)

    match name, *arguments:
        case "transformers", *rest:
            transformers(*rest)
        case "generate", folder, device:
            generate(report, folder, device)
        case "floor", folder, device, dtype:
            report(decode_floor(Path(folder), device, dtype))
        case "vision", folder, device, dtype, rounds:
            report(vision_rates(Path(folder), device, dtype, int(rounds)))
        case _:
            raise SystemExit("usage: python -m benchmarks.peers transformers|generate|floor|vision ARGUMENTS")


if __name__ == "__main__":
    main(*sys.argv[1:])
