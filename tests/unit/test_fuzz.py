"""A short run of benchmarks/fuzz.py; run the long one after changing a reader of strangers' input."""

import json
from pathlib import Path

import pytest

from benchmarks import fuzz, fuzz_targets


def test_damaged_input_is_taken_or_refused_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--inputs", "3000", "--seed", "7", "--out", str(tmp_path / "found")]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["findings"] == 0
    assert not list((tmp_path / "found").iterdir())
    for kind, outcomes in report["by_kind"].items():
        assert outcomes["refused"] > 0, f"no {kind} was damaged enough"
        assert outcomes["fine"] > 0, f"no {kind} was good enough to go deep"


def test_an_input_that_causes_something_else_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("unexpected")

    monkeypatch.setattr(fuzz_targets.Targets, "address", broken)
    assert fuzz.main(["--inputs", "60", "--seed", "7", "--out", str(tmp_path)]) == 1
    saved = list(tmp_path.iterdir())
    assert saved
    assert all(path.suffix == ".address" for path in saved)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["findings"] == len(saved)
