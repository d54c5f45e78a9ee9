"""Questions to the API and the parts of its answers."""

import json
from typing import Any

from starlette.testclient import TestClient

from tests.payloads import chat


def post(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json=chat(**fields))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def text(body: dict[str, Any]) -> str:
    content: str = body["choices"][0]["message"]["content"]
    return content


def chunks(client: TestClient, **fields: Any) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end with [DONE]."""
    answer = client.post("/v1/chat/completions", json=chat(stream=True, **fields))
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def choice(client: TestClient, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = post(client, **fields)["choices"][0]
    return found


def refused(client: TestClient, **fields: Any) -> str:
    answer = client.post("/v1/chat/completions", json=chat(**fields))
    assert answer.status_code == 400, answer.text
    param: str = answer.json()["error"]["param"]
    return param
