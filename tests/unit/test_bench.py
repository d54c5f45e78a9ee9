"""What the yardstick makes of what it saw."""

import pytest

from scripts.bench import percentile, summary
from scripts.load import Timing, Work, noise, take


def test_no_two_requests_have_the_same_picture_and_sizes_take_turns() -> None:
    requests = Work("m", [(28, 28), (56, 28)], tokens=3).requests()
    bodies = [next(requests) for _ in range(4)]
    pictures = [body["messages"][0]["content"][0]["image_url"]["url"] for body in bodies]
    assert len(set(pictures)) == 4
    assert pictures[0] == noise(28, 28, 0)
    assert pictures[1] == noise(56, 28, 1)


def test_a_request_fixes_the_length_of_its_answer() -> None:
    body = next(Work("m", [(28, 28)], tokens=3).requests())
    assert (body["max_tokens"], body["ignore_eos"], body["repetition_detection"]) == (3, True, False)


def test_only_text_counts_as_an_arrival_and_usage_counts_the_tokens() -> None:
    timing = Timing(0.0)
    for line in (
        'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}',
        'data: {"choices": [{"delta": {"content": "a"}}]}',
        'data: {"choices": [], "usage": {"completion_tokens": 7}}',
        "data: [DONE]",
        "",
    ):
        take(timing, line)
    assert (len(timing.arrivals), timing.tokens, timing.error) == (1, 7, None)


def test_an_error_in_a_stream_is_an_error() -> None:
    timing = Timing(0.0)
    take(timing, 'data: {"error": {"message": "out of memory"}}')
    assert "out of memory" in str(timing.error)


def test_rates_count_good_requests_and_latencies_are_theirs() -> None:
    good = [Timing(0.0, [1.0, 1.5, 2.5], 2.5, tokens=3), Timing(0.0, [3.0, 3.1], 3.1, tokens=2)]
    found = summary([*good, Timing(0.0, ended=9.0, error="status 500")], seconds=2.0)
    assert (found["requests"], found["errors"]) == (3, 1)
    assert (found["requests_per_second"], found["tokens_per_second"]) == (1.0, 2.5)
    assert found["first_token"]["p50"] == 2.0
    assert found["inter_token"]["max"] == 1.0
    assert found["end_to_end"]["p95"] < 9


@pytest.mark.parametrize(("values", "p50"), [([], None), ([2.0], 2.0), ([1.0, 3.0], 2.0)])
def test_a_percentile_of_little_is_what_there_is(values: list[float], p50: float | None) -> None:
    assert percentile(values, 50) == p50
