"""The benchmark against llama.cpp's server: what it starts, and what it compares."""

from pathlib import Path

import pytest

from benchmarks import bench
from benchmarks.llama import REQUESTS, options, ratios
from benchmarks.ratios import Measurements

LEVEL = {
    "end_to_end": {"p50": 2.0},
    "first_token": {"p50": 1.0},
    "inter_token": {"p50": 0.1, "max": 0.2},
    "requests_per_second": 0.5,
    "peak_rss_mb": 100.0,
}
WHOLE = LEVEL | {"inter_token": {"p50": None, "max": 0.0}}  # answers that are not streamed


def measured(*names: str) -> Measurements:
    made = Measurements()
    for name in names:
        for requests in REQUESTS:
            made.levels[name, requests].append(LEVEL if requests.stream else WHOLE)
    return made


def test_weights_are_compared_with_those_of_as_many_bits() -> None:
    names = ["ours auto", "ours int8", "llama-server F16", "llama-server Q8_0"]
    found = ratios(measured(*names), names)
    assert {(name.rpartition(" ")[2], ratio.over) for name, ratio in found.items()} == {
        ("auto", "llama-server F16"),
        ("int8", "llama-server Q8_0"),
    }
    assert {ratio.value for ratio in found.values()} == {1.0}


def test_answers_that_are_not_streamed_have_no_ratios_of_gaps() -> None:
    """Bug: their rows were printed, which failed on what they lack, after minutes of measuring."""
    names = ["ours auto", "llama-server F16"]
    found = {name for name in ratios(measured(*names), names) if "not streamed" in name}
    assert found == {f"8, not streamed at once, {name}, auto" for name in ("requests/s", "end to end", "peak RSS")}


def test_without_a_counterpart_there_is_no_ratio() -> None:
    names = ["ours native", "llama-server Q8_0"]
    assert ratios(measured(*names), names) == {}


def test_llama_server_has_as_many_slots_as_requests_come_at_once() -> None:
    arguments = options(Path("model.gguf"), Path("mmproj.gguf"))
    assert arguments[arguments.index("--parallel") + 1] == "8"
    assert arguments[arguments.index("--ctx-size") + 1] == str(8 * 2048)


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["bench.py", "llama", "--gguf", "F16=f16.gguf", "--mmproj", "m.gguf", "--llama-server", "no-such-program"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="no-such-program is not there; --llama-server names it"):
        bench.main()


def test_a_file_needs_a_type(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench.py", "llama", "--gguf", "f16.gguf", "--mmproj", "m.gguf"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "'f16.gguf' has no NAME=" in capsys.readouterr().err
