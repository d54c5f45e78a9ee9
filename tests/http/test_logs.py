"""The line that the log has on each request, as text and as JSON."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.keys import Keys
from api.logs import LogFormat, formatter
from api.serving import Serving
from engine.engine import Engine
from tests.http.keyed import bearer, guarded
from tests.http.scraping import CHAT
from tests.http.sockets import endless_engine, served, wait_for
from tests.keys import ALICE
from tests.payloads import chat, image_part, user
from tests.prompts import noise_image

ASKED = "text that no one else should read"


class Lines(logging.Handler):
    """Lines of a log in this format."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self.setFormatter(formatter(log_format))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[Lines]:
    handler = Lines(getattr(request, "param", "json"))
    logger = logging.getLogger("api")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def client(engine: Engine) -> TestClient:
    return guarded(engine)


@pytest.fixture(scope="module")
def slow_engine(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with endless_engine(checkpoint, tmp_path_factory.mktemp("slow") / "checkpoint", slots=1) as engine:
        yield engine


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def only(log: Lines) -> dict[str, Any]:
    (line,) = log.lines
    return dict(json.loads(line))


def test_a_chat_is_one_line_with_all_that_it_cost(client: TestClient, log: Lines) -> None:
    asked = chat(messages=user(image_part(noise_image(56, 84)), text(ASKED)), user="u-1", metadata={"job": "7"})
    answer = client.post(CHAT, json=asked, headers=bearer(ALICE) | {"x-request-id": "mine"})
    usage, choice = answer.json()["usage"], answer.json()["choices"][0]
    line = only(log)
    assert (
        line.items()
        >= {
            "level": "info",
            "message": f"POST {CHAT}",
            "request_id": "mine",
            "client": "alice",
            "status": 200,
            "id": answer.json()["id"],
            "mode": choice["ocr"]["mode"],
            "stream": False,
            "pictures": 1,
            "prompt_tokens": usage["prompt_tokens"],
            "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
            "completion_tokens": usage["completion_tokens"],
            "finish_reasons": [choice["finish_reason"]],
            "user": "u-1",
            "metadata": {"job": "7"},
        }.items()
    )
    assert 0 <= line["load_seconds"] + line["queue_seconds"] <= line["first_token_seconds"] <= line["seconds"]


def test_a_streams_line_comes_at_its_end(client: TestClient, log: Lines) -> None:
    with client.stream("POST", CHAT, json=chat(stream=True, n=2), headers=bearer(ALICE)) as answer:
        for _ in answer.iter_lines():
            pass
    line = only(log)
    assert (line["stream"], line["status"], line["finish_reasons"]) == (True, 200, ["length", "length"])
    assert line["completion_tokens"] == 6


@pytest.mark.parametrize("log", ["json", "text"], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_neither_texts_nor_images_nor_keys_are_in_it(client: TestClient, log: Lines, stream: bool) -> None:
    part = image_part(noise_image(56, 84))
    answer = client.post(CHAT, json=chat(messages=user(part, text(ASKED)), stream=stream), headers=bearer(ALICE))
    assert answer.status_code == 200
    client.post(CHAT, json=chat(messages=user(part, text(ASKED))), headers=bearer(ALICE + "0"))
    client.post(CHAT, json=chat(messages=user(part, text(ASKED)), top_k=ASKED), headers=bearer(ALICE))
    client.get(f"/v1/models?key={ALICE}", headers=bearer(ALICE))
    written = "\n".join(log.lines)
    assert written.count("status") == 4
    base64 = part["image_url"]["url"].partition("base64,")[2]
    for secret in (ASKED, ALICE, base64[:40], base64[-40:]):
        assert secret not in written


def test_texts_are_logged_if_asked_and_are_cut(engine: Engine, log: Lines) -> None:
    client = guarded(engine, keys=None)
    serving: Serving = client.app.state.serving  # type: ignore[attr-defined]
    client.app.state.serving = Serving(engine=engine, model=serving.model, limits=serving.limits, log_texts=True)  # type: ignore[attr-defined]
    part = image_part(noise_image(56, 84))
    answer = client.post(CHAT, json=chat(messages=user(part, text(ASKED + "!" * 3000)))).json()
    line = only(log)
    assert line["prompt"] == ASKED + "!" * (2000 - len(ASKED)) + f"... ({len(ASKED) + 3000} characters)"
    assert line["answers"] == [answer["choices"][0]["message"]["content"]]
    assert "base64" not in log.lines[0]


@pytest.mark.parametrize(("stream", "status"), [(True, 200), (False, 499)])
def test_a_client_that_left_is_logged_as_gone(slow_engine: Engine, log: Lines, stream: bool, status: int) -> None:
    body = json.dumps(chat(stream=stream, max_tokens=None, repetition_detection=False))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with served(slow_engine) as url:
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as client:
            client.sendall(f"{head}\r\n\r\n{body}".encode())
            wait_for(slow_engine, running=1)
        wait_for(slow_engine, running=0)
    line = only(log)
    assert (line["status"], line["finish_reasons"]) == (status, ["abort"])


def test_a_refused_request_has_a_line_too(client: TestClient, log: Lines) -> None:
    answer = client.post(CHAT, json=chat())
    line = only(log)
    assert (line["status"], line["client"]) == (401, "testclient")
    assert line["request_id"] == answer.headers["x-request-id"]


def test_every_line_written_for_a_request_has_its_id(engine: Engine, log: Lines) -> None:
    client = guarded(engine, keys=None)
    client.post(CHAT, json=chat(no_such_field=1), headers={"x-request-id": "mine"})
    assert [json.loads(line)["request_id"] for line in log.lines] == ["mine", "mine"]


def test_an_unexpected_error_is_in_the_log_and_its_answer_under_one_id(engine: Engine, log: Lines) -> None:
    client = guarded(engine, keys=None)
    client.app.state.serving = None  # type: ignore[attr-defined]
    answer = client.get("/v1/models", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    request, failure = map(json.loads, log.lines)
    assert (request["status"], request["request_id"], failure["request_id"]) == (500, "mine", "mine")
    assert "AttributeError" in failure["error"]


def test_health_and_metrics_are_not_worth_a_line(engine: Engine, log: Lines) -> None:
    client = guarded(engine, keys=None)
    for path in ("/health", "/ping", "/metrics"):
        assert client.get(path).status_code == 200
    assert log.lines == []


@pytest.mark.parametrize("log", ["text", "json"], indirect=True)
def test_no_client_can_write_a_line_of_its_own(engine: Engine, log: Lines) -> None:
    forged = "2026-01-01T00:00:00+0000 [INFO] all is well"
    client = guarded(engine, keys=Keys(ALICE))
    client.post(
        CHAT, json=chat(user=f"x\n{forged}") | {f"x\n{forged}": 1}, headers=bearer(ALICE) | {"x-request-id": "a b"}
    )
    client.get(f"/v1/models/%0A{forged}")
    assert len(log.lines) == 3
    assert not any("\n" in line for line in log.lines)


@pytest.mark.parametrize("log", ["text"], indirect=True)
def test_as_text_the_facts_follow_the_message(client: TestClient, log: Lines) -> None:
    client.post(CHAT, json=chat(metadata={"a": "b c"}), headers=bearer(ALICE) | {"x-request-id": "mine"})
    (line,) = log.lines
    assert f"[INFO] [] POST {CHAT} request_id=mine status=200 seconds=" in line
    assert " client=alice id=chatcmpl-" in line
    assert ' finish_reasons=["length"] metadata={"a":"b c"}' in line
