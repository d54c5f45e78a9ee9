"""The same pins stand in three files for three tools; they must not drift apart."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = {line.split("#")[0].strip().lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}


def test_the_bento_packs_what_the_project_pins() -> None:
    packed = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    only_scripts = {"httpx2", "huggingface-hub"}
    assert {pin for pin in PROJECT["dependencies"] if pin.split("==")[0] not in only_scripts} == set(packed)


def test_every_pin_is_among_the_constraints() -> None:
    pins = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    normal = {pin.lower().replace("_", "-") for pin in pins if not pin.startswith("torch==")}
    assert normal <= {line.replace("_", "-") for line in CONSTRAINTS}
