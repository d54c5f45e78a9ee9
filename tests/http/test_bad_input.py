"""Invalid requests: each is refused in OpenAI's envelope, in time, and the next request is answered."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.serving import Serving
from engine.engine import Engine
from tests.http.asking import text
from tests.http.served import LIMITS, MAX_REQUEST_BYTES, MODEL, client_of
from tests.payloads import chat

JSON = {"Content-Type": "application/json"}
MEGABYTES = 3 * 2**20  # text in one field: the tests' server accepts 4 MiB
NOT_LONG = 5  # seconds; each of these took from 8 to 60, or would have


@pytest.fixture(autouse=True)
def _answers_afterwards(client: TestClient) -> Iterator[None]:
    yield
    assert client.post("/v1/chat/completions", json=chat()).status_code == 200


def body_with(name: str, written: str) -> bytes:
    """A valid request except for one field, whose value is inserted verbatim."""
    return (json.dumps(chat())[:-1] + f', "{name}": {written}}}').encode("utf-8", "surrogatepass")


def answer(client: TestClient, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Any:
    began = time.monotonic()
    answer = client.post(path, content=body, headers=JSON | headers)
    assert time.monotonic() - began < NOT_LONG
    assert len(answer.content) < 3000, "an error does not send back what came"
    return answer


def error_of(answer: Any, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


def nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + "1" + closing * depth


# Depth


@pytest.mark.parametrize("depth", [300, 900, 5_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"items":', "}")])
@pytest.mark.parametrize("field", ["messages", "tools", "temperature", "metadata", "guided_json", "response_format"])
def test_deeply_nested_json_is_refused(client: TestClient, field: str, opening: str, closing: str, depth: int) -> None:
    error_of(answer(client, body_with(field, nested(depth, opening, closing))))


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, '{"messages":' + '[{"a":' * 50_000])
def test_brackets_that_never_close_are_refused(client: TestClient, body: str) -> None:
    assert "nested too deeply" in error_of(answer(client, body.encode()))["message"]


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("guided_json", nested(900, '{"items":', "}")),
        ("guided_regex", nested(900, "(", ")")),
        ("guided_grammar", "start: " + nested(900, "(", ")")),
    ],
)
def test_a_deeply_nested_structure_is_refused(client: TestClient, field: str, written: str) -> None:
    assert error_of(answer(client, body_with(field, json.dumps(written))))["param"] == field


@pytest.mark.parametrize("stream", [False, True])
def test_a_structure_that_turns_out_too_complex_is_the_requests_fault(client: TestClient, stream: bool) -> None:
    """The compiler accepted it and gave up some tokens later, which was a 500."""
    asked = chat(guided_regex="(a|aa)+" * 1000, max_tokens=50, stream=stream)
    response = answer(client, json.dumps(asked).encode())
    error = json.loads(response.text.split("data: ")[-2])["error"] if stream else error_of(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", "guided_regex")


# Size


LONG = "a" * MEGABYTES
LONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"model": LONG}, "model"),
    ({"messages": [{"role": LONG, "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": LONG}]}, "messages"),
    ({"messages": [{"role": "user", "content": " " * MEGABYTES}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": LONG}]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": "x"}] * 30_000}, "messages"),
    ({"guided_regex": LONG}, "guided_regex"),
    ({"guided_grammar": LONG}, "guided_grammar"),
    ({"guided_json": LONG}, "guided_json"),
    ({"guided_choice": [LONG]}, "guided_choice"),
    ({"guided_choice": [str(number) for number in range(100_000)]}, "guided_choice"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": [LONG]}}}}, "response_format"),
    ({"mode": LONG}, "mode"),
    ({"table_format": LONG}, "table_format"),
]


@pytest.mark.parametrize(("fields", "param"), LONG_FIELDS, ids=[str(number) for number in range(len(LONG_FIELDS))])
def test_a_field_of_megabytes_is_refused_at_once(client: TestClient, fields: dict[str, Any], param: str) -> None:
    """Ten of them took a tokenizer a minute, and grammars ten seconds; an unknown model's name came back whole."""
    response = answer(client, json.dumps(chat(**fields)).encode())
    assert error_of(response, 404 if param == "model" else 400)["param"] == param


@pytest.mark.parametrize("fields", [{"user": LONG}, {"metadata": {LONG: "x"}}, {"stop": LONG}, {LONG: 1}])
def test_a_field_of_megabytes_that_costs_nothing_is_accepted(client: TestClient, fields: dict[str, Any]) -> None:
    assert answer(client, json.dumps(chat(**fields)).encode()).status_code == 200


