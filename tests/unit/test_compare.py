"""The arithmetic of a comparison, its report, its peers and baselines."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PaddleOCRVLConfig

from benchmarks.baselines import decode_floor, product_rate
from benchmarks.bench import named, positive
from benchmarks.child_processes import child
from benchmarks.compare import WORK
from benchmarks.compare_report import level_table, median_text, report
from benchmarks.load import ServerError, Timing
from benchmarks.peers import Arrivals, GeneratePeer, validated, with_images
from benchmarks.ratios import Level, Measurements, Ratio, all_ratios, floor_seconds

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
def measured() -> Measurements:
    """Two rounds in which others take twice our time."""
    measured = Measurements(device="cpu", dtype="bfloat16")
    for noise in (1.0, 2.0):
        for name, factor in (("ours", noise), ("transformers serve", 2 * noise), ("vLLM", noise / 2)):
            measured.levels[name, Level(1)].append(level(1 / factor, 0.5 * factor, 0.1 * factor, 0.2 * factor, factor))
            measured.levels[name, Level(8)].append(level(3 / factor, factor, 0.3 * factor, 0.9 * factor, 5 * factor))
        measured.levels["generate", Level(1)].append(level(1, 0.5, 0.1, 0.2, 3 * noise))
    measured.ready, measured.read_weights = [9.0, 12.0], [3.0, 3.0]
    measured.first_question, measured.second_question = [0.5, 1.0], [0.05, 0.1]
    measured.floors = [{"bytes": 700e6, "rate": 7e9}, {"bytes": 700e6, "rate": 14e9}]
    rates = {"ours": [2.0, 2.0], "transformers": [1.0, 1.0]}
    measured.vision = {"vision_448_rate": rates, "vision_1mp_rate": rates}
    return measured


def test_a_ratio_is_of_medians_and_its_spread_is_of_single_rounds() -> None:
    ratio = Ratio("theirs", ours=[1.0, 2.0, 9.0], other=[2.0, 1.0, 4.0])
    assert ratio.value == 1.0
    assert ratio.spread == (0.5, 2.25)


def test_a_comparison_has_nine_ratios(measured: Measurements) -> None:
    values = {name: ratio.value for name, ratio in all_ratios(measured).items()}
    assert set(values) == KEYS
    assert values["c1_e2e_time"] == values["c1_first_token_time"] == pytest.approx(0.5)
    assert values["c8_request_rate"] == pytest.approx(2.0)
    assert values["c8_longest_gap"] == pytest.approx(9.0)  # over the unloaded step, not over the loaded one
    assert values["second_question_time"] == pytest.approx(0.1)
    assert values["ready_time"] == pytest.approx(3.5)
    assert values["vision_448_rate"] == 2.0


def test_the_floor_uses_the_best_rate_of_the_run(measured: Measurements) -> None:
    assert floor_seconds(measured.floors) == pytest.approx(0.05)
    assert all_ratios(measured)["decode_over_floor"].value == pytest.approx(3.0)
    assert all_ratios(measured)["decode_over_floor"].spread == pytest.approx((2.0, 4.0))


def test_the_report_names_every_peer_and_level_of_load(measured: Measurements) -> None:
    lines = level_table(measured).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "ours",
        "ours",
        *["transformers"] * 2,
        "vLLM",
        "vLLM",
        "generate",
    ]
    assert len({len(line) for line in lines}) == 1
    assert f"torch {torch.__version__}" in report(measured)
    over_generate = [line.split() for line in report(measured).splitlines() if " generate " in line and "c1_" in line]
    assert [line[0] for line in over_generate] == ["c1_e2e_time", "c1_first_token_time"]


@pytest.mark.parametrize(
    ("values", "text"), [([], "-"), ([0.012345678], "0.01235"), ([99.0, 101.0], "100"), ([24601.4], "24601")]
)
def test_a_median_is_printed_with_four_digits(values: list[float], text: str) -> None:
    assert median_text(values) == text


@pytest.mark.parametrize(
    "timing",
    [
        Timing(started=0.0, arrivals=[1.0], ended=1.0, tokens=WORK.tokens, error="status 500"),
        Timing(started=0.0, arrivals=[1.0], ended=1.0, tokens=WORK.tokens - 1),
        Timing(started=0.0, arrivals=[], ended=1.0, tokens=WORK.tokens),
    ],
)
def test_a_failed_or_short_answer_is_not_compared(timing: Timing) -> None:
    complete = Timing(started=0.0, arrivals=[1.0], ended=1.0, tokens=WORK.tokens)
    assert validated("other", [complete], WORK) == [complete]
    with pytest.raises(ServerError, match="other"):
        validated("other", [complete, timing], WORK)


# --- peers and baselines --------------------------------------------------------------------------------------------


def test_generate_answers_each_request_with_its_timing(tmp_path: Path) -> None:
    answer = 'import sys; [print(\'{"arrivals": [0.5, 0.6], "ended": 0.7}\', flush=True) for line in sys.stdin]'
    log = tmp_path / "generate.log"
    finished: list[None] = []
    with child(["-c", answer], log) as process:
        timings = GeneratePeer(process, log).run(WORK, 2, 1, lambda: finished.append(None))
    assert [(timing.tokens, timing.ended) for timing in timings] == [(2, 0.7)] * 2
    assert len(finished) == 2


def test_the_prompt_does_not_count_as_an_arrival_of_generate() -> None:
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
    monkeypatch.setattr("benchmarks.baselines.FLOOR_BYTES", 2**20)
    floor = decode_floor(TINY, "cpu", "bfloat16")
    text: Any = PaddleOCRVLConfig.from_pretrained(TINY).text_config
    heads = (text.num_attention_heads + text.num_key_value_heads) * text.head_dim
    layer = 2 * heads * text.hidden_size + 3 * text.intermediate_size * text.hidden_size + 2 * text.hidden_size
    values = text.num_hidden_layers * layer + text.vocab_size * text.hidden_size
    assert floor["bytes"] == 2 * values
    assert floor["rate"] > 0


def test_the_rate_of_products_is_finite_even_below_the_size_of_one_matrix() -> None:
    assert 0 < product_rate((64, 32), torch.float32, torch.device("cpu"), min_bytes=1) < float("inf")


# --- options --------------------------------------------------------------------------------------------------------


def test_other_servers_are_named_by_the_user() -> None:
    assert named("vLLM=http://host:8000/") == ("vLLM", "http://host:8000")


@pytest.mark.parametrize("parse", [named, positive])
def test_an_invalid_option_is_refused(parse: Any) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse("0")
