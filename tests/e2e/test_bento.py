"""The bento: its content, reproducible builds, and serving without the checkout and the network."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.sample import MODEL, assert_nearly_read, messages
from tests.e2e.servers import ROOT, running
from tests.layouts import write_layout_checkpoint

CLEAN_PYTHON = ROOT / ".venv-bento" / "bin" / "python"  # made by scripts/setup_bento
# Python runs this at the start of every process of the server; it records each name look-up and connection.
OFFLINE = """
import os, socket, sys

def watch(event, details):
    if event == "socket.getaddrinfo":
        host = details[0]
    elif event == "socket.connect" and details[0].family != socket.AF_UNIX:
        host = details[1][0]
    else:
        return
    if host not in (None, "localhost", "127.0.0.1", "::1"):
        with open(os.environ["CALLS"], "a") as calls:
            print(event, host, file=calls)
        raise OSError(f"offline: {event} {host}")

sys.addaudithook(watch)
"""


def command(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A finished `python ARGUMENTS` in the checkout, with a BentoML home of its own."""
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"} | settings
    done = [sys.executable, *arguments]
    return subprocess.run(done, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)


def build(project: Path, home: Path, version: str, *arguments: str) -> Path:
    """The folder of a bento of `project`, built for CPUs."""
    options = ("-f", str(project / "bentofile.cpu.yaml"), "--version", version, *arguments)
    done = command(home, "-m", "bentoml", "build", *options, str(project))
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "bentos" / "paddleocr_vl" / version


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="module")
def bento(home: Path) -> Path:
    return build(ROOT, home, "1")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_builds_of_the_same_files_differ_in_version_and_time_only(bento: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT, elsewhere, ignore=shutil.ignore_patterns(".*_cache", ".git", ".venv*", "build", "tests"))
    one, other = contents(bento), contents(build(elsewhere, tmp_path / "home", "2"))
    manifests = [yaml.safe_load(files.pop("bento.yaml")) for files in (one, other)]
    assert [manifest.pop("version") for manifest in manifests] == ["1", "2"]
    assert all(manifest.pop("creation_time") for manifest in manifests)
    assert manifests[0] == manifests[1]
    assert one == other


def test_only_what_serving_needs_and_the_licence_are_packed(bento: Path) -> None:
    code = {path.name for path in (bento / "src").iterdir()}
    assert code == {
        *(
            "service.py",
            "lifecycle.py",
            "bentoml_patches.py",
            "settings.py",
            "environment.py",
            "bentofile.yaml",
            "LICENSE",
        ),
        *("api", "answers", "layout", "modes", "images", "engine", "models", "ui"),
    }
    kinds = {path.suffix or path.name for path in (bento / "src").rglob("*") if path.is_file()}
    page = {".html", ".css", ".js", ".svg", ".woff2", "SHA256SUMS"}
    assert kinds == page | {".py", ".yaml", ".json", ".jinja", ".safetensors", ".md", ".cu", "LICENSE"}


def test_no_model_is_packed_unless_one_is_chosen(bento: Path) -> None:
    """An image with a packed model looks in no other place, not even in a volume."""
    manifest = yaml.safe_load((bento / "bento.yaml").read_text())
    assert [manifest["models"], *(service["models"] for service in manifest["services"])] == [[], []]


@pytest.fixture(scope="module")
def layout_tag(home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tag of a layout checkpoint in the store."""
    folder = write_layout_checkpoint(tmp_path_factory.mktemp("layouts") / "layout", "pp_doclayout_v2")
    done = command(home, "scripts/import_model.py", str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1]


def test_a_layout_named_by_a_build_is_recorded_and_no_other_is_served(home: Path, layout_tag: str) -> None:
    built = build(ROOT, home, "with-layout", "--arg", f"layout={layout_tag}")
    (service,) = yaml.safe_load((built / "bento.yaml").read_text())["services"]
    assert [model["tag"] for model in service["models"]] == [layout_tag]
    refused = command(home, "-m", "bentoml", "serve", "paddleocr_vl:with-layout", LAYOUT="other:1")
    assert refused.returncode != 0
    assert f"LAYOUT is other:1, but this is built or started with --arg layout={layout_tag}" in refused.stderr


def test_the_clean_environment_holds_what_the_bento_asks_for_and_no_more(bento: Path) -> None:
    asked = dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", (bento / "env/python/requirements.txt").read_text(), re.M))
    command = [str(CLEAN_PYTHON), "-m", "pip", "list", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    there = {normal(package["name"]): package["version"].split("+")[0] for package in json.loads(done.stdout)}
    tools = {"pip", "uv"}
    brought_by_torch = {name for name in there if re.match(r"nvidia-(?!ml-py)|cuda-|triton", name)}
    assert {name: version for name, version in there.items() if name not in tools | brought_by_torch} == asked


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("named_by", ["folder", "tag"])
def test_a_bento_serves_in_a_clean_environment_without_the_network(
    home: Path, bento: Path, tmp_path: Path, named_by: str
) -> None:
    if named_by == "folder":  # alone, with an empty store
        shutil.copytree(bento, tmp_path / "alone")
        served, store = str(tmp_path / "alone"), tmp_path / "bentoml"
    else:
        served, store = "paddleocr_vl:latest", home
    command = [CLEAN_PYTHON, "-m", "bentoml", "serve", served]
    with running(tmp_path, command=command, cwd=tmp_path, BENTOML_HOME=str(store), **watched(tmp_path)) as server:
        answer = server.client().chat.completions.create(model=MODEL, messages=messages())
        assert_nearly_read(answer.choices[0].message.content)
    calls = tmp_path / "calls"
    assert not calls.exists(), calls.read_text()


def watched(folder: Path) -> dict[str, str]:
    """The environment of a server whose attempts to reach another machine are recorded in `folder`/calls."""
    (folder / "offline").mkdir()
    (folder / "offline" / "sitecustomize.py").write_text(OFFLINE)
    keeps_bytecode = {"PYTHONDONTWRITEBYTECODE": ""}  # the installer compiles none, and two servers want it
    return {"PYTHONPATH": str(folder / "offline"), "CALLS": str(folder / "calls")} | keeps_bytecode
