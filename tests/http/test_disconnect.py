"""Clients that leave, over a real socket: a generation ends with its client."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.engine import Engine
from tests.http.sockets import SECONDS, endless_engine, served, wait_for
from tests.payloads import chat


@pytest.fixture(scope="module")
def slow_engine(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with endless_engine(checkpoint, tmp_path_factory.mktemp("slow") / "checkpoint", slots=1) as engine:
        yield engine


def test_a_client_that_closes_a_stream_frees_the_slot(slow_engine: Engine) -> None:
    request = chat(stream=True, max_tokens=None, repetition_detection=False)
    with served(slow_engine) as url:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=request, timeout=SECONDS) as answer:
            pieces = answer.iter_bytes()  # referenced, since dropping it closes the connection
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
