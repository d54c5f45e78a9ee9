"""The same versions are pinned in several files for several tools; they must stay equal."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
NOT_CONSTRAINED = {"torch", "setuptools"}  # torch has several builds, setuptools is left to pip


def normal(pin: str) -> str:
    name, _, version = pin.split("#")[0].strip().partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def locked(name: str) -> list[tuple[str, str]]:
    """Pins of a file that scripts/lock made, each with what follows it."""
    text = (ROOT / f"requirements.{name}.txt").read_text()
    return re.findall(r"^([\w.-]+==\S+)((?: ;.*?)?(?: \\\n +--hash=\S+)*)$", text, re.M)


CONSTRAINTS = {normal(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}


def test_a_bento_installs_what_the_project_pins() -> None:
    """If this fails, run scripts/lock."""
    pins = {pin for pin, _ in locked("bento")}
    assert {normal(pin) for pin in PROJECT["optional-dependencies"]["server"]} <= pins
    assert {pin for pin in pins if pin.split("==")[0] not in NOT_CONSTRAINED} <= CONSTRAINTS


def test_everything_that_a_bento_installs_has_hashes_except_pytorch() -> None:
    assert [pin.split("==")[0] for pin, rest in locked("bento") if "--hash=sha256:" not in rest] == ["torch"]


def test_the_image_of_the_ocr_api_installs_what_the_project_pins() -> None:
    """If this fails, run scripts/lock."""
    pins = locked("jobs")
    names = {pin.split("==")[0] for pin, _ in pins}
    assert set(PYPROJECT["dependency-groups"]["jobs"]) <= names
    assert {pin for pin, _ in pins} <= CONSTRAINTS
    assert all("--hash=sha256:" in rest for _, rest in pins)
    assert not names & {"torch", "transformers", "bentoml", "numpy"}


def test_bentos_and_images_lack_what_holds_code_under_the_gpl() -> None:
    """Its metadata say BSD, so that the audit of licences does not see it; its wheels hold x265."""
    assert not {"pillow-heif"} & {pin.split("==")[0] for name in ("bento", "jobs") for pin, _ in locked(name)}


@pytest.mark.parametrize("build", ["cpu", "cu126"])
def test_the_bentos_differ_only_in_the_build_of_pytorch(build: str) -> None:
    def read(name: str) -> dict[str, Any]:
        return dict(yaml.safe_load((ROOT / name).read_text()))

    actual, expected = read(f"bentofile.{build}.yaml"), read("bentofile.yaml")
    expected["envs"].append({"name": "UV_TORCH_BACKEND", "value": build})
    assert actual == expected


def test_every_pin_is_among_the_constraints() -> None:
    pins = [pin for extra in PROJECT["optional-dependencies"].values() for pin in extra]
    assert {normal(pin) for pin in pins if not pin.startswith("torch==")} <= CONSTRAINTS
