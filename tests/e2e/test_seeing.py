"""Log, traces and health of a real server with keys and a collector of traces."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from models.checkpoint import EMBEDDED_NAME
from tests.e2e.collector import Collector
from tests.e2e.sample import IMAGE, MODEL, messages
from tests.e2e.servers import HANG_SECONDS, Server, bearer, running
from tests.keys import ALICE, BOB

CHAT = "/v1/chat/completions"
ASKED = "Words that no one else should read"
LAST_TRACE = f"{1234:032x}"
NEVER = "600000"  # milliseconds


@contextmanager
def client_of(server: Server, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=HANG_SECONDS) as client:
        yield client


def test_openais_client_is_accepted_with_either_key_and_otherwise_refused(keyed: Server) -> None:
    for key in (ALICE, BOB):
        with client_of(keyed, key) as client:
            assert client.chat.completions.create(model=MODEL, messages=messages(), max_tokens=2).usage
    with client_of(keyed, "null") as client, pytest.raises(openai.AuthenticationError) as refusal:
        client.chat.completions.create(model=MODEL, messages=messages())
    assert refusal.value.code == "invalid_api_key"
    assert refusal.value.request_id


def test_an_image_without_a_key_is_refused_before_it_is_sent_with_the_reason(keyed: Server) -> None:
    large = json.dumps({"messages": [{"role": "user", "content": "x" * 30_000_000}]})
    answer = httpx.post(
        keyed.url + CHAT, content=large, headers={"content-type": "application/json"}, timeout=HANG_SECONDS
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_bentoml_itself_serves_only_health_and_routes_without_a_key(keyed: Server) -> None:
    with httpx.Client(base_url=keyed.url, timeout=HANG_SECONDS) as client:
        for path in ("/livez", "/readyz", "/healthz", "/schema.json", "/health", "/ping"):
            assert client.get(path).status_code == 200, path
        for path in ("/docs.json", "/static_content/index.css", "/metrics", "/v1/models"):
            assert client.get(path).status_code == 401, path
        assert "secret" not in client.get("/schema.json").text


def test_health_reports_the_queue_the_model_and_the_memory(keyed: Server) -> None:
    health = httpx.get(f"{keyed.url}/health", headers=bearer(ALICE), timeout=HANG_SECONDS).json()
    assert health["queue"] == {"running": 0, "waiting": 0, "slots": 2, "free_slots": 2}
    assert (health["model"], health["status"]) == (EMBEDDED_NAME, "healthy")
    assert health["revision"]
    assert health["memory_used_mb"] > 0
    assert health["memory_planned_mb"] > 0
    assert health["uptime_seconds"] >= 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_continues_the_clients_with_a_span_for_each_phase(
    keyed: Server, collector: Collector, stream: bool
) -> None:
    trace_id, parent = f"{7 + stream:032x}", f"{11:016x}"
    headers = bearer(ALICE) | {"traceparent": f"00-{trace_id}-{parent}-01"}
    body = {"messages": messages(), "max_tokens": 5, "stream": stream}
    httpx.post(keyed.url + CHAT, json=body, headers=headers, timeout=HANG_SECONDS).raise_for_status()

    *phases, request = collector.trace(trace_id)
    assert (request.name, request.parent_span_id.hex()) == (f"POST {CHAT}", parent)
    assert [phase.name for phase in phases] == ["load", "queue", "encode", "prefill", "decode"]
    assert {phase.parent_span_id for phase in phases} == {request.span_id}
    marks = [request.start_time_unix_nano]
    for phase in phases:
        marks += [phase.start_time_unix_nano, phase.end_time_unix_nano]
    assert marks == sorted(marks)
    assert marks[-1] <= request.end_time_unix_nano
    attributes = {attribute.key: attribute.value for attribute in request.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["gen_ai.usage.output_tokens"].int_value == 5
    assert attributes["paddleocr_vl.client"].string_value == "alice"
    assert attributes["paddleocr_vl.mode"].string_value == "ocr"


def test_a_refused_requests_trace_is_one_span(keyed: Server, collector: Collector) -> None:
    trace_id = f"{99:032x}"
    headers = {"traceparent": f"00-{trace_id}-{1:016x}-01"}
    httpx.post(keyed.url + CHAT, json={}, headers=headers, timeout=HANG_SECONDS)
    (request,) = collector.trace(trace_id)
    assert {a.key: a.value.int_value for a in request.attributes}["http.response.status_code"] == 401


@dataclass
class Ended:
    """An answer and the log of a server that has answered and refused requests, and ended."""

    answer: dict[str, Any]
    log: str


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Ended:
    folder = tmp_path_factory.mktemp("ended")
    file = folder / "keys"
    file.write_text(f"alice:{ALICE}\n")
    settings = {"API_KEYS_FILE": str(file), "LOG_FORMAT": "json", "LOG_LEVEL": "debug", "WORKERS": "1"}
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": NEVER}
    with (
        running(folder, **settings, **traces) as server,
        httpx.Client(base_url=server.url, headers=bearer(ALICE), timeout=HANG_SECONDS) as client,
    ):
        body = {"messages": messages(), "max_tokens": 80}
        body["messages"][0]["content"].append({"type": "text", "text": ASKED})  # type: ignore[index]
        answer = client.post(CHAT, json=body).json()
        client.post(CHAT, json=body | {"stream": True, "no_such_field": ASKED})
        client.post(CHAT, json=body | {"top_k": ASKED})
        client.post(CHAT, content=ASKED)
        client.post(f"{CHAT}?key={ALICE}", json=body, headers=bearer(ALICE + "0"))
        client.get("/health")
        client.get("/v1/models", headers={"traceparent": f"00-{LAST_TRACE}-{1:016x}-01"}).raise_for_status()
    return Ended(answer, server.log.read_text())


@pytest.mark.usefixtures("ended")
def test_the_last_traces_are_sent_before_the_server_ends(collector: Collector) -> None:
    """A worker ends by a signal, at which Python runs nothing."""
    (request,) = collector.trace(LAST_TRACE)
    assert request.name == "GET /v1/models"


def test_the_whole_log_is_json_and_holds_neither_keys_nor_images_nor_texts(ended: Ended) -> None:
    lines = [json.loads(line) for line in ended.log.splitlines()]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    assert [line["status"] for line in lines if line["message"] == f"POST {CHAT}"] == [200, 200, 400, 400, 401]
    assert all(line["request_id"] for line in lines if line["logger"].startswith("api"))
    image = base64.b64encode(IMAGE.read_bytes()).decode()
    read = ended.answer["choices"][0]["message"]["content"]
    assert len(read) > 20
    for secret in (ALICE, ASKED, image[:60], image[-60:], *filter(lambda line: len(line) > 5, read.splitlines())):
        assert secret not in ended.log
