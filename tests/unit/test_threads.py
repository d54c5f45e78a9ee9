import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.threads import NICE, SPINS, WAIT_POLICY, background_pool, compute_threads
from tests.imports import ROOT

START = """
import os, sys
from pathlib import Path
from engine.config import EngineConfig
from engine.engine import Engine

class Seen:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))

sys.meta_path.insert(0, Seen())
engine = Engine(EngineConfig(model=Path("models/tiny"), max_model_len=256))
engine.start()
engine.wait_until_settled()
engine.shutdown(grace=5)
"""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, "PASSIVE 1000"), ({WAIT_POLICY: "ACTIVE"}, "ACTIVE None"), ({SPINS: "50"}, "None 50")],
    ids=["neither", "policy", "rounds"],
)
def test_threads_that_wait_soon_sleep_unless_the_environment_says_otherwise(
    chosen: dict[str, str], expected: str
) -> None:
    """Bug: beside a program that kept one of two cores busy, a token took 5 to 40 times as long."""
    environment = {name: value for name, value in os.environ.items() if name not in (WAIT_POLICY, SPINS)}
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=ROOT, env=environment | chosen, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_only_the_background_thread_lowers_its_priority() -> None:
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with background_pool(1, "test") as pool:
        theirs = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert theirs == max(own, NICE)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


@pytest.mark.parametrize(
    ("quota", "workers", "threads"),
    [
        ("max 100000", 1, 6),
        ("200000 100000", 1, 2),
        ("150000 100000", 1, 2),
        ("max 100000", 2, 3),
        ("50000 100000", 4, 1),
    ],
)
def test_the_model_gets_as_many_threads_as_it_can_use(
    quota: str, workers: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On six cores, within a container's quota, shared by the workers."""
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 12 if logical else 6)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    (tmp_path / "cpu.max").write_text(quota)
    assert compute_threads(workers, tmp_path) == threads


def test_without_a_quota_the_model_gets_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 12 if logical else 6)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert compute_threads(1, tmp_path) == 3


@pytest.mark.parametrize(("quota", "threads"), [("-1", 6), ("250000", 3)])
def test_the_quota_of_an_older_container_counts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    monkeypatch.setattr("engine.threads.psutil.cpu_count", lambda **_: 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(6)), raising=False)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert compute_threads(1, tmp_path) == threads


def test_the_log_says_how_many_threads_there_are_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    with caplog.at_level("INFO"):
        compute_threads(1, tmp_path)
    assert "Threads: 1;" in caplog.text
    assert "a quota of 1" in caplog.text
