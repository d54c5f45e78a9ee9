"""Drain and end of a worker over a fake engine, and supervision with real processes and signals."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import lifecycle
from engine.engine import Engine
from lifecycle import SECONDS_TO_END, SUPERVISOR, WorkerLifecycle

ROOT = Path(__file__).resolve().parents[2]
DRAIN_SECONDS = 600
HANG_SECONDS = 60  # a bound that only a hang reaches


class FakeEngine:
    """An engine whose `shutdown` waits until `stop` is set, which a call without grace does itself."""

    def __init__(self, state: str = "ready") -> None:
        self.state = state
        self.graces: list[float] = []
        self.draining = threading.Event()
        self.stop = threading.Event()
        self.stopped = threading.Event()

    def shutdown(self, grace: float) -> None:
        self.graces.append(grace)
        self.draining.set()
        if not grace:
            self.stop.set()
        assert self.stop.wait(HANG_SECONDS)
        self.stopped.set()


class HttpServer:
    """The owner of the signal handlers that the lifecycle replaces; records the signals it receives."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.ended = threading.Event()

    def handle(self, number: int, _: object) -> None:
        self.signals.append(number)
        self.ended.set()


class Worker:
    """One worker in this process: its lifecycle, engine, running requests and HTTP server."""

    def __init__(self, engine: FakeEngine, server: HttpServer) -> None:
        self.engine = engine
        self.server = server
        self.requests: set[asyncio.Task[Any]] = set()
        self.answered = asyncio.Event()
        self.lifecycle = WorkerLifecycle(
            engine=cast(Engine, engine),
            requests=self.requests,
            drain_seconds=DRAIN_SECONDS,
            logger=logging.getLogger("test"),
        )

    def start_request(self) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(self.answered.wait())
        self.requests.add(task)
        return task

    async def until_draining(self) -> None:
        assert await asyncio.to_thread(self.engine.draining.wait, HANG_SECONDS)

    async def until_ended(self) -> None:
        assert await asyncio.to_thread(self.server.ended.wait, HANG_SECONDS)


async def settle() -> None:
    """Let the event loop run all that is ready."""
    for _ in range(100):
        await asyncio.sleep(0)


Body = Callable[[Worker], Awaitable[None]]


@pytest.fixture
def run() -> Iterator[Callable[..., list[int]]]:
    """Runs a test's coroutine with a worker; returns the signals that its HTTP server received."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    server = HttpServer()

    def run(body: Body, state: str = "ready") -> list[int]:
        async def main() -> None:
            await body(Worker(FakeEngine(state), server))

        asyncio.run(main())
        return server.signals

    try:
        for number in numbers:
            signal.signal(number, server.handle)
        yield run
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def seconds_to_kill() -> float:
    """Seconds until the kernel ends this process; 0: never."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_finish_and_then_ends_the_http_server(
    run: Callable[..., list[int]], number: signal.Signals
) -> None:
    async def body(worker: Worker) -> None:
        request = worker.start_request()
        signal.raise_signal(number)
        await worker.until_draining()
        worker.engine.stop.set()  # the answer is complete, its last bytes are not sent
        assert await asyncio.to_thread(worker.engine.stopped.wait, HANG_SECONDS)
        await settle()
        assert not worker.server.signals
        worker.answered.set()
        await worker.until_ended()
        assert request.done()
        assert worker.engine.graces == [DRAIN_SECONDS]

    assert run(body) == [signal.SIGTERM]


def test_a_drain_that_hangs_is_ended_by_the_kernel_five_seconds_after_its_time(run: Callable[..., list[int]]) -> None:
    async def body(worker: Worker) -> None:
        assert seconds_to_kill() == 0
        signal.raise_signal(signal.SIGTERM)
        await worker.until_draining()
        assert DRAIN_SECONDS < seconds_to_kill() <= DRAIN_SECONDS + SECONDS_TO_END
        worker.engine.stop.set()
        await worker.until_ended()

    run(body)