def test_names_of_unknown_fields_are_cut_short(engine: Engine) -> None:
    """A thousand names of megabytes each were remembered and logged forever."""
    client = client_of(engine)
    assert answer(client, json.dumps(chat(**{"a" * 10**6: 1})).encode()).status_code == 200
    reported = client.app.state.serving.reported  # type: ignore[attr-defined]
    assert reported == {"a" * 100}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(chat(**{str(number): 0 for number in range(200_000)})),
        '{"messages": [' + "[]," * 200_000,
        '{"messages": [' + "{}," * 200_000,
        json.dumps({"messages": "," * 310_000}),
    ],
)
def test_json_of_very_many_parts_is_413_before_it_is_read(engine: Engine, body: str) -> None:
    """A million blocked the event loop, and so every other request, for five seconds."""
    response = answer(client_of(engine), body.encode())
    if response.status_code == 200:  # 200,000 keys have but as many commas
        assert body.count(",") + body.count("{") + body.count("[") <= 300_000
    else:
        assert "over 300000 parts" in error_of(response, 413)["message"]


def test_a_body_over_the_limit_is_413_by_its_header_and_by_its_bytes(client: TestClient) -> None:
    assert error_of(answer(client, b"x" * (MAX_REQUEST_BYTES + 1)), 413)

    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_REQUEST_BYTES // 2**20 + 1):
            yield bytes(2**20)

    response = client.post("/v1/chat/completions", content=pieces(), headers=JSON)  # without a length
    assert error_of(response, 413)


# Numbers

NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "-" + "9" * 4000, "9" * 5000]
NUMERIC = "temperature top_p min_p presence_penalty frequency_penalty repetition_penalty n seed top_logprobs".split()


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: f"{number[:9]}x{len(number)}")
@pytest.mark.parametrize("field", NUMERIC)
def test_a_number_that_is_not_finite_or_far_too_big_is_refused(client: TestClient, field: str, number: str) -> None:
    param = error_of(answer(client, body_with(field, number)))["param"]
    assert param == (None if len(number) == 5000 else field)  # Python reads no integers of that length


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: f"{number[:9]}x{len(number)}")
def test_such_numbers_are_refused_at_any_depth(client: TestClient, number: str) -> None:
    for field, written in {
        "logit_bias": f'{{"1": {number}}}',
        "mm_processor_kwargs": f'{{"max_pixels": {number}}}',
        "guided_json": f'{{"type": "number", "minimum": {number}}}',
        "guided_choice": f"[{number}]",
    }.items():
        error_of(answer(client, body_with(field, written)))
    error_of(answer(client, f'{{"tokens": [{number}]}}'.encode(), "/detokenize"))
    error_of(answer(client, body_with("logit_bias", f'{{"{number}": 1}}')))


def test_a_number_in_a_system_message_that_looks_like_a_shape_is_text(client: TestClient) -> None:
    """Parsing it as JSON raised an unexpected ValueError: 500."""
    system = {"role": "system", "content": '{"total": ' + "9" * 5000 + "}"}
    body = chat(messages=[system, {"role": "user", "content": "x"}], grounded=True)
    assert answer(client, json.dumps(body).encode()).status_code == 400


# Text


@pytest.mark.parametrize("field", ["model", "user", "guided_regex", "guided_grammar", "guided_json", "mode", "stop"])
def test_half_a_surrogate_pair_is_refused(client: TestClient, field: str) -> None:
    error = error_of(answer(client, body_with(field, '"\\ud800"')))
    assert (error["param"] or "").startswith(field)


@pytest.mark.parametrize(
    "written", ['{"\\ud800": "x"}', '{"properties": {"\\udfff": {}}}', '["\\ud800"]', '{"1": "\\ud800"}']
)
@pytest.mark.parametrize("field", ["metadata", "guided_json", "guided_choice", "logit_bias", "unknown"])
def test_half_a_surrogate_pair_breaks_nothing_anywhere(client: TestClient, field: str, written: str) -> None:
    assert answer(client, body_with(field, written)).status_code in (200, 400)


