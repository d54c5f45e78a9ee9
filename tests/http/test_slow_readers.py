"""Clients that do not read their stream: over real sockets, proved by counters."""

import pytest

from api import disconnect
from engine.engine import Engine
from tests.http.pressure import SMALL, Received, nothing_is_left, send, wait_until
from tests.http.sockets import served
from tests.payloads import chat

FLOOD = chat(stream=True, max_tokens=None, repetition_detection=False, logprobs=True, top_logprobs=20)


def test_a_client_that_does_not_read_its_stream_delays_no_other(endless: Engine) -> None:
    with served(endless, send_buffer=SMALL) as url, send(url, FLOOD, buffer=SMALL) as asleep:
        wait_until(lambda: endless.stats().totals.generation_tokens > 1000, endless)  # several times the buffers
        assert Received(send(url, chat(max_tokens=50))).status == 200
        assert endless.stats().running == 1
        asleep.close()
        wait_until(lambda: nothing_is_left(endless), endless)


def test_a_stream_that_is_not_read_for_long_ends_and_frees_its_slot(
    endless: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disconnect, "READER_SECONDS", 0.2)
    with served(endless, send_buffer=SMALL) as url, send(url, FLOOD, buffer=SMALL):
        wait_until(lambda: endless.stats().running == 1, endless)
        wait_until(lambda: nothing_is_left(endless), endless)
