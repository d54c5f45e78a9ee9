"""The GPU check, tried on a CPU with the embedded checkpoint, and its judgement of figures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.report import Report, Section
from benchmarks.gpu.requests import Answer

ROOT = Path(__file__).resolve().parents[2]

# Recordings stand in for CUDA graphs, so that the paths which need graphs run too. What a bare machine lacks is absent.
SMALL = """
import sys
for name in ("bentoml", "fastapi", "pydantic", "pypdfium2", "openai", "opentelemetry", "llguidance", "llvmlite"):
    sys.modules[name] = None
import engine.build
from tests.recording import Recordings
engine.build.graphs_for = lambda *_: Recordings()
from scripts.gpu_check import main
sys.exit(main(["--small", "--out", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Output and report of all sections."""
    out = tmp_path_factory.mktemp("check") / "report.json"
    command = [sys.executable, "-c", SMALL, str(out)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # faster than two where other tests run beside it
    process = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout, json.loads(out.read_text())


def test_all_sections_run_on_a_cpu_and_meet_their_bars(done: tuple[str, dict[str, Any]]) -> None:
    report = done[1]
    assert (report["errors"], report["missed"], report["ok"]) == ([], [], True)
    assert "tiny float32: first token unlike that without graphs, no near tie" in report["sections"]["parity"]["bars"]


def test_each_section_is_a_line_of_json_and_the_last_line_has_all(done: tuple[str, dict[str, Any]]) -> None:
    lines = [json.loads(line) for line in done[0].splitlines() if line.startswith("{")]
    assert [next(iter(line)) for line in lines[:-1]] == list(lines[-1]["sections"])


def test_a_section_that_fails_is_recorded_and_the_next_one_goes_on(tmp_path: Path) -> None:
    report = Report(full=False, seconds=60, out=tmp_path / "out.json")

    def failing(section: Section) -> None:
        section.figures["begun"] = True
        raise ValueError("broken")

    report.run("first", failing)
    report.run("second", lambda section: section.holds("fine", 1, 1))
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["errors"] == ["first"]
    assert told["sections"]["first"]["error"] == "ValueError: broken"
    assert told["sections"]["first"]["begun"] is True
    assert told["sections"]["second"]["bars"]["fine"]["ok"] is True
    assert not report.ok


def test_no_section_begins_after_the_time_is_over() -> None:
    report = Report(full=False, seconds=-1, out=None)
    report.run("late", lambda _section: pytest.fail("it began"))
    assert report.sections == {"late": {"error": "no time left"}}


def test_bars_on_times_count_only_at_the_real_size_on_a_gpu() -> None:
    sections = {full: Section(full=full) for full in (True, False)}
    for section in sections.values():
        section.speed("step, ms", 3.0, most=1.5)
        section.speed("rate", 20.0, least=15.0)
    assert {name: bar["ok"] for name, bar in sections[True].bars.items()} == {"step, ms": False, "rate": True}
    assert sections[False].bars == {}


def test_tokens_after_a_near_tie_may_differ() -> None:
    answer = Answer([1, 2, 3], [5.0, 0.0005, 5.0])
    assert answer.differs_at(Answer([1, 9, 9], []), tie=1e-3) is None
    assert answer.differs_at(Answer([9, 2, 3], []), tie=1e-3) == 0
