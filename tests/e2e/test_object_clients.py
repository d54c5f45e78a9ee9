"""Clients that fill a model of their user's, each in its default way and unchanged, against a real server."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.servers import ROOT, Server
from tests.e2e.test_foreign_clients import PROGRAMS, run

JAVASCRIPT = ROOT / "tests" / "e2e" / "javascript"
IMAGE = ROOT / "tests" / "data" / "test_receipt.png"
ENVIRONMENTS = {
    "instructor": ".venv-objects",
    "pydantic_ai": ".venv-objects",
    "langchain": ".venv-objects",
    "haystack": ".venv-objects",
    "llama_index": ".venv-llama",
}
IN_JAVASCRIPT = (
    "ai_sdk", "ai_sdk_streamed", "ai_sdk_object", "ai_sdk_compatible", "langchain_js", "langchain_js_tool", "openai_js",
)  # fmt: skip
EXPECTED = {
    "merchant": "Corner Bakery",
    "date": "2025-03-14",
    "total": 13.75,
    "items": [{"name": "Walnut bread", "qty": 2, "price": 9.0}, {"name": "Apple cake", "qty": 1, "price": 3.5}],
}


@pytest.fixture(scope="module")
def filled(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """Receipts by client, those in JavaScript together. All run at once, since imports take most of their time."""

    def fill(client: str) -> Any:
        python = ROOT / ENVIRONMENTS[client] / "bin" / "python"
        folder = tmp_path_factory.mktemp(client)
        return json.loads(run(folder, str(python), PROGRAMS / "fill_receipt.py", client, IMAGE, f"{server.url}/v1"))

    def fill_in_javascript() -> Any:
        node = ROOT / ".venv-javascript" / "bin" / "node"
        folder = tmp_path_factory.mktemp("javascript")
        return json.loads(run(folder, str(node), JAVASCRIPT / "fill_receipt.js", IMAGE, f"{server.url}/v1"))

    with ThreadPoolExecutor() as threads:
        programs = {client: threads.submit(fill, client) for client in ENVIRONMENTS}
        yield programs | {"javascript": threads.submit(fill_in_javascript)}


@pytest.mark.parametrize("client", ENVIRONMENTS)
def test_a_client_fills_a_receipts_model(client: str, filled: dict[str, Future[Any]]) -> None:
    assert filled[client].result() == EXPECTED


@pytest.mark.parametrize("client", IN_JAVASCRIPT)
def test_a_client_in_javascript_fills_a_receipts_model(client: str, filled: dict[str, Future[Any]]) -> None:
    assert filled["javascript"].result()[client] == EXPECTED
