"""The API over a real engine, in this process."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.app import create_app
from api.serving import Serving
from engine.engine import Engine
from images.loading import Limits

MODEL = "tests/random"
MAX_REQUEST_BYTES = 2**22
LIMITS = Limits(max_images=3, max_pages=4)


@pytest.fixture(scope="session")
def client(engine: Engine) -> Iterator[TestClient]:
    with client_of(engine) as client:
        yield client


def client_of(engine: Engine, limits: Limits = LIMITS, **serving: Any) -> TestClient:
    app = create_app(MAX_REQUEST_BYTES)
    app.state.serving = Serving(engine, MODEL, limits, **serving)
    return TestClient(app, raise_server_exceptions=False)


def data_uri(image: Image.Image, format_: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return f"data:image/{format_.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image_part(image: Image.Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_uri(image)}}


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "test"}], "max_tokens": 3} | fields
