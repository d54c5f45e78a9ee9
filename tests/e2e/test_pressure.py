"""A real server with few slots under many clients, impatient ones and stalled ones, and SIGTERM meanwhile."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.sample import MODEL, messages
from tests.e2e.servers import HANG_SECONDS, Server, bearer, half_a_request, running, wait_until
from tests.http.pressure import SMALL, Received, SilentHost, send
from tests.http.scraping import Scrape
from tests.keys import ALICE, BOB

# More than ten seconds, if nothing ends it. At temperature 0 it would repeat itself, and guesses would halve that.
LONG: Any = {"ignore_eos": True, "max_tokens": 8000, "temperature": 1.0}


def metrics(server: Server) -> Scrape:
    return Scrape(httpx.get(f"{server.url}/metrics", headers=bearer(ALICE), timeout=HANG_SECONDS).text)


def test_a_clients_one_request_is_not_queued_after_all_of_another_clients(keyed: Server) -> None:
    asked: Any = {"model": MODEL, "messages": messages(), "extra_body": {"ignore_eos": True, "max_tokens": 300}}

    async def run() -> int:
        def client(key: str) -> AsyncOpenAI:
            return AsyncOpenAI(base_url=f"{keyed.url}/v1", api_key=key, max_retries=0, timeout=HANG_SECONDS)

        async with client(ALICE) as alice, client(BOB) as bob:
            crowd = [asyncio.create_task(alice.chat.completions.create(**asked)) for _ in range(30)]
            while (await asyncio.to_thread(metrics, keyed))("vllm:num_requests_waiting") < 25:
                assert not all(task.done() for task in crowd)
            await bob.chat.completions.create(**asked)
            left = sum(not task.done() for task in crowd)
            for task in crowd:
                task.cancel()
            return left

    assert asyncio.run(run()) > 15
    wait_until(lambda: nothing_is_left(keyed))


def nothing_is_left(server: Server) -> bool:
    now = metrics(server)
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting", "paddleocr_vl:waiting_picture_bytes")
    return all(now(name) == 0 for name in (*names, "vllm:kv_cache_usage_perc"))


def test_openais_client_gets_504_at_its_deadline_and_does_not_ask_again(keyed: Server) -> None:
    with OpenAI(base_url=f"{keyed.url}/v1", api_key=ALICE, max_retries=2, timeout=HANG_SECONDS) as client:
        create = client.with_options(default_headers={"x-request-timeout": "0.5"}).chat.completions.create
        with pytest.raises(openai.InternalServerError, match=r"within the 0.5 s") as refused:
            create(model=MODEL, messages=messages(), extra_body=LONG)
        assert (refused.value.status_code, refused.value.type) == (504, "timeout_error")
    assert metrics(keyed)("paddleocr_vl:rejections_total", reason="deadline") == 1
    wait_until(lambda: nothing_is_left(keyed))


def test_a_client_that_gives_up_while_an_image_is_fetched_ends_the_fetch(keyed: Server) -> None:
    with SilentHost() as host:
        client = send(keyed.url, host.image(), bearer(ALICE))
        with host.asked() as fetching:
            fetching.settimeout(HANG_SECONDS)
            assert fetching.recv(1000)
            client.close()
            assert fetching.recv(1000) == b""
    wait_until(lambda: nothing_is_left(keyed))


def test_a_client_that_does_not_read_delays_no_other(keyed: Server) -> None:
    flood = {"messages": messages(), "stream": True, "logprobs": True, "top_logprobs": 20, **LONG}
    with send(keyed.url, flood, bearer(ALICE), SMALL):
        wait_until(lambda: metrics(keyed)("vllm:num_requests_running") == 1)
        words = {"messages": messages(), "max_tokens": 50, "ignore_eos": True}
        assert Received(send(keyed.url, words, bearer(ALICE))).status == 200
        assert metrics(keyed)("vllm:num_requests_running") == 1
    wait_until(lambda: nothing_is_left(keyed))


def test_sigterm_ends_running_waiting_and_fetching_requests_each_with_an_error(tmp_path: Path) -> None:
    """Bug: BentoML waited for running requests without a limit. Under systemd, workers get the signal twice."""
    drain = 5  # long enough for a new request to arrive meanwhile, on a busy machine too
    with (
        running(tmp_path, SLOTS="1", DRAIN_SECONDS=str(drain), ALLOWED_HOSTS="127.0.0.1") as server,
        half_a_request(server),
        SilentHost() as host,
        ThreadPoolExecutor() as threads,
    ):
        long = {"messages": messages(), **LONG}
        streamed = threads.submit(Received, send(server.url, long | {"stream": True}))
        wait_until(lambda: metrics(server)("vllm:num_requests_running") == 1)
        waiting = threads.submit(Received, send(server.url, long))
        fetching = threads.submit(Received, send(server.url, host.image()))
        with host.asked():
            wait_until(lambda: metrics(server)("vllm:num_requests_waiting") == 2)
            workers = psutil.Process(server.process.pid).children()
            signalled = time.monotonic()
            for process in [*workers, server.process]:
                process.terminate()
            wait_until(lambda: httpx.get(f"{server.url}/health", timeout=HANG_SECONDS).status_code != 200)
            new = Received(send(server.url, long))
            assert (new.status, new.headers["retry-after"]) == (503, "5")
            assert waiting.result(HANG_SECONDS).status == fetching.result(HANG_SECONDS).status == 503
            assert (
                waiting.result().error["message"] == fetching.result().error["message"] == "the server is shutting down"
            )
            *_, last, done, _ = streamed.result(HANG_SECONDS).text.split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["message"] == "the server is shutting down"
            assert done == "data: [DONE]"
        assert time.monotonic() - signalled >= drain
        assert server.process.wait(HANG_SECONDS) == 0
        assert not any(worker.is_running() for worker in workers)
