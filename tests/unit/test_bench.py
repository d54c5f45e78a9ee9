"""Requests of a benchmark, and the figures made from their timings."""

import argparse
import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image

from benchmarks import bench
from benchmarks.bench import plot
from benchmarks.load import (
    DIALECTS,
    ServerError,
    Timing,
    Work,
    ask,
    negotiate_dialect,
    noise,
    percentile,
    record_line,
    summary,
)
from benchmarks.process_memory import gpu_memory

WORK = Work("m", [(28, 28)], tokens=3)
# Events of `transformers serve`; its last event has both a choice and the usage, and no [DONE] follows.
TRANSFORMERS = [
    {"choices": [{"delta": {"role": "assistant"}, "index": 0}]},
    {"choices": [{"delta": {"content": "a"}, "index": 0}]},
    {"choices": [{"delta": {"content": "bc"}, "index": 0}]},
    {"choices": [{"delta": {}, "index": 0, "finish_reason": "length"}]},
]
USAGE = {"completion_tokens": 3, "prompt_tokens": 9, "total_tokens": 12}
KNOWN_TO_TRANSFORMERS = set("model messages max_tokens temperature stream stream_options generation_config".split())


def asked(*events: object) -> Timing:
    """The timing of a request that a server answers with these events."""
    return asked_raw("".join(f"data: {json.dumps(event)}\n\n" for event in events))


def asked_raw(text: str, *, stream: bool = True) -> Timing:
    async def first() -> Timing:
        async with served(lambda _: httpx.Response(200, text=text)) as client:
            return await ask(client, next(replace(WORK, stream=stream).requests()))

    return asyncio.run(first())


def work_accepted_by(answer: Callable[[httpx.Request], httpx.Response]) -> Work:
    async def first() -> Work:
        async with served(answer) as client:
            return await negotiate_dialect(client, WORK)

    return asyncio.run(first())