@pytest.mark.parametrize("state", ["loading", "dead"])
def test_an_engine_that_is_not_ready_gets_no_time_to_drain(run: Callable[..., list[int]], state: str) -> None:
    async def body(worker: Worker) -> None:
        signal.raise_signal(signal.SIGTERM)
        await worker.until_ended()
        assert worker.engine.graces == [0]
        assert 0 < seconds_to_kill() <= SECONDS_TO_END

    run(body, state)


def test_a_second_sigterm_changes_nothing(run: Callable[..., list[int]]) -> None:
    """A service manager may signal every process, as the parent does."""

    async def body(worker: Worker) -> None:
        signal.raise_signal(signal.SIGTERM)
        await worker.until_draining()
        signal.raise_signal(signal.SIGTERM)
        await settle()
        assert worker.engine.graces == [DRAIN_SECONDS]
        assert seconds_to_kill() > SECONDS_TO_END
        worker.engine.stop.set()
        await worker.until_ended()

    assert run(body) == [signal.SIGTERM]


def test_a_second_ctrl_c_ends_running_requests_while_the_first_still_waits(run: Callable[..., list[int]]) -> None:
    async def body(worker: Worker) -> None:
        signal.raise_signal(signal.SIGINT)
        await worker.until_draining()
        signal.raise_signal(signal.SIGINT)
        await worker.until_ended()
        assert worker.engine.graces == [DRAIN_SECONDS, 0]
        assert 0 < seconds_to_kill() <= SECONDS_TO_END

    assert run(body) == [signal.SIGTERM]


def test_a_worker_whose_engine_died_ends_once_its_requests_have_their_errors(
    run: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "SECONDS_TO_REPORT", 0)

    async def body(worker: Worker) -> None:
        request = worker.start_request()
        engine_thread = threading.Thread(target=worker.lifecycle.replace_worker)
        engine_thread.start()
        engine_thread.join(HANG_SECONDS)
        await settle()
        assert 0 < seconds_to_kill() <= SECONDS_TO_END
        assert not worker.server.signals
        worker.answered.set()
        await worker.until_ended()
        assert request.done()

    assert run(body, "dead") == [signal.SIGTERM]


def test_a_worker_reports_only_to_a_parent_that_supervises(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *call: sent.append(call))
    for supervisor in None, os.getpid(), os.getppid():
        if supervisor is not None:
            monkeypatch.setenv(SUPERVISOR, str(supervisor))
        lifecycle.report_to_parent(signal.SIGUSR1)
    assert sent == [(os.getppid(), signal.SIGUSR1)]


# Supervision by parents in processes of their own. Their workers share their output, so its end is the end of them all.

FAILING_WORKER = """
import signal, subprocess, sys
from lifecycle import supervise_workers

supervise_workers()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])  # another worker
subprocess.Popen([sys.executable, "-c", "from lifecycle import end_server; end_server()"])
while True:
    signal.pause()
"""
INTERRUPTED_WORKER = """
import os, signal, subprocess, sys, time
from lifecycle import supervise_workers

supervise_workers()
bentomls = signal.getsignal(signal.SIGINT)
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
while signal.getsignal(signal.SIGINT) is bentomls:
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGINT)
sys.exit(worker.wait())
"""
DRAINING_WORKER = """
import signal
from lifecycle import report_to_parent

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
report_to_parent(signal.SIGUSR1)
print(signal.Signals(signal.sigwait({signal.SIGINT})).name)
"""


def parent(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)


def test_a_worker_that_cannot_load_its_model_ends_all_others_and_the_server_with_1() -> None:
    done = parent(FAILING_WORKER)
    assert done.returncode == 1, done.stderr


def test_a_second_ctrl_c_reaches_a_draining_worker_through_the_parent() -> None:
    done = parent(INTERRUPTED_WORKER, DRAINING_WORKER)
    assert (done.returncode, done.stdout) == (0, "SIGINT\n"), done.stderr
