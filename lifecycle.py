"""Process lifecycle: supervision of the workers in the parent, drain and end of a worker.

A worker reports to the parent by signals: SIGUSR1 when it drains, SIGUSR2 when its model cannot be loaded.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from api.page import address
from engine.engine import Engine

SUPERVISOR = "PADDLEOCR_VL_SUPERVISOR"  # environment variable: process id of the parent of the workers
SECONDS_TO_END = 5  # after the drain, for the last bytes to reach their clients
SECONDS_TO_REPORT = 2  # for probes to learn from a worker why its engine died, before the worker ends


def supervise_workers() -> None:
    """Install the parent's handlers for the signals by which its workers report; BentoML handles all others."""

    def end(*_: object) -> None:
        """End the whole server: a worker that cannot load its model would be restarted forever."""
        for worker in psutil.Process().children():
            worker.terminate()
        os._exit(1)

    def forward_interrupts(*_: object) -> None:
        """Forward a second Ctrl-C to draining workers: only the parent receives it, and BentoML drops it."""
        signal.signal(signal.SIGINT, interrupt_workers)

    def interrupt_workers(*_: object) -> None:
        for worker in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGINT)

    signal.signal(signal.SIGUSR2, end)
    signal.signal(signal.SIGUSR1, forward_interrupts)
    os.environ[SUPERVISOR] = str(os.getpid())


def report_to_parent(number: signal.Signals) -> None:
    """Signal the parent, provided that it supervises workers and is not some other program."""
    if os.environ.get(SUPERVISOR) == str(os.getppid()):
        os.kill(os.getppid(), number)


def listening(host: str, port: int) -> str:
    """The address at which people reach this worker's socket, whose host and port `bentoml serve` may be told.

    BentoML hands the socket down as `--fd N`; elsewhere it is `host` and `port`.
    """
    if "--fd" in sys.argv:
        with socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))) as own:
            host, port, *_ = own.getsockname()
    return address(host, port)


def end_server() -> None:
    """End this worker and, through the parent, the whole server with exit code 1."""
    report_to_parent(signal.SIGUSR2)
    os._exit(1)


class WorkerLifecycle:
    """Drain and end of a worker on SIGTERM or SIGINT: running requests finish before the HTTP server ends.

    uvicorn alone would first close its socket, which leaves new connections hanging in the parent's, then wait for
    running requests without a bound, and notify the service last. This class replaces uvicorn's signal handlers from
    within its event loop: new requests get 503 while running ones finish or, after the grace period, are ended.
    """

    def __init__(
        self, *, engine: Engine, requests: Set[asyncio.Task[Any]], drain_seconds: float, logger: logging.Logger
    ) -> None:
        """`requests`: the live set of tasks that answer requests."""
        self._engine = engine
        self._requests = requests
        self._drain_seconds = drain_seconds
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(2, "ending")  # one drains, the other serves a second Ctrl-C
        self._draining: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._server_handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in self._server_handlers:
            self._loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        """A second SIGTERM changes nothing: a service manager may signal every process, as the parent does."""
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain())
        elif number == signal.SIGINT:
            signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_END)
            self._loop.run_in_executor(self._threads, self._engine.shutdown, 0)

    async def _drain(self) -> None:
        grace = self._drain_seconds if self._engine.state == "ready" else 0  # nothing runs before or after
        # If the model's thread or a client hangs, the kernel ends this process.
        signal.setitimer(signal.ITIMER_REAL, grace + SECONDS_TO_END)
        report_to_parent(signal.SIGUSR1)
        self._logger.info("Draining: running requests have %g seconds.", grace)
        await asyncio.wait({self._loop.run_in_executor(self._threads, self._engine.shutdown, grace), *self._requests})
        self._end_http_server()

    def replace_worker(self) -> None:
        """End the worker, whose engine died, so that BentoML starts another. From any thread."""

        def begin() -> None:
            self._leaving = self._loop.create_task(self._leave())

        self._loop.call_soon_threadsafe(begin)

    async def _leave(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_REPORT + SECONDS_TO_END)
        await asyncio.sleep(SECONDS_TO_REPORT)
        if self._requests:
            await asyncio.wait([*self._requests])
        self._end_http_server()

    def _end_http_server(self) -> None:
        for number, handler in self._server_handlers.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, handler)
        signal.raise_signal(signal.SIGTERM)  # not SIGINT, which uvicorn turns into a KeyboardInterrupt at its end