def served(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://server", transport=httpx.MockTransport(answer))


def test_no_two_requests_have_the_same_image_and_sizes_take_turns() -> None:
    requests = Work("m", [(28, 28), (56, 28)], tokens=3).requests()
    bodies = [next(requests) for _ in range(4)]
    images = [body["messages"][0]["content"][0]["image_url"]["url"] for body in bodies]
    assert len(set(images)) == 4
    assert images[0] == noise(28, 28, 0)
    assert images[1] == noise(56, 28, 1)


def test_a_request_fixes_the_length_of_its_answer() -> None:
    body = next(WORK.requests())
    assert (body["max_tokens"], body["ignore_eos"], body["repetition_detection"]) == (3, True, False)


def test_a_server_that_refuses_our_fields_gets_requests_without_them() -> None:
    def transformers(request: httpx.Request) -> httpx.Response:
        known = set(json.loads(request.content)) <= KNOWN_TO_TRANSFORMERS
        return httpx.Response(200 if known else 422, json={"detail": "Unexpected fields in the request"})

    work = work_accepted_by(transformers)
    assert not {"ignore_eos", "repetition_detection"} & set(next(work.requests()))
    assert json.loads(work.fields["generation_config"])["eos_token_id"] == -1


def test_a_server_gets_the_first_dialect_that_it_accepts() -> None:
    assert work_accepted_by(lambda _: httpx.Response(200)).fields == DIALECTS[0]


def test_the_error_for_a_server_that_refuses_everything_names_it_and_its_reason() -> None:
    with pytest.raises(ServerError, match=r"http://server.*no such model"):
        work_accepted_by(lambda _: httpx.Response(404, text="no such model"))


def test_only_text_counts_as_an_arrival_and_usage_counts_the_tokens() -> None:
    timing = Timing(0.0)
    for line in (
        'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}',
        'data: {"choices": [{"delta": {"content": "a"}}]}',
        'data: {"choices": [], "usage": {"completion_tokens": 7}}',
        "data: [DONE]",
        "",
    ):
        record_line(timing, line)
    assert (len(timing.arrivals), timing.tokens, timing.error) == (1, 7, None)


def test_an_answer_that_is_not_streamed_arrives_at_once() -> None:
    assert not {"stream", "stream_options"} & set(next(replace(WORK, stream=False).requests()))
    timing = asked_raw(json.dumps({"choices": [], "usage": USAGE}), stream=False)
    assert (len(timing.arrivals), timing.tokens, timing.error) == (1, 3, None)


def test_a_stream_of_transformers_serve_is_read_to_its_end() -> None:
    timing = asked(*TRANSFORMERS[:-1], TRANSFORMERS[-1] | {"usage": USAGE})
    assert (len(timing.arrivals), timing.tokens, timing.error) == (2, 3, None)


def test_without_usage_each_piece_of_text_counts_as_a_token() -> None:
    timing = asked(*TRANSFORMERS)
    assert (len(timing.arrivals), timing.tokens, timing.error) == (2, 2, None)


@pytest.mark.parametrize(
    ("timing", "gaps"),
    [
        (Timing(started=0.0, arrivals=[1.0, 1.5, 2.5], ended=2.6, tokens=3), [0.5, 1.0]),
        (Timing(started=0.0, arrivals=[1.0, 3.0], ended=4.0, tokens=4), [1.0, 1.0, 1.0]),
        (Timing(started=0.0, arrivals=[1.0], ended=4.0, tokens=4), []),
        (Timing(0.0), []),
    ],
)
def test_if_a_piece_has_several_tokens_the_time_between_tokens_is_the_average(
    timing: Timing, gaps: list[float]
) -> None:
    assert timing.token_gaps == gaps


def test_an_error_in_a_stream_is_an_error() -> None:
    assert "out of memory" in str(asked({"error": {"message": "out of memory"}}).error)


def test_an_event_that_is_not_json_is_an_error() -> None:
    assert "JSONDecodeError" in str(asked_raw('data: {"error": "a "quoted" word"}\n\n').error)


def test_rates_and_latencies_are_of_successful_requests_only() -> None:
    good = [
        Timing(started=0.0, arrivals=[1.0, 1.5, 2.5], ended=2.5, tokens=3),
        Timing(started=0.0, arrivals=[3.0, 3.1], ended=3.1, tokens=2),
    ]
    figures = summary([*good, Timing(0.0, ended=9.0, error="status 500")], seconds=2.0)
    assert (figures["requests"], figures["errors"]) == (3, 1)
    assert (figures["requests_per_second"], figures["tokens_per_second"]) == (1.0, 2.5)
    assert figures["first_token"]["p50"] == 2.0
    assert figures["inter_token"]["max"] == 1.0
    assert figures["end_to_end"]["p95"] < 9


@pytest.mark.parametrize(("values", "p50"), [([], None), ([2.0], 2.0), ([1.0, 3.0], 2.0)])
def test_a_percentile_of_few_values_is_interpolated(values: list[float], p50: float | None) -> None:
    assert percentile(values, 50) == p50


@pytest.mark.parametrize(
    ("output", "size"),
    [
        ("100, 700\n101, 300\n999, 5\n", 1000.0),
        ("999, 5\n", None),
        ("100, [N/A]\n", None),
        ("[Insufficient Permissions], 5\n", None),
        ("No running processes found\n", None),
        ("", None),
    ],
)
def test_gpu_memory_is_of_the_servers_own_processes_only(output: str, size: float | None) -> None:
    assert gpu_memory(output, [100, 101]) == size


def test_a_plot_is_a_png(tmp_path: Path) -> None:
    timings = [Timing(started=0.0, arrivals=[1.0, 1.5], ended=1.5, tokens=2)]
    plot([{"at_once": at_once} | summary(timings, 2.0) for at_once in (1, 8)], tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert (image.format, image.size) == ("PNG", (900, 400))


def test_levels_of_load_share_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the second level reused images of the first one, which the server had cached."""
    seeds = []

    def measure(_arguments: argparse.Namespace, work: Work, at_once: int) -> dict[str, int]:
        seeds.append(work.seed)
        return {"at_once": at_once, "requests": 8 * at_once}

    async def warm_up(_url: str, work: Work) -> Work:
        return work

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "warm_up", warm_up)
    asked = {"url": "", "model": "m", "images": [(28, 28)], "tokens": 4, "rate": None, "at_once": [1, 2, 4]}
    bench.serve(argparse.Namespace(**asked, plot=None))
    assert seeds == [0, 8, 24]
