"""GET /metrics of a real server with two workers that each serve one request at a time."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests.e2e.sample import IMAGE
from tests.e2e.servers import HANG_SECONDS, Server, running, wait_until
from tests.http.scraping import CHAT, Scrape, scrape
from tests.payloads import image_part

TEXT_ONLY = {"mode": "raw", "messages": [{"role": "user", "content": "on and on"}], "max_tokens": 8000}
MAX_TRIES = 100  # to meet a worker that is free


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server started by the launcher, whose options are settings."""
    options = ("--workers", "2", "--log-level=warning")
    folder = tmp_path_factory.mktemp("metrics")
    with running(folder, *options, command=["scripts/serve"], SLOTS="1", MAX_WAITING="0") as server:
        yield server


@pytest.fixture
def client(two_workers: Server) -> Iterator[httpx.Client]:
    """A client whose one connection stays with one worker; each worker answers /metrics for both."""
    with httpx.Client(base_url=two_workers.url, timeout=HANG_SECONDS, limits=httpx.Limits(max_connections=1)) as client:
        wait_until(lambda: client.get("/health").status_code == 200)
        yield client


def about_a_line() -> dict[str, Any]:
    with Image.open(IMAGE) as page:
        part = image_part(page.crop((0, 0, page.width, 80)))
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "OCR:"}]}]}


def only_x(client: httpx.Client) -> dict[str, Any]:
    """Fields that make every token an `x`."""
    token = client.post("/tokenize", json={"prompt": "x"}).json()["tokens"][-1]
    return {"logit_bias": {token: 100}}


def workers_of(server: Server) -> list[psutil.Process]:
    return [child for child in psutil.Process(server.process.pid).children() if "--worker-id" in child.cmdline()]


def test_the_launcher_takes_the_settings_as_options(two_workers: Server) -> None:
    assert len(workers_of(two_workers)) == 2
    log = two_workers.log.read_text()
    assert "[WARNING]" in log  # about the embedded checkpoint
    assert "[INFO]" not in log


def test_a_whole_and_a_streamed_answer_about_one_image_are_counted(client: httpx.Client) -> None:
    before = scrape(client)
    whole = client.post(CHAT, json=about_a_line()).json()
    between = scrape(client)
    stream = client.post(CHAT, json=about_a_line() | {"stream": True, "stream_options": {"include_usage": True}})
    after = scrape(client)
    streamed = json.loads(stream.text.split("\n\n")[-3].removeprefix("data: "))  # before [DONE]

    def more(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    usages = [whole["usage"], streamed["usage"]]
    answer_tokens = sum(usage["completion_tokens"] for usage in usages)
    assert more("vllm:prompt_tokens_total") == sum(usage["prompt_tokens"] for usage in usages)
    assert more("vllm:generation_tokens_total") == answer_tokens
    assert more("vllm:inter_token_latency_seconds_count") == answer_tokens - 2
    assert more("vllm:request_success_total", finished_reason="stop") == more("vllm:request_success_total") == 2
    assert more("vllm:time_to_first_token_seconds_count") == 2
    assert more("vllm:e2e_request_latency_seconds_count") == 2
    assert more("vllm:request_queue_time_seconds_count") == 2
    assert more("paddleocr_vl:requests_total", mode="ocr") == 2
    assert more("paddleocr_vl:picture_cache_queries_total") == 2
    assert more("paddleocr_vl:picture_cache_hits_total") == 1
    for name in ("paddleocr_vl:picture_pixels_total", "paddleocr_vl:vision_seconds_total"):
        assert after(name) == between(name) > before(name)  # the second question costs no vision
    assert after("vllm:num_requests_running") == after("vllm:kv_cache_usage_perc") == 0
    assert {sample.labels["model_name"] for sample in after.samples if ":" in sample.name} == {"paddleocr-vl-tiny"}


def test_a_loop_that_is_cut_counts_once(client: httpx.Client) -> None:
    before = scrape(client)
    body = client.post(CHAT, json=TEXT_ONLY | only_x(client)).json()
    assert body["choices"][0]["stop_reason"] == "repetition"
    after = scrape(client)
    for name in ("paddleocr_vl:repetition_cuts_total", "vllm:request_success_total"):
        assert after(name) - before(name) == 1


def test_unknown_paths_add_no_series(client: httpx.Client) -> None:
    client.get("/unknown/-1")
    before = client.get("/metrics").text
    for i in range(300):
        assert client.get(f"/unknown/{i}").status_code == 404
    after = client.get("/metrics").text
    assert "unknown/" not in after
    assert len(after.splitlines()) == len(before.splitlines())
    unknown = {"handler": "/{path:path}", "status": "4xx"}
    assert Scrape(after)("http_requests_total", **unknown) - Scrape(before)("http_requests_total", **unknown) == 300


def test_busy_workers_are_summed_a_full_one_turns_away_and_a_killed_one_is_forgotten(
    two_workers: Server, client: httpx.Client
) -> None:
    endless = TEXT_ONLY | only_x(client) | {"ignore_eos": True, "stream": True, "temperature": 1.0}
    client.close()
    with ExitStack() as stack:
        refused = 0
        running: list[Iterator[str]] = []
        before = scrape_anew(two_workers)
        for _ in range(MAX_TRIES):
            client = stack.enter_context(httpx.Client(base_url=two_workers.url, timeout=HANG_SECONDS))
            answer = stack.enter_context(client.stream("POST", CHAT, json=endless))
            if answer.status_code == 200:
                running.append(answer.iter_lines())
                while '"content":"x' not in next(running[-1]):
                    pass  # the role comes before the engine begins
            else:
                assert answer.status_code == 429
                refused += 1
            if len(running) == 2 and refused:
                break
        busy = scrape_anew(two_workers)
        assert busy("vllm:num_requests_running") == 2
        assert busy("vllm:kv_cache_usage_perc") == 1
        assert busy("paddleocr_vl:rejections_total", reason="queue_full") == refused
        assert busy("vllm:request_success_total") == before("vllm:request_success_total")

        worker, *_ = workers_of(two_workers)
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
        after = scrape_anew(two_workers)
        assert after("vllm:num_requests_running") == 1
        assert after("vllm:prompt_tokens_total") == busy("vllm:prompt_tokens_total")

    def aborted() -> bool:
        return scrape_anew(two_workers)("vllm:request_success_total", finished_reason="abort") == 1

    wait_until(aborted)
    assert scrape_anew(two_workers)("vllm:num_requests_running") == 0


def scrape_anew(server: Server) -> Scrape:
    with httpx.Client(base_url=server.url, timeout=HANG_SECONDS) as client:
        return scrape(client)
