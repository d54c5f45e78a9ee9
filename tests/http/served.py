"""The API over a real engine, in this process."""

from typing import Any

from starlette.testclient import TestClient

from api.app import create_app
from api.serving import Serving
from engine.engine import Engine
from images.loading import ImageLimits

MODEL = "tests/random"


MAX_REQUEST_BYTES = 2**22


LIMITS = ImageLimits(max_images=3, max_pages=4)


def client_of(engine: Engine, limits: ImageLimits = LIMITS, **serving: Any) -> TestClient:
    app = create_app(max_request_bytes=MAX_REQUEST_BYTES)
    app.state.serving = Serving(engine=engine, model=MODEL, limits=limits, **serving)
    return TestClient(app, raise_server_exceptions=False)
