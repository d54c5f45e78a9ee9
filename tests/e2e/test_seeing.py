"""What a real server tells of itself, with keys, JSON logs and a collector of traces: its log, traces and health."""

import base64
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from models.store import EMBEDDED_NAME
from tests.e2e.conftest import Server, running, start, stop
from tests.e2e.test_clients import MODEL, PICTURE, messages

KEY, OTHER_KEY = "a-secret-of-alice-0123456789", "a-secret-of-bob-0123456789"
SECONDS = 30  # for what takes one
CHAT = "/v1/chat/completions"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: queue.Queue[Any] = queue.Queue()
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.end_headers()
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            spans.put(span)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["Collector"]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        yield self
        self._server.shutdown()
        self._server.server_close()

    def trace(self, trace_id: str) -> list[Any]:
        """The spans of a trace, once its request's is there; children come before."""
        found: list[Any] = []
        while not found or found[-1].kind != found[-1].SPAN_KIND_SERVER:
            span = self.spans.get(timeout=SECONDS)
            if span.trace_id.hex() == trace_id:
                found.append(span)
        return found


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector().running() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    settings = {
        "API_KEYS": f"alice:{KEY},bob:{OTHER_KEY}",
        "LOG_FORMAT": "json",
        "SLOTS": "2",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds
    }
    with running(tmp_path_factory.mktemp("seeing"), **settings) as server:
        yield server


@contextmanager
def client_of(server: Server, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60) as client:
        yield client


def authorization(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_openais_client_is_let_in_with_either_key_and_else_told_so(server: Server) -> None:
    for key in (KEY, OTHER_KEY):
        with client_of(server, key) as client:
            assert client.chat.completions.create(model=MODEL, messages=messages(), max_tokens=2).usage
    with client_of(server, "null") as client, pytest.raises(openai.AuthenticationError) as refusal:
        client.chat.completions.create(model=MODEL, messages=messages())
    assert refusal.value.code == "invalid_api_key"
    assert refusal.value.request_id


def test_a_picture_without_a_key_is_refused_before_it_is_sent_and_the_client_hears_why(server: Server) -> None:
    large = json.dumps({"messages": [{"role": "user", "content": "x" * 30_000_000}]})
    answer = httpx.post(server.url + CHAT, content=large, headers={"content-type": "application/json"}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_what_bentoml_itself_serves_without_a_key_is_about_health_and_routes(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        for path in ("/livez", "/readyz", "/healthz", "/schema.json", "/health", "/ping"):
            assert client.get(path).status_code == 200, path
        for path in ("/", "/docs.json", "/static_content/index.css", "/metrics", "/v1/models"):
            assert client.get(path).status_code == 401, path
        assert "secret" not in client.get("/schema.json").text


def test_health_tells_of_the_queue_the_model_and_the_memory(server: Server) -> None:
    health = httpx.get(f"{server.url}/health", headers=authorization(KEY)).json()
    assert health["queue"] == {"running": 0, "waiting": 0, "slots": 2, "free_slots": 2}
    assert (health["model"], health["status"]) == (EMBEDDED_NAME, "healthy")
    assert health["revision"]
    assert health["memory_used_mb"] > 0
    assert health["memory_planned_mb"] > 0
    assert health["uptime_seconds"] >= 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_goes_on_from_the_clients_with_a_span_for_all_that_took_time(
    server: Server, collector: Collector, stream: bool
) -> None:
    trace_id, parent = f"{7 + stream:032x}", f"{11:016x}"
    headers = authorization(KEY) | {"traceparent": f"00-{trace_id}-{parent}-01"}
    body = {"messages": messages(), "max_tokens": 5, "stream": stream}
    httpx.post(server.url + CHAT, json=body, headers=headers, timeout=60).raise_for_status()

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


def test_a_refused_requests_trace_is_one_span(server: Server, collector: Collector) -> None:
    trace_id = f"{99:032x}"
    httpx.post(server.url + CHAT, json={}, headers={"traceparent": f"00-{trace_id}-{1:016x}-01"})
    (request,) = collector.trace(trace_id)
    assert {a.key: a.value.int_value for a in request.attributes}["http.response.status_code"] == 401


def test_the_last_traces_are_sent_before_the_server_ends(tmp_path: Path, collector: Collector) -> None:
    """A worker ends by a signal, at which Python runs nothing."""
    waiting = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    server = start(tmp_path, **waiting)
    try:
        server.wait_until_ready()
        trace_id = f"{1234:032x}"
        httpx.get(f"{server.url}/v1/models", headers={"traceparent": f"00-{trace_id}-{1:016x}-01"}).raise_for_status()
    finally:
        assert stop(server) == 0
    (request,) = collector.trace(trace_id)
    assert request.name == "GET /v1/models"


def test_the_whole_log_is_json_and_holds_neither_keys_nor_pictures_nor_texts(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice:{KEY}\n")
    asked = "Words that nobody else should read"
    server = start(tmp_path, API_KEYS_FILE=str(file), LOG_FORMAT="json", LOG_LEVEL="debug", WORKERS="1")
    try:
        server.wait_until_ready()
        body = {"messages": messages(), "max_tokens": 200}
        body["messages"][0]["content"].append({"type": "text", "text": asked})  # type: ignore[index]
        with httpx.Client(base_url=server.url, headers=authorization(KEY), timeout=60) as client:
            answer = client.post(CHAT, json=body)
            client.post(CHAT, json=body | {"stream": True, "no_such_field": asked})
            client.post(CHAT, json=body | {"top_k": asked})
            client.post(CHAT, content=asked)
            client.post(f"{CHAT}?key={KEY}", json=body, headers=authorization(KEY + "0"))
            client.get("/health")
    finally:
        assert stop(server) == 0
    log = server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    assert [line["status"] for line in lines if line["message"] == f"POST {CHAT}"] == [200, 200, 400, 400, 401]
    assert all(line["request_id"] for line in lines if line["logger"].startswith("api"))
    picture = base64.b64encode(PICTURE.read_bytes()).decode()
    read = answer.json()["choices"][0]["message"]["content"]
    assert len(read) > 20
    for secret in (KEY, asked, picture[:60], picture[-60:], *filter(lambda line: len(line) > 5, read.splitlines())):
        assert secret not in log
