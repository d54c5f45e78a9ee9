"""Each patch of BentoML works and is still needed: the unpatched code still misbehaves.

Each test has a process of its own: importing the service applies the patches, which last as long as the process.
"""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import bentoml_patches

ROOT = Path(__file__).resolve().parents[2]
ONE_REQUEST = """
import asyncio, sys, service
from _bentoml_impl.server.app import ServiceAppFactory
from bentoml._internal.server.http.traffic import TimeoutMiddleware

if "unpatched" in sys.argv:
    TimeoutMiddleware.__call__ = original

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})

async def send(message):
    print(message["status"])

async def ask():
    around = app
    for middleware in reversed(ServiceAppFactory(service.PaddleOCRVLService, is_main=True).middlewares):
        around = middleware.cls(around, *middleware.args, **middleware.kwargs)
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def recorded(when, *rest, **more):
        timer = call_at(when, *rest, **more)
        timers.append(timer)
        return timer

    timers, loop.call_at = [], recorded
    await around({"type": "http", "path": "/", "method": "GET", "headers": []}, None, send)
    print(sum(not timer.cancelled() for timer in timers), "timers are left")

service.PaddleOCRVLService.inject_config()
asyncio.run(ask())
"""
KEEP_ORIGINAL = """
from bentoml._internal.server.http.traffic import TimeoutMiddleware

original = TimeoutMiddleware.__call__
"""
CLOCK = """
import sys, time
from tornado.ioloop import IOLoop
import bentoml_patches

if "unpatched" not in sys.argv:
    bentoml_patches.use_steady_clock()
loop = IOLoop(make_current=False)
before = loop.time()
time.time = lambda: 0.0  # the wall clock is set back
print("goes back" if loop.time() < before else "is steady")
"""


def run(code: str, folder: Path, *arguments: str) -> str:
    environment = os.environ | {"BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_patches_are_for_the_bentoml_that_is_installed_and_pinned() -> None:
    """Otherwise: check bentoml_patches.py against the new version, run these tests and change the version there."""
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["server"]
    assert version("bentoml") == bentoml_patches.BENTOML_VERSION
    assert f"bentoml=={bentoml_patches.BENTOML_VERSION}" in pins


def test_no_timer_outlives_a_request(tmp_path: Path) -> None:
    """BentoML's time-out left one for an hour, which held an earlier request of its connection, body included."""
    assert run(f"{KEEP_ORIGINAL}\n{ONE_REQUEST}", tmp_path) == "200\n0 timers are left\n"


def test_without_the_patch_a_timer_outlives_a_request(tmp_path: Path) -> None:
    """Otherwise the patch is no longer needed: remove `bypass_request_timeout`."""
    assert run(f"{KEEP_ORIGINAL}\n{ONE_REQUEST}", tmp_path, "unpatched") == "200\n1 timers are left\n"


def test_supervision_goes_by_a_clock_that_never_jumps(tmp_path: Path) -> None:
    assert run(CLOCK, tmp_path) == "is steady\n"


def test_without_the_patch_supervision_goes_by_the_wall_clock(tmp_path: Path) -> None:
    """Otherwise the patch is no longer needed: remove `use_steady_clock`."""
    assert run(CLOCK, tmp_path, "unpatched") == "goes back\n"
