"""Three real servers behind a real nginx that runs deploy/nginx.conf."""

import base64
import re
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
import yaml
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.site import DEPLOY, Site, compose_services
from tests.e2e.sample import MODEL, TEXT, messages
from tests.e2e.servers import HANG_SECONDS, Server, wait_until

REQUESTS, AT_ONCE, BEFORE_THE_KILL = 240, 12, 12  # the one that is killed runs some, however fast answers are
BUFFER = 4096  # bytes that nginx collects before it passes them on, if it buffers
METRIC = re.compile(r"\b(?:vllm|paddleocr_vl):\w+")
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}


def test_a_stream_passes_nginx_token_by_token(site: Site) -> None:
    """With nginx's defaults, HTTP/1.0 and buffering, the client would get 4 KB at a time."""
    body: dict[str, Any] = {"model": MODEL, "messages": messages(), "stream": True, "max_tokens": 100}
    with httpx.stream(
        "POST", f"{site.url}/v1/chat/completions", json=body | {"ignore_eos": True}, timeout=HANG_SECONDS
    ) as answer:
        pieces = list(answer.iter_raw())
    whole = b"".join(pieces)
    assert whole.endswith(b"data: [DONE]\n\n")
    assert len(whole) > 4 * BUFFER
    assert len(pieces) > 2 * len(whole) / BUFFER  # a busy client gets several tokens at once
    assert b"[DONE]" not in pieces[0]


def test_a_body_as_large_as_the_servers_own_limit_passes_nginx(site: Site) -> None:
    """By default nginx accepts one megabyte. Here it is the server that answers."""
    uri = f"data:image/png;base64,{base64.b64encode(bytes(21 * 2**20)).decode()}"
    content = [{"type": "image_url", "image_url": {"url": uri}}]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
    answer = httpx.post(f"{site.url}/v1/chat/completions", json=body, timeout=HANG_SECONDS)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "the data is over 20971520 bytes"


def test_the_tls_lines_serve_https(site: Site) -> None:
    trusted = ssl.create_default_context(cafile=site.certificate)
    assert httpx.get(f"https://127.0.0.1:{site.tls_port}/health", verify=trusted).json()["status"] == "healthy"


def test_metrics_are_not_public(site: Site, replicas: list[Server]) -> None:
    assert httpx.get(f"{site.url}/metrics").status_code == 404
    assert httpx.get(f"{replicas[0].url}/metrics").status_code == 200


def test_every_metric_of_the_dashboard_and_of_the_autoscaler_is_served(replicas: list[Server]) -> None:
    queried = set(METRIC.findall((DEPLOY / "grafana.json").read_text() + (DEPLOY / "keda.yaml").read_text()))
    families = list(text_string_to_metric_families(httpx.get(f"{replicas[0].url}/metrics").text))
    served = {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, [""])}
    assert {"vllm:num_requests_waiting", "paddleocr_vl:requests_total"} <= queried
    assert queried <= served


def test_the_health_checks_and_probes_pass_on_a_ready_server(replicas: list[Server]) -> None:
    port = replicas[0].url.rpartition(":")[2]
    services = compose_services()
    for name in ("cpu", "gpu"):
        kind, program, *arguments = services[name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        for checked, status in (port, 0), ("1", 1):  # nothing listens on port 1
            line = [sys.executable, *(argument.replace("8001", checked) for argument in arguments)]
            assert subprocess.run(line, stderr=subprocess.DEVNULL).returncode == status
    deployment = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in "startupProbe", "readinessProbe", "livenessProbe":
        assert httpx.get(replicas[0].url + container[probe]["httpGet"]["path"]).status_code == 200


def running_requests(server: Server) -> float:
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    (running,) = (family for family in families if family.name == "vllm:num_requests_running")
    return sum(sample.value for sample in running.samples)


def test_a_replica_killed_under_load_costs_no_request(
    replicas: list[Server], site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = psutil.Process(replicas[-1].process.pid)
    finished = threading.Semaphore(0)
    with OpenAI(base_url=f"{site.url}/v1", api_key="none", timeout=HANG_SECONDS) as client:  # with its usual retries

        def ask(_: int) -> tuple[str | None, int]:
            """The text, and the number of the client's retries."""
            answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages())
            finished.release()
            return answer.parse().choices[0].message.content, answer.retries_taken

        began = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = pool.map(ask, range(REQUESTS))
            for _ in range(BEFORE_THE_KILL):
                assert finished.acquire(timeout=HANG_SECONDS)
            wait_until(lambda: running_requests(replicas[-1]) > 0)
            for process in [victim, *victim.children(recursive=True)]:
                process.kill()
            texts, retries = zip(*answers, strict=True)
        seconds = time.monotonic() - began
    lost = sum(text != TEXT for text in texts)
    passed_on = site.passed_on()
    with capsys.disabled():
        sys.stdout.write(
            f"\nreplicas=3 killed=1 requests={REQUESTS} passed_on={passed_on} client_retries={sum(retries)} "
            f"lost={lost} seconds={seconds:.1f}\n"
        )
    assert passed_on + sum(retries) > 0  # some were running on the killed server
    assert lost == 0
    assert httpx.get(f"{site.url}/health").status_code == 200
