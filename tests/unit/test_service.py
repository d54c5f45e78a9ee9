"""What BentoML puts around the API, as the service has it.

In a process apart, since to import the service is to serve.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ONE_REQUEST = """
import asyncio, service
from _bentoml_impl.server.app import ServiceAppFactory

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})

async def send(message):
    print(message["status"])

async def ask():
    around = app
    for middleware in reversed(ServiceAppFactory(service.PaddleOCRVLService, is_main=True).middlewares):
        around = middleware.cls(around, *middleware.args, **middleware.kwargs)
    asyncio.get_running_loop().call_later = lambda *_, **__: print("a timer is left")
    await around({"type": "http", "path": "/", "method": "GET", "headers": []}, None, send)

service.PaddleOCRVLService.inject_config()
asyncio.run(ask())
"""


def test_no_timer_outlives_a_request(tmp_path: Path) -> None:
    """BentoML's time-out left one for an hour, which held an earlier request of its connection, body and all."""
    environment = os.environ | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [sys.executable, "-c", ONE_REQUEST], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "200\n"
