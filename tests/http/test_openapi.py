"""Answers match the OpenAPI document, whatever is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.serving import Serving
from tests.engines import running_engine
from tests.http.served import LIMITS, MAX_REQUEST_BYTES, MODEL

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
APP = create_app(max_request_bytes=MAX_REQUEST_BYTES)
SCHEMA = schemathesis.openapi.from_asgi("/v1/openapi.json", APP)


@pytest.fixture(scope="module")
def _serving(checkpoint: Path) -> Iterator[None]:
    """Answers are short: these tests are about requests."""
    with running_engine(checkpoint, max_model_len=40) as engine:
        APP.state.serving = Serving(engine=engine, model=MODEL, limits=LIMITS)
        yield


@pytest.mark.usefixtures("_serving")
@SCHEMA.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_server_or_gets_an_answer_that_is_not_documented(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS)


def test_the_document_lists_every_operation() -> None:
    paths = APP.openapi()["paths"]
    assert set(paths) == {
        "/health",
        "/ping",
        "/version",
        "/tokenize",
        "/detokenize",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/chat/completions",
        "/v1/ocr",
        "/layout-parsing",
        "/restructure-pages",
    }


def test_only_paddlex_routes_answer_invalid_requests_with_422() -> None:
    """FastAPI would list an answer of its own everywhere."""
    paths = APP.openapi()["paths"]
    assert {name for name, path in paths.items() if "422" in path.get("post", {}).get("responses", {})} == {
        "/layout-parsing",
        "/restructure-pages",
    }
    assert not {"HTTPValidationError", "ValidationError"} & set(APP.openapi()["components"]["schemas"])
