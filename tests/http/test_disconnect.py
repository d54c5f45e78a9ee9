"""Clients that leave, over a real socket: a generation ends with the one who asked for it."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from engine.engine import Engine
from tests.engines import running_engine
from tests.http.served import client_of
from tests.payloads import chat

SECONDS = 10  # for the engine to notice; the answers below would take far longer


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


@pytest.fixture(scope="module")
def slow_engine(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with endless_engine(checkpoint, tmp_path_factory.mktemp("slow") / "checkpoint", slots=1) as engine:
        yield engine


@contextmanager
def served(engine: Engine, app: ASGIApp | None = None, send_buffer: int | None = None) -> Iterator[str]:
    """`app`, where it is no plain one; `send_buffer`: bytes that the kernel takes for a client that does not read."""
    with socket.socket() as listening:
        if send_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # from now on nobody is refused
        server = uvicorn.Server(uvicorn.Config(app or client_of(engine).app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def wait_for(engine: Engine, *, running: int) -> None:
    end = time.monotonic() + SECONDS
    while engine.stats().running != running:
        assert time.monotonic() < end, engine.stats()
        time.sleep(0.01)


def test_a_reader_who_closes_a_stream_frees_the_slot(slow_engine: Engine) -> None:
    request = chat(stream=True, max_tokens=None, repetition_detection=False)
    with served(slow_engine) as url:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=request, timeout=SECONDS) as answer:
            pieces = answer.iter_bytes()  # kept, since to forget it closes the connection
            next(pieces)
            wait_for(slow_engine, running=1)
        wait_for(slow_engine, running=0)
    assert slow_engine.stats().free_slots == 1


def test_a_client_that_gives_up_on_a_whole_answer_frees_the_slot(slow_engine: Engine) -> None:
    with served(slow_engine) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{url}/v1/chat/completions", json=chat(max_tokens=None, repetition_detection=False), timeout=0.5
            )
        wait_for(slow_engine, running=0)
    assert slow_engine.stats().free_slots == 1
