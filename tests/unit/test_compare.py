"""The arithmetic of a comparison, and that nothing it starts is left behind."""

import argparse
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import PaddleOCRVLConfig

from benchmarks.bench import named_url, positive
from benchmarks.children import ChildError, child, next_line, server
from benchmarks.load import ServerError, Timing, server_processes
from benchmarks.measure import WORK, Found, Generating, checked
from benchmarks.peers import Arrivals, floor, product_rate, with_images
from benchmarks.ratios import Ratio, absolute, floor_seconds, middle, ratios, report

KEYS = {
    "c1_e2e_time",
    "c1_first_token_time",
    "c8_longest_gap",
    "second_question_time",
    "decode_over_floor",
    "ready_time",
    "c8_request_rate",
    "vision_448_rate",
    "vision_1mp_rate",
}
TINY = Path(__file__).resolve().parents[2] / "models" / "tiny"


def level(rate: float, first: float, step: float, longest: float, whole: float) -> dict[str, Any]:
    return {
        "requests_per_second": rate,
        "first_token": {"p50": first},
        "inter_token": {"p50": step, "max": longest},
        "end_to_end": {"p50": whole},
        "peak_rss_mb": 2000.0,
        "gpu_mb": None,
    }


@pytest.fixture
def found() -> Found:
    """Two rounds in which others take twice our time."""
    found = Found(device="cpu", dtype="bfloat16")
    for noise in (1.0, 2.0):
        for name, factor in (("ours", noise), ("transformers serve", 2 * noise), ("vLLM", noise / 2)):
            found.levels[name, 1].append(level(1 / factor, 0.5 * factor, 0.1 * factor, 0.2 * factor, factor))
            found.levels[name, 8].append(level(3 / factor, factor, 0.3 * factor, 0.9 * factor, 5 * factor))
        found.levels["generate", 1].append(level(1, 0.5, 0.1, 0.2, 3 * noise))
    found.ready, found.read = [9.0, 12.0], [3.0, 3.0]
    found.first_question, found.second_question = [0.5, 1.0], [0.05, 0.1]
    found.floors = [{"bytes": 700e6, "rate": 7e9}, {"bytes": 700e6, "rate": 14e9}]
    rates = {"ours": [2.0, 2.0], "transformers": [1.0, 1.0]}
    found.vision = {"vision_448_rate": rates, "vision_1mp_rate": rates}
    return found


def test_a_ratio_is_that_of_medians_and_its_spread_that_of_rounds() -> None:
    ratio = Ratio("theirs", ours=[1.0, 2.0, 9.0], other=[2.0, 1.0, 4.0])
    assert ratio.value == 1.0
    assert ratio.spread == (0.5, 2.25)


def test_the_yardstick_has_its_nine_ratios(found: Found) -> None:
    values = {name: ratio.value for name, ratio in ratios(found).items()}
    assert set(values) == KEYS
    assert values["c1_e2e_time"] == values["c1_first_token_time"] == pytest.approx(0.5)
    assert values["c8_request_rate"] == pytest.approx(2.0)
    assert values["c8_longest_gap"] == pytest.approx(9.0)  # over the unloaded step, not over the loaded one
    assert values["second_question_time"] == pytest.approx(0.1)
    assert values["ready_time"] == pytest.approx(3.5)
    assert values["vision_448_rate"] == 2.0


def test_the_floor_is_at_the_best_rate_of_the_run(found: Found) -> None:
    assert floor_seconds(found.floors) == pytest.approx(0.05)
    assert ratios(found)["decode_over_floor"].value == pytest.approx(3.0)
    assert ratios(found)["decode_over_floor"].spread == pytest.approx((2.0, 4.0))


def test_the_report_names_every_peer_and_level_of_load(found: Found) -> None:
    lines = absolute(found).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "ours",
        "ours",
        *["transformers"] * 2,
        "vLLM",
        "vLLM",
        "generate",
    ]
    assert len({len(line) for line in lines}) == 1
    assert f"torch {torch.__version__}" in report(found)
    over_generate = [line.split() for line in report(found).splitlines() if " generate " in line and "c1_" in line]
    assert [line[0] for line in over_generate] == ["c1_e2e_time", "c1_first_token_time"]


@pytest.mark.parametrize(
    ("values", "text"), [([], "-"), ([0.012345678], "0.01235"), ([99.0, 101.0], "100"), ([24601.4], "24601")]
)
def test_a_median_is_told_with_four_digits(values: list[float], text: str) -> None:
    assert middle(values) == text


