"""API keys, the rate of requests, and the origins whose scripts may ask."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from engine.engine import Engine
from tests.http.keyed import bearer, guarded
from tests.http.scraping import CHAT, scrape
from tests.keys import ALICE, BOB
from tests.payloads import chat

PAGE = "https://app.example.org"


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with guarded(engine) as client:
        yield client


@pytest.mark.parametrize("secret", [ALICE, BOB])
def test_each_key_opens(client: TestClient, secret: str) -> None:
    assert client.post(CHAT, json=chat(), headers=bearer(secret)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("null"),
        bearer(""),
        bearer(ALICE[:-1]),
        bearer(ALICE + "0"),
        bearer("alice:" + ALICE),
        {"Authorization": f"Basic {ALICE}"},
        {"Authorization": ALICE},
        {"x-api-key": ALICE},
    ],
    ids=["none", "null", "empty", "a part", "more", "with its name", "another scheme", "no scheme", "another header"],
)
def test_any_other_key_is_401_in_openais_words_and_is_not_repeated(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post(CHAT, json=chat(), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert error == {
        "message": error["message"],
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    assert ALICE[:-1] not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", CHAT),
        ("GET", "/v1/models"),
        ("GET", "/v1/openapi.json"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
        ("GET", "/metrics"),
        ("GET", "/version"),
        ("GET", "/nowhere"),
        ("GET", "/v1/models/"),
        ("GET", "//v1//models"),
        ("HEAD", "/v1/models"),
        ("OPTIONS", CHAT),
    ],
)
def test_all_but_health_needs_a_key(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 401


def test_health_needs_no_key_and_reports_more_with_one(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200
    without, with_one = client.get("/health"), client.get("/health", headers=bearer(ALICE))
    assert without.status_code == with_one.status_code == 200
    assert without.json().keys() == {"status", "model_loaded", "device", "memory_used_mb"}
    assert with_one.json()["queue"] == {"running": 0, "waiting": 0, "slots": 4, "free_slots": 4}
    assert with_one.json().keys() > without.json().keys()


def test_metrics_can_be_opened(engine: Engine) -> None:
    client = guarded(engine, metrics_open=True)
    assert client.get("/metrics").status_code == 200
    assert client.get("/version").status_code == 401


@pytest.mark.parametrize("headers", [{}, bearer("null")])
def test_without_keys_any_client_may_ask_and_health_reports_everything(engine: Engine, headers: dict[str, str]) -> None:
    client = guarded(engine, keys=None)
    assert client.post(CHAT, json=chat(), headers=headers).status_code == 200
    assert "queue" in client.get("/health", headers=headers).json()


def test_nothing_of_a_body_is_read_without_a_key(engine: Engine) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "headers": [],
        "query_string": b"",
        "client": None,
    }

    async def ask() -> None:
        await guarded(engine).app(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 401


def test_a_refused_request_is_counted_by_the_reason(engine: Engine) -> None:
    client = guarded(engine, metrics_open=True, rate_limit=1)
    client.post(CHAT, json=chat())
    client.post(CHAT, json=chat(), headers=bearer(ALICE))
    client.post(CHAT, json=chat(), headers=bearer(ALICE))
    after = scrape(client)
    for reason in ("unauthorized", "rate_limited"):
        assert after("paddleocr_vl:rejections_total", reason=reason) == 1
    assert after("paddleocr_vl:rejections_total", reason="queue_full") == 0


def test_too_many_requests_of_one_key_are_429_and_another_key_is_unaffected(engine: Engine) -> None:
    client = guarded(engine, rate_limit=2)
    answers = [client.post(CHAT, json=chat(), headers=bearer(ALICE)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"2"}
    assert 29 <= float(answers[0].headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 30
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 30
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert client.post(CHAT, json=chat(), headers=bearer(BOB)).status_code == 200
    assert client.get("/v1/models", headers=bearer(ALICE)).status_code == 200  # a GET costs next to nothing


def test_without_keys_the_rate_belongs_to_the_address(engine: Engine) -> None:
    client = guarded(engine, keys=None, rate_limit=1)
    assert [client.post(CHAT, json=chat()).status_code for _ in range(2)] == [200, 429]
    other = TestClient(client.app, client=("192.0.2.1", 1))
    assert other.post(CHAT, json=chat()).status_code == 200


PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


def test_scripts_of_other_origins_are_answered_only_if_allowed(engine: Engine) -> None:
    closed = guarded(engine)
    assert closed.options(CHAT, headers=PREFLIGHT).status_code == 401
    answer = closed.post(CHAT, json=chat(), headers=bearer(ALICE) | {"Origin": PAGE})
    assert "access-control-allow-origin" not in answer.headers


def test_an_allowed_origins_preflight_needs_no_key_and_its_errors_can_be_read(engine: Engine) -> None:
    client = guarded(engine, cors_origins=[PAGE])
    preflight = client.options(CHAT, headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    refused = client.post(CHAT, json=chat(), headers={"Origin": PAGE})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    other = client.options(CHAT, headers=PREFLIGHT | {"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in other.headers
