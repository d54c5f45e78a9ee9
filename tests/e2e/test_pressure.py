"""A real server with few slots: many clients, impatient ones, sleepy ones, and SIGTERM with all of them inside."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.conftest import Server, start, stop
from tests.e2e.test_clients import MODEL, messages
from tests.http.test_metrics import Scrape
from tests.http.test_pressure import SMALL, Received, SilentHost, send
from tests.unit.test_auth import ALICE, BOB

LONG: Any = {"ignore_eos": True, "max_tokens": 6000}  # minutes, if nothing ends it
SECONDS = 30


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def metrics(server: Server, **headers: str) -> Scrape:
    return Scrape(httpx.get(f"{server.url}/metrics", headers=headers, timeout=SECONDS).text)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = {"SLOTS": "2", "API_KEYS": f"alice:{ALICE},bob:{BOB}", "METRICS_OPEN": "1", "ALLOWED_HOSTS": "127.0.0.1"}
    server = start(tmp_path_factory.mktemp("pressed"), **options)
    try:
        server.wait_until_ready()
        yield server
    finally:
        assert stop(server) == 0


def test_one_request_goes_between_another_clients_many(server: Server) -> None:
    asked: Any = {"model": MODEL, "messages": messages(), "extra_body": {"ignore_eos": True, "max_tokens": 60}}

    async def run() -> int:
        def client(key: str) -> AsyncOpenAI:
            return AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=120)

        async with client(ALICE) as alice, client(BOB) as bob:
            crowd = [asyncio.create_task(alice.chat.completions.create(**asked)) for _ in range(30)]
            while (await asyncio.to_thread(metrics, server))("vllm:num_requests_waiting") < 25:
                assert not all(task.done() for task in crowd)
            await bob.chat.completions.create(**asked)
            left = sum(not task.done() for task in crowd)
            for task in crowd:
                task.cancel()
            return left

    assert asyncio.run(run()) > 15
    wait_until(lambda: nothing_is_left(server))


def nothing_is_left(server: Server) -> bool:
    now = metrics(server)
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting", "paddleocr_vl:waiting_picture_bytes")
    return all(now(name) == 0 for name in (*names, "vllm:kv_cache_usage_perc"))


def test_openais_client_gets_504_at_its_deadline_and_does_not_ask_again(server: Server) -> None:
    with OpenAI(base_url=f"{server.url}/v1", api_key=ALICE, max_retries=2, timeout=60) as client:
        create = client.with_options(default_headers={"x-request-timeout": "0.5"}).chat.completions.create
        with pytest.raises(openai.InternalServerError, match=r"within the 0.5 s") as refused:
            create(model=MODEL, messages=messages(), extra_body=LONG)
        assert (refused.value.status_code, refused.value.type) == (504, "timeout_error")
    assert metrics(server)("paddleocr_vl:rejections_total", reason="deadline") == 1
    wait_until(lambda: nothing_is_left(server))


def test_who_gives_up_while_a_picture_is_fetched_ends_the_fetch(server: Server) -> None:
    with SilentHost() as host:
        client = send(server.url, host.picture(), bearer(ALICE))
        with host.asked() as fetching:
            fetching.settimeout(SECONDS)
            assert fetching.recv(1000)
            client.close()
            assert fetching.recv(1000) == b""
    wait_until(lambda: nothing_is_left(server))


def test_who_does_not_read_holds_up_nobody(server: Server) -> None:
    flood = {"messages": messages(), "stream": True, "logprobs": True, "top_logprobs": 20, **LONG}
    with send(server.url, flood, bearer(ALICE), SMALL):
        wait_until(lambda: metrics(server)("vllm:num_requests_running") == 1)
        words = {"messages": messages(), "max_tokens": 50, "ignore_eos": True}
        assert Received(send(server.url, words, bearer(ALICE))).status == 200
        assert metrics(server)("vllm:num_requests_running") == 1
    wait_until(lambda: nothing_is_left(server))


def test_sigterm_ends_who_runs_who_waits_and_whose_picture_is_still_to_come_each_with_an_error(tmp_path: Path) -> None:
    server = start(tmp_path, SLOTS="1", DRAIN_SECONDS="3", ALLOWED_HOSTS="127.0.0.1")
    with SilentHost() as host, ThreadPoolExecutor() as threads:
        server.wait_until_ready()
        long = {"messages": messages(), **LONG}
        running = threads.submit(Received, send(server.url, long | {"stream": True}))
        wait_until(lambda: metrics(server)("vllm:num_requests_running") == 1)
        waiting = threads.submit(Received, send(server.url, long))
        fetching = threads.submit(Received, send(server.url, host.picture()))
        with host.asked():
            wait_until(lambda: metrics(server)("vllm:num_requests_waiting") == 2)
            server.process.terminate()
            while httpx.get(f"{server.url}/health", timeout=SECONDS).status_code == 200:
                pass
            new = Received(send(server.url, long))
            assert (new.status, new.headers["retry-after"]) == (503, "5")
            assert waiting.result(SECONDS).status == fetching.result(SECONDS).status == 503
            assert (
                waiting.result().error["message"] == fetching.result().error["message"] == "the server is shutting down"
            )
            *_, last, done, _ = running.result(SECONDS).text.split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["message"] == "the server is shutting down"
            assert done == "data: [DONE]"
        assert server.process.wait(SECONDS) == 0