def test_the_last_of_two_equal_keys_wins(client: TestClient) -> None:
    """Common JSON parsers do the same."""
    twice = b'{"messages": 1, "max_tokens": "x", ' + json.dumps(chat(max_tokens=1)).encode()[1:]
    assert answer(client, twice).json()["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_in_another_encoding_of_unicode_is_read(client: TestClient, encoding: str) -> None:
    """Some editors write a byte order mark."""
    assert answer(client, json.dumps(chat()).encode(encoding)).status_code == 200


@pytest.mark.parametrize("bytes_", [b"\xfc", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xe4\xb8"])
def test_bytes_that_are_no_utf_8_are_refused(client: TestClient, bytes_: bytes) -> None:
    body = json.dumps(chat(user="HERE")).encode().replace(b"HERE", bytes_)
    assert "not text in UTF-8" in error_of(answer(client, body))["message"]


@pytest.mark.parametrize("character", ["\0", "\x1b", "\n"])
def test_a_control_character_in_a_string_is_not_json(client: TestClient, character: str) -> None:
    body = json.dumps(chat(user="HERE")).replace("HERE", character).encode()
    assert "not JSON" in error_of(answer(client, body))["message"]


# Bodies


@pytest.mark.parametrize("body", [b"", b" ", b"null", b"1", b'"x"', b"[]", b"true", b"{", b"{}", b"{}{}", b"\0", b"{]"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize", "/detokenize"])
def test_a_body_that_is_not_a_request_is_refused(client: TestClient, path: str, body: bytes) -> None:
    error_of(answer(client, body, path))


def test_a_body_cut_anywhere_is_refused(client: TestClient) -> None:
    whole = json.dumps(chat()).encode()
    for end in range(len(whole)):
        error_of(answer(client, whole[:end]))


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/png", "\xff/"]
)
def test_another_content_type_is_refused_and_the_right_one_named(client: TestClient, kind: str) -> None:
    headers = {"Content-Type": kind.encode("latin-1")}
    response = client.post("/v1/chat/completions", content=json.dumps(chat()), headers=headers)  # type: ignore[arg-type]
    assert "application/json" in error_of(response)["message"]


# Time


def test_a_body_that_stalls_is_408(engine: Engine) -> None:
    """Neither uvicorn nor FastAPI has a bound: a stalled client held the request and its memory forever."""

    async def stalling() -> httpx.Response:
        app = create_app(max_request_bytes=MAX_REQUEST_BYTES, body_seconds=0.2)
        app.state.serving = Serving(engine=engine, model=MODEL, limits=LIMITS)
        never = asyncio.Event()

        async def pieces() -> Any:
            yield b'{"messages": '
            await never.wait()

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.post("/v1/chat/completions", content=pieces(), headers=JSON)

    response = asyncio.run(stalling())
    assert "too slowly" in error_of(response, 408)["message"]
    assert response.headers["connection"] == "close"


def test_a_body_that_drips_is_408(engine: Engine) -> None:
    """Each pause is short enough, but at this rate a request would take days."""

    async def dripping() -> httpx.Response:
        app = create_app(max_request_bytes=MAX_REQUEST_BYTES, body_seconds=0.2)
        app.state.serving = Serving(engine=engine, model=MODEL, limits=LIMITS)

        async def pieces() -> Any:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.post("/v1/chat/completions", content=pieces(), headers=JSON)

    error_of(asyncio.run(dripping()), 408)


def test_a_slow_answer_is_not_a_slow_body(engine: Engine) -> None:
    """The bound is for the body alone: afterwards the server only waits for the client to leave."""
    app = create_app(max_request_bytes=MAX_REQUEST_BYTES, body_seconds=0.01)
    app.state.serving = Serving(engine=engine, model=MODEL, limits=LIMITS)
    answer = TestClient(app).post("/v1/chat/completions", json=chat(max_tokens=100, ignore_eos=True))
    assert answer.json()["usage"]["completion_tokens"] == 100
    assert text(answer.json()) is not None


# Methods and paths


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/nowhere"])
def test_an_unsupported_method_is_refused(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    if method == "HEAD":
        assert answer.status_code in (200, 404, 405)
    else:
        assert error_of(answer, answer.status_code)["type"] == "invalid_request_error"
        assert answer.status_code in (404, 405)


@pytest.mark.parametrize(
    "path",
    ["/" + "a" * 10_000, "/%00", "/%ff%fe", "/..%2f..%2fetc/passwd", "//v1/model", "/v1/models/" + "%20" * 5000,
     "/v1//chat/completion", "/v1/models/..%2f..", "/?" + "a=b&" * 2000, "/%F0%9F%98%80", "/v1/chat/completion/"],
)  # fmt: skip
def test_an_absurd_path_is_404(client: TestClient, path: str) -> None:
    response = client.get(path)
    error_of(response, 404)
    assert len(response.content) < 3000
