"""A soak of a few seconds."""

import json
import subprocess
import sys

from benchmarks.soak import growth
from tests.e2e.servers import ROOT
from tests.faults.faulty import Faulty

KEYS = ["requests", "status_5xx", "unanswered", "slots_leaked", "rss_mb_per_1000", "minutes"]


def test_mixed_traffic_is_answered_in_full_and_leaks_nothing(faulty: Faulty) -> None:
    command = [sys.executable, "benchmarks/soak.py", "--minutes", "0.1", "--url", faulty.server.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == KEYS
    assert figures["requests"] > 0
    assert figures["status_5xx"] == figures["unanswered"] == figures["slots_leaked"] == 0
    assert faulty.get("/health").json()["queue"] == {"running": 0, "waiting": 0, "slots": 4, "free_slots": 4}


def test_growth_is_the_slope_of_the_second_half() -> None:
    filling = [(requests, 10.0 * requests) for requests in range(50)]
    leaking = [(requests, 500 + 0.002 * requests) for requests in range(50, 100)]
    assert growth(filling + leaking) == 2.0
    assert growth([(requests, 0.0) for requests in range(100)]) is None  # a server on another machine
