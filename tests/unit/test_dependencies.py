"""The same versions are pinned in several files for several tools; they must stay equal."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BENTO = re.findall(
    r"^([\w.-]+==\S+)((?: ;.*?)?(?: \\\n +--hash=\S+)*)$", (ROOT / "requirements.bento.txt").read_text(), re.M
)
NOT_CONSTRAINED = {"torch", "setuptools"}  # torch has several builds, setuptools is left to pip


def normal(pin: str) -> str:
    name, _, version = pin.split("#")[0].strip().partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


CONSTRAINTS = {normal(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}


def test_a_bento_installs_what_the_project_pins() -> None:
    """If this fails, run scripts/lock."""
    pins = {pin for pin, _ in BENTO}
    assert {normal(pin) for pin in PROJECT["dependencies"]} <= pins
    assert {pin for pin in pins if pin.split("==")[0] not in NOT_CONSTRAINED} <= CONSTRAINTS


def test_everything_that_a_bento_installs_has_hashes_except_pytorch() -> None:
    assert [pin.split("==")[0] for pin, rest in BENTO if "--hash=sha256:" not in rest] == ["torch"]


@pytest.mark.parametrize("build", ["cpu", "cu126"])
def test_the_bentos_differ_only_in_the_build_of_pytorch(build: str) -> None:
    def read(name: str) -> dict[str, Any]:
        return dict(yaml.safe_load((ROOT / name).read_text()))

    actual, expected = read(f"bentofile.{build}.yaml"), read("bentofile.yaml")
    expected["envs"].append({"name": "UV_TORCH_BACKEND", "value": build})
    assert actual == expected


def test_every_pin_is_among_the_constraints() -> None:
    pins = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert {normal(pin) for pin in pins if not pin.startswith("torch==")} <= CONSTRAINTS
