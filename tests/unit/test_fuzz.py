"""A short run of benchmarks/fuzz.py; run it longer after a change to code that reads untrusted input."""

import json
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.fuzzing.targets import Targets


def test_damaged_input_is_either_accepted_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--inputs", "1200", "--seed", "7", "--out", str(tmp_path / "found")]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["findings"] == 0
    assert not list((tmp_path / "found").iterdir())
    for kind, outcomes in report["by_kind"].items():
        assert outcomes["refused"] > 0, f"no {kind} was damaged enough to be refused"
        assert outcomes["fine"] > 0, f"no {kind} was valid enough to be accepted"


def test_an_input_with_any_other_outcome_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("unexpected")

    monkeypatch.setattr(Targets, "address", broken)
    assert fuzz.main(["--inputs", "60", "--seed", "7", "--out", str(tmp_path)]) == 1
    saved = list(tmp_path.iterdir())
    assert saved
    assert all(path.suffix == ".address" for path in saved)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["findings"] == len(saved)
