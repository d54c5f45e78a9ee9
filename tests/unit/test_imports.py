"""Imports go one way: service -> settings -> api -> modes -> engine -> models."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = ("service", "settings", "api", "modes", "engine", "models")
WITHOUT_TORCH = ("api", "modes", "engine.request", "engine.scheduler", "engine.slots")


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the server."""
    for room in ORDER:
        files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))
        for file in files:
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), file


def imported(file: Path) -> set[str]:
    """Top-level package of everything that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{file} has a relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize(("name", "file"), list(modules()))
def test_nothing_imports_against_the_order(name: str, file: Path) -> None:
    room = ORDER.index(name.split(".")[0])
    assert not imported(file) & {*ORDER[:room], "scripts", "tests"}


@pytest.mark.parametrize(("name", "file"), list(modules()))
def test_each_library_stays_in_its_room(name: str, file: Path) -> None:
    room = name.split(".")[0]
    if room != "service":
        assert "bentoml" not in imported(file)
    if room != "api":
        assert not imported(file) & {"fastapi", "starlette"}
    if name.startswith(WITHOUT_TORCH):
        assert not imported(file) & {"torch", "transformers"}


def test_importing_the_service_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    """The parent and every worker import it, and health must answer while the model loads."""
    code = "import sys, service; print({'torch', 'transformers'} & set(sys.modules))"
    environment = {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
