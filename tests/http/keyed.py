"""The API behind keys."""

from typing import Any

from starlette.testclient import TestClient

from api.app import create_app
from api.keys import Keys
from api.serving import Serving
from engine.engine import Engine
from tests.http.served import LIMITS, MAX_REQUEST_BYTES, MODEL
from tests.keys import ALICE, BOB


def guarded(engine: Engine, **door: Any) -> TestClient:
    app = create_app(max_request_bytes=MAX_REQUEST_BYTES, **({"keys": Keys(f"alice:{ALICE},bob:{BOB}")} | door))
    app.state.serving = Serving(engine=engine, model=MODEL, limits=LIMITS)
    return TestClient(app, raise_server_exceptions=False)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
