"""The API behind a real socket, and an engine whose answers never end."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from engine.engine import Engine
from tests.engines import running_engine
from tests.http.served import client_of

SECONDS = 30  # for the engine to react, on a busy machine too; the endless answers would take far longer


@contextmanager
def endless_engine(checkpoint: Path, folder: Path, slots: int) -> Iterator[Engine]:
    """Its answers never end by themselves, and the context is long."""
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 100_000}
    (folder / "config.json").write_text(json.dumps(config))
    with running_engine(folder, max_model_len=60_000, slots=slots) as engine:
        assert engine.processor is not None
        engine.processor.eos_token_ids = frozenset()
        yield engine


@contextmanager
def listening(app: ASGIApp, send_buffer: int | None = None) -> Iterator[str]:
    """The address of `app`; `send_buffer`: bytes that the kernel takes for a client that does not read."""
    with socket.socket() as bound:
        if send_buffer is not None:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        bound.bind(("127.0.0.1", 0))
        bound.listen()  # from now on no connection is refused
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def served(engine: Engine, app: ASGIApp | None = None, send_buffer: int | None = None) -> Iterator[str]:
    """`app`, where it is no plain one."""
    with listening(app or client_of(engine).app, send_buffer) as url:
        yield url


def wait_for(engine: Engine, *, running: int) -> None:
    end = time.monotonic() + SECONDS
    while engine.stats().running != running:
        assert time.monotonic() < end, engine.stats()
        time.sleep(0.01)
