"""What the tools say of files of several formats."""

import json
import re
from pathlib import Path
from typing import Any

from tests.deploy.site import tool
from tests.e2e.servers import ROOT

MAX_EXPOSED = 3.0  # out of the 10 that systemd-analyze gives a service without any bounds


def installed(unit: Path, folder: Path) -> Path:
    """A systemd unit for this checkout instead of one in /opt: its program must exist."""
    path = folder / unit.name
    path.write_text(unit.read_text().replace("/opt/paddleocr-vl-server", str(ROOT)))
    return path


def verify(service: Path) -> None:
    """Accept no output at all: systemd only warns of an unknown option."""
    done = tool("systemd-analyze", "verify", "--man=no", service)
    assert done.stdout + done.stderr == ""


def assert_hardened(service: Path) -> None:
    report = tool("systemd-analyze", "security", "--offline=true", "--no-pager", service).stdout
    exposed = re.search(r"Overall exposure level for .*: ([\d.]+)", report)
    assert exposed, report
    assert float(exposed[1]) <= MAX_EXPOSED


def values(service: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", service, re.MULTILINE)


def assert_valid_for_kubernetes(file: Path, objects: int) -> None:
    """By the oldest and the newest version of the API that the tool knows."""
    for version in "1.25", "1.37":
        report = tool("kubernetes-validate", "--strict", "-k", version, file).stdout
        assert report.count("passed") == objects, report


def read_back(kind: str, file: Path) -> Any:
    """The file's content after a round trip through the types of its format."""
    return json.loads(tool("python", ROOT / "tests" / "deploy" / "read_back.py", kind, file).stdout)


def assert_known(ours: Any, back: Any, path: str = "") -> None:
    """Every field of ours came back; defaults that were filled in do not matter."""
    if isinstance(ours, dict):
        for name, value in ours.items():
            assert name in back, f"{path}/{name} is not known"
            assert_known(value, back[name], f"{path}/{name}")
    elif isinstance(ours, list):
        for index, (value, other) in enumerate(zip(ours, back, strict=True)):
            assert_known(value, other, f"{path}/{index}")
    else:
        assert ours == back, path
