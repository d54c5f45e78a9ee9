"""Imports go one way and in no circle, as `ORDER` in `tests/imports.py` has it: from the service down to the models."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ORDER, ROOT, imported, modules

OUTSIDE = {"cli", "scripts", "benchmarks", "training", "tests"}  # they import the server, never the other way round
WITH_BENTOML = {"service", "bentoml_patches"}
WITH_FASTAPI = ("api", "jobs.http", "jobs.main")
WITHOUT_TORCH = (
    *("jobs", "exports", "environment", "api", "answers", "layout", "modes", "images"),
    *("engine.request", "engine.scheduler", "engine.slots", "models.protocol"),
)
MODULES = dict(modules())


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
    if not name.startswith(WITH_FASTAPI):
        assert not packages(imported(file)) & {"fastapi", "starlette"}
    if room != "jobs":
        assert not packages(imported(file)) & {"dbos", "sqlalchemy", "fsspec", "obstore", "uvicorn"}
    else:
        assert not packages(imported(file)) & {"engine", "models", "answers", "bentoml"}
    if name.startswith(WITHOUT_TORCH):
        assert not packages(imported(file, at_run_time=True)) & {"torch", "transformers"}


def test_importing_the_service_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    """The parent and every worker import it, and health must answer while the model loads."""
    code = "import sys, service; print({'torch', 'transformers'} & set(sys.modules))"
    environment = {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_ocr_api_and_its_workers_load_nothing_that_computes() -> None:
    """They run in a small image of their own, and beside the server."""
    code = (
        "import sys, jobs.main, jobs.splitter; print({'torch', 'transformers', 'bentoml', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
