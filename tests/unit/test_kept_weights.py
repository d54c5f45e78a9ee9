"""Weights that are kept in files, so that the next start maps them."""

import fcntl
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import build
from engine.build import build_runner
from engine.config import EngineConfig
from engine.model_runner import ModelRunner
from models.paddleocr_vl import kept_weights
from models.paddleocr_vl.kept_weights import KeptWeights, find
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from tests.checkpoints import write_checkpoint


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The place where weights are kept, even few ones."""
    monkeypatch.setattr(build, "KEPT_WEIGHTS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "paddleocr-vl"


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each start that may keep weights maps those of an earlier one."""
    seen: list[bool] = []

    def watch(*arguments: Any) -> KeptWeights | None:
        found = find(*arguments)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(build, "find", watch)
    return seen


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def config(checkpoint: Path, **values: Any) -> EngineConfig:
    return EngineConfig(model=checkpoint, device="cpu", dtype="float32", weights="int8", slots=1, **values)


def start(checkpoint: Path, **values: Any) -> ModelRunner:
    """A start, and what it keeps."""
    runner = build_runner(config(checkpoint, **values), Processor(checkpoint))
    for thread in threading.enumerate():
        if thread.name == build.KEEPING:
            thread.join()
    return runner


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("weights-*") if path.is_dir())


def features(runner: ModelRunner) -> torch.Tensor:
    """What the whole model makes of an image, and of a token."""
    assert isinstance(runner.model, PaddleOCRVL)
    pixels = torch.randn(16, *runner.model.pixel_shape, generator=torch.Generator().manual_seed(0))
    (found,) = runner.model.encode(pixels, [(4, 4)])
    return torch.cat((found.flatten(), runner.model.logits(runner.model.embed(torch.tensor([5]))).flatten()))


def test_a_later_start_lays_no_weight_out_and_computes_the_same(checkpoint: Path, mapped: list[bool]) -> None:
    plain, first, second = start(checkpoint, keep_weights=False), start(checkpoint), start(checkpoint)
    assert mapped == [False, True]
    for runner in (first, second):
        assert torch.equal(features(runner), features(plain))
        assert runner.plan.weights == plain.plan.weights


def test_weights_are_not_kept_unless_they_may_be(checkpoint: Path, folder: Path) -> None:
    start(checkpoint, keep_weights=False)
    assert not kept(folder)


def test_few_weights_are_not_kept(checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "KEPT_WEIGHTS", 2**30)
    start(checkpoint)
    assert not kept(folder)


@pytest.mark.parametrize("lost", ["changed", "cut", "absent", "unknown"])
def test_what_was_spoilt_is_made_again(
    checkpoint: Path, folder: Path, mapped: list[bool], caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    expected = features(start(checkpoint))
    file = max(kept(folder)[0].glob("text.*"), key=lambda one: one.stat().st_size)
    whole = file.read_bytes()
    match lost:
        case "changed":
            file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        case "cut":
            file.write_bytes(whole[:-100])
        case "absent":
            file.unlink()
        case "unknown":
            (kept(folder)[0] / "about.json").write_text("{}")  # as another release might leave it
    with caplog.at_level(logging.INFO):
        assert torch.equal(features(start(checkpoint)), expected)
    assert "Kept weights are made again" in caplog.text
    assert torch.equal(features(start(checkpoint)), expected)
    assert mapped == [False, False, True]


def test_another_checkpoint_in_the_same_place_replaces_what_was_kept(
    tmp_path: Path, folder: Path, mapped: list[bool]
) -> None:
    changing = write_checkpoint(made(tmp_path / "changing"), min_pixels=784)
    start(changing)
    (before,) = kept(folder)
    os.utime(changing / "model.safetensors", (1, 1))
    start(changing)
    (after,) = kept(folder)
    assert before != after
    assert mapped == [False, False]


def test_what_an_interrupted_start_left_is_removed(checkpoint: Path, folder: Path) -> None:
    part = folder / ".weights-0123.99"
    part.mkdir(parents=True)
    (part / "lm_head.safetensors").write_bytes(b"part")
    start(checkpoint)
    assert not part.exists()


def test_a_full_disk_is_done_without(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = features(start(checkpoint, keep_weights=False))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_weights, "save_file", full)
    with caplog.at_level(logging.INFO):
        assert torch.equal(features(start(checkpoint)), expected)
    assert "Weights are not kept, so the next start takes as long: [Errno 28] No space left on device" in caplog.text
    assert not list(folder.glob("*weights-*"))


def test_a_disk_with_little_room_is_left_alone(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept_weights, "FREE_SHARE", 10**12)
    with caplog.at_level(logging.INFO):
        start(checkpoint)
    assert "has no room for 0.0 GB" in caplog.text
    assert not kept(folder)


def test_a_place_that_cannot_be_written_is_done_without(checkpoint: Path, folder: Path) -> None:
    folder.write_text("a file")
    start(checkpoint)


def test_a_tied_head_is_kept_as_any_other(tmp_path: Path, mapped: list[bool]) -> None:
    tied = write_checkpoint(made(tmp_path / "tied"), tied=True, min_pixels=784)
    plain, first, second = start(tied, keep_weights=False), start(tied), start(tied)
    assert mapped == [False, True]
    for runner in (first, second):
        assert torch.equal(features(runner), features(plain))


def test_of_two_starts_at_once_one_writes(checkpoint: Path, folder: Path) -> None:
    folder.mkdir()
    with (folder / "weights.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start(checkpoint)
        assert not kept(folder)
    start(checkpoint)
    assert kept(folder)


def test_a_process_that_ends_leaves_off_and_leaves_nothing(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "main_thread", lambda: threading.Thread())
    with caplog.at_level(logging.INFO):
        start(checkpoint)
    assert "Weights are not kept, so the next start takes as long: the process ends" in caplog.text
    assert not list(folder.glob("*weights-*"))
