"""What `doctor` looks at. Each check asks the server's own code, so that it says what a start would.

They import the server only when they run: the command works without it.
"""

import json
import os
import platform
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Level = Literal["good", "note", "bad"]
GIB = 2**30
WEIGHTS = 2 * GIB  # PaddleOCR-VL in 16 bit
LITTLE = 5 * GIB  # free, for them and an image


@dataclass(frozen=True)
class Finding:
    """One line of the report; `advice`: what to type or change, where something is amiss or missing."""

    level: Level
    what: str
    advice: str = ""


def checks() -> Iterator[Finding]:
    """All findings, in the order of a start; the first that is bad may leave out those that need it."""
    yield Finding("good", f"Python {platform.python_version()} on {platform.system()}, {platform.machine()}")
    try:
        from settings import load_settings

        settings = load_settings(os.environ)
    except ImportError as error:
        yield Finding("note", f"The server is not installed here: {error}", "scripts/setup, or pip install '.[server]'")
        return
    except SystemExit as error:
        yield Finding("bad", str(error))
        return
    yield from _gpu()
    yield from _models(settings)
    yield from _disk()
    yield from _port(settings)


def _gpu() -> Iterator[Finding]:
    import torch

    from engine.device import unused_gpu
    from scripts.choose_torch import ChoiceError, choose, read_capabilities

    why = unused_gpu()
    if why is not None:
        yield Finding("bad", why)
    try:
        capabilities = read_capabilities()
        fit = choose(capabilities, None, cpu_index_reachable=True).reason
    except ChoiceError as error:
        yield Finding("bad", str(error))
        return
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        found = torch.cuda.get_device_properties(number)
        name = f"GPU {number}: {found.name}, compute capability {found.major}.{found.minor}"
        yield Finding("good", f"{name}, {found.total_memory / GIB:.1f} GiB")
    yield Finding("good", f"PyTorch {torch.__version__}; {fit}")


def _models(settings: Any) -> Iterator[Finding]:
    import bentoml

    from models.choice import ROLES, choose, remarks

    chosen = settings.model_dump(include=set(ROLES))
    remote = [f"{role.upper()}={name}" for role, name in chosen.items() if name and "/" in name]
    if remote:
        yield Finding(
            "note", f"{', '.join(remote)}: fetched from the hub at the first start, unless it is in the store"
        )
        return
    try:
        served = choose(bentoml.models, dict.fromkeys(ROLES, ""), chosen, lambda _: None)
    except SystemExit as error:
        yield Finding("bad", str(error), "paddleocr-vl import --list")
        return
    for level, text in remarks(served):
        yield Finding("good" if level <= 20 else "note", text)  # 20: logging's INFO
    from engine.build import planned
    from engine.device import DeviceError

    folders = {role: one.folder for role, one in served.items() if one.folder is not None}
    segments = "layout" in served and "layout" not in folders
    try:
        device, dtype, plan = planned(settings.engine_config(folders, segments=segments))
    except (DeviceError, ValueError) as error:
        yield Finding("bad", str(error))
        return
    yield Finding("good", f"{device} in {str(dtype).removeprefix('torch.')}: {plan}; {plan.sizes}")
    if served["model"].name.endswith("-tiny"):
        advice = "paddleocr-vl import PaddlePaddle/PaddleOCR-VL-1.5, then MODEL=TAG paddleocr-vl serve"
        yield Finding("note", "Real documents need the real weights.", advice)


def _disk() -> Iterator[Finding]:
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    text = f"Model store {home}: {free / GIB:.1f} GiB free"
    if free < WEIGHTS:
        yield Finding("bad", text, "Free some space, or set BENTOML_HOME to a larger disk; the weights take 2 GB.")
    else:
        yield Finding("good" if free > LITTLE else "note", text)


def _port(settings: Any) -> Iterator[Finding]:
    from api.page import address

    page = address(settings.bind_host, settings.port)
    taken = port_taken(settings.bind_host, settings.port)
    if taken is None:
        yield Finding("good", f"Port {settings.port} is free; the page will be at {page}")
        return
    try:
        with urllib.request.urlopen(f"{page}health", timeout=5) as answer:  # noqa: S310 - http
            health = json.load(answer)
        said = " ".join(str(health.get(fact)) for fact in ("status", "model", "device", "dtype") if health.get(fact))
        yield Finding("good", f"A server answers at {page}: {said}")
    except (OSError, ValueError) as error:
        yield Finding("bad", f"{taken}, and asked for /health it says: {error}", "Choose another: PORT=8002")


def port_taken(host: str, port: int) -> str | None:
    """Why a server cannot listen there; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            return f"Port {port} of {host} cannot be used: {error.strerror}"
    return None