@pytest.mark.parametrize(
    "timing",
    [
        Timing(0.0, [1.0], 1.0, tokens=WORK.tokens, error="status 500"),
        Timing(0.0, [1.0], 1.0, tokens=WORK.tokens - 1),
        Timing(0.0, [], 1.0, tokens=WORK.tokens),
    ],
)
def test_what_failed_or_ended_early_is_not_compared(timing: Timing) -> None:
    whole = Timing(0.0, [1.0], 1.0, tokens=WORK.tokens)
    assert checked("other", [whole], WORK) == [whole]
    with pytest.raises(ServerError, match="other"):
        checked("other", [whole, timing], WORK)


# --- processes ------------------------------------------------------------------------------------------------------


def interrupted(log: Path, code: str, seen: list[psutil.Process]) -> None:
    """A child and its own child, whose ids go to `seen`, and Ctrl-C while they run."""
    with child(["-c", code], log) as process:
        seen += [psutil.Process(process.pid), psutil.Process(next_line(process, log))]
        raise KeyboardInterrupt


WAITING = "import time; time.sleep(600)"
WITH_A_CHILD = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {WAITING!r}], start_new_session=True).pid, flush=True)
{WAITING}
"""


def test_a_child_is_ended_with_all_that_it_started_whatever_happens(tmp_path: Path) -> None:
    processes: list[psutil.Process] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "child.log", WITH_A_CHILD, processes)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_reaches_a_child_through_us_alone(tmp_path: Path) -> None:
    with child(["-c", "import os; print(os.getsid(0) == os.getpid() or 0, flush=True)"], tmp_path / "log") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"


def test_a_child_that_ends_early_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "floor.log"
    with child(["-c", "raise SystemExit('no such model')"], log) as process, pytest.raises(ChildError) as failure:
        next_line(process, log)
    assert str(failure.value) == "floor ended:\nno such model"


def test_a_server_is_ready_when_it_says_so_and_ended_afterwards(tmp_path: Path) -> None:
    code = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""
    with server(["-c", code], "/readyz", tmp_path / "server.log") as (url, seconds):
        assert 0 < seconds < 60
        (process,) = server_processes(url)
    assert not process.is_running()


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(ChildError, match=r"ours did not become ready:\nno weights"),
        server(["-c", "raise SystemExit('no weights')"], "/", tmp_path / "ours.log"),
    ):
        pass


# --- what runs in them ----------------------------------------------------------------------------------------------


def test_generate_answers_each_request_with_its_timing(tmp_path: Path) -> None:
    answer = 'import sys; [print(\'{"arrivals": [0.5, 0.6], "ended": 0.7}\', flush=True) for line in sys.stdin]'
    log = tmp_path / "generate.log"
    finished: list[None] = []
    with child(["-c", answer], log) as process:
        timings = Generating(process, log).run(WORK, 2, 1, lambda: finished.append(None))
    assert [(timing.tokens, timing.ended) for timing in timings] == [(2, 0.7)] * 2
    assert len(finished) == 2


def test_what_generate_hands_over_first_is_the_prompt() -> None:
    arrivals = Arrivals()
    for tokens in (torch.zeros(1, 300), torch.zeros(1), torch.zeros(1)):
        arrivals.put(tokens)
    assert len(arrivals.seconds) == 2
    assert arrivals.seconds[0] <= arrivals.seconds[1] <= arrivals.now()


def test_messages_reach_transformers_with_their_images() -> None:
    (message,) = with_images(next(WORK.requests())["messages"])
    image, text = message["content"]
    assert image["type"] == "image"
    assert image["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "OCR:"}


def test_the_floor_counts_the_decoders_layers_and_the_output_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.FLOOR_BYTES", 2**20)
    outcomes: list[Any] = []
    floor(outcomes.append, str(TINY), "cpu", "bfloat16")
    text: Any = PaddleOCRVLConfig.from_pretrained(TINY).text_config
    heads = (text.num_attention_heads + text.num_key_value_heads) * text.head_dim
    layer = 2 * heads * text.hidden_size + 3 * text.intermediate_size * text.hidden_size + 2 * text.hidden_size
    values = text.num_hidden_layers * layer + text.vocab_size * text.hidden_size
    assert outcomes[0]["bytes"] == 2 * values
    assert outcomes[0]["rate"] > 0


def test_the_rate_of_products_is_finite_for_less_than_one_matrix_too() -> None:
    assert 0 < product_rate((64, 32), torch.float32, torch.device("cpu"), min_bytes=1) < float("inf")


# --- options --------------------------------------------------------------------------------------------------------


def test_other_servers_are_named_by_the_user() -> None:
    assert named_url("vLLM=http://host:8000/") == ("vLLM", "http://host:8000")


@pytest.mark.parametrize("parse", [named_url, positive])
def test_an_option_without_sense_is_refused(parse: Any) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse("0")
