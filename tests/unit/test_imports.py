"""Imports go one way and in no circle: service -> settings -> api -> answers -> modes -> images -> engine -> models."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = (
    *("service", "lifecycle", "bentoml_patches", "settings"),
    *("api", "answers", "modes", "images", "engine", "models"),
)
OUTSIDE = {"scripts", "benchmarks", "training", "tests"}  # they import the server, never the other way round
WITH_BENTOML = {"service", "bentoml_patches"}
WITHOUT_TORCH = (
    *("api", "answers", "modes", "images"),
    *("engine.request", "engine.scheduler", "engine.slots", "models.protocol"),
)


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the server."""
    for room in ORDER:
        files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))
        for file in files:
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), file


MODULES = dict(modules())


def imported(file: Path, *, at_run_time: bool = False) -> set[str]:
    """Dotted names of everything that a file imports, wherever in it; `at_run_time` leaves out TYPE_CHECKING blocks."""
    names: set[str] = set()
    tree = ast.parse(file.read_text())
    skipped = {id(node) for block in typing_blocks(tree) for node in ast.walk(block)} if at_run_time else set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{file} has a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def typing_blocks(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from node.body


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(("name", "file"), list(MODULES.items()))
def test_nothing_imports_against_the_order(name: str, file: Path) -> None:
    room = ORDER.index(name.split(".")[0])
    assert not packages(imported(file)) & {*ORDER[:room], *OUTSIDE}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """An import for types alone counts: two files that need each other's names are one file, or lack a third."""
    arrows = {name: {other for other in imported(file) if other in MODULES} for name, file in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize(("name", "file"), list(MODULES.items()))
def test_each_library_stays_in_its_room(name: str, file: Path) -> None:
    room = name.split(".")[0]
    if room not in WITH_BENTOML:
        assert "bentoml" not in packages(imported(file))
    if room != "api":
        assert not packages(imported(file)) & {"fastapi", "starlette"}
    if name.startswith(WITHOUT_TORCH):
        assert not packages(imported(file, at_run_time=True)) & {"torch", "transformers"}


def test_importing_the_service_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    """The parent and every worker import it, and health must answer while the model loads."""
    code = "import sys, service; print({'torch', 'transformers'} & set(sys.modules))"
    environment = {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
