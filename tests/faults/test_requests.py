"""Faults that end one request only: the same process goes on answering the others."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.servers import wait_until
from tests.faults.faulty import CULPRIT, Faulty, ask_all, line_question

BIG = {"mm_processor_kwargs": {"min_pixels": 1003520}}
MAX_PATCHES = 2000  # fewer than BIG makes, more than any other image here
SMALL = {"mm_processor_kwargs": {"min_pixels": 784}}
ALONE = 150  # more than a line has at its own size, fewer than two have


@pytest.fixture(scope="module")
def expected(faulty: Faulty) -> list[str]:
    """The texts of the first lines while no fault is on."""
    outcomes = ask_all(faulty, *(line_question(number) for number in range(4)))
    assert all(outcome.complete for outcome in outcomes)
    return [outcome.text for outcome in outcomes]


@pytest.fixture(autouse=True)
def _same_worker(faulty: Faulty, expected: list[str]) -> Iterator[None]:
    """After each test the same worker lives, is healthy, and answers the next request."""
    before = faulty.worker.pid
    yield
    (outcome,) = ask_all(faulty, line_question())
    assert outcome.text == expected[0]
    assert faulty.get("/health").json()["status"] == "healthy"
    assert faulty.worker.pid == before


@pytest.mark.parametrize("kind", ["gpu", "cpu", "host"])
def test_an_image_that_memory_is_too_small_for_fails_alone(faulty: Faulty, expected: list[str], kind: str) -> None:
    with faulty.fault("vision-memory", f"{kind} {MAX_PATCHES}"):
        big, *others = ask_all(faulty, line_question(20, **BIG), *(line_question(number) for number in range(4)))
    assert (big.status, big.complete) == (500, False)
    assert big.error == "the device ran out of memory while reading the prompt; send a smaller image"
    assert [outcome.text for outcome in others] == expected


def test_images_that_do_not_fit_together_are_read_one_by_one(faulty: Faulty) -> None:
    with ThreadPoolExecutor() as clients, faulty.fault("vision-memory", f"cpu {ALONE}"):
        with faulty.fault("stuck-step"):  # until all of them wait
            first = clients.submit(ask_all, faulty, line_question(seed=CULPRIT))
            faulty.wait_until_struck("stuck-step")
            others = clients.submit(
                ask_all, faulty, *(line_question(number, max_tokens=3, **SMALL) for number in range(30, 33))
            )
            wait_until(lambda: faulty.get("/health").json()["queue"]["waiting"] == 3)
        assert all(outcome.complete for outcome in first.result() + others.result())
    assert re.search("Prefilling [23] prompts did not fit into memory", faulty.log)  # one may still be prepared


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("decoding-memory", "the device ran out of memory while writing the answer; try again later"),
        ("decoding-bug", "an unexpected error; the server's log has it"),
        ("not-finite", "the model's output is not finite; try DTYPE=float32"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_step_that_breaks_on_one_answer_fails_that_one(
    faulty: Faulty, expected: list[str], fault: str, said: str, stream: bool
) -> None:
    with faulty.fault(fault, "cpu"):
        culprit, *others = ask_all(
            faulty, *(line_question(n, stream=stream, seed=CULPRIT if n == 0 else n) for n in range(4))
        )
    assert (culprit.status, culprit.error) == (200 if stream else 500, said)
    assert not culprit.complete
    assert culprit.done
    assert [outcome.text for outcome in others] == expected[1:]
    assert all(outcome.complete for outcome in others)


def test_a_damaged_image_in_the_cache_is_encoded_again(faulty: Faulty) -> None:
    """Its features would have made every later request about it fail."""
    first, second = line_question(40, max_tokens=9), line_question(40, max_tokens=9)
    other_image = line_question(41)["messages"][0]["content"][0]
    second["messages"][0]["content"].insert(0, other_image)  # no slot has this prefix
    ask_all(faulty, first)
    with faulty.fault("spoilt-images"):
        (outcome,) = ask_all(faulty, second)
        faulty.wait_until_struck("spoilt-images")
    assert outcome.complete
    assert outcome.text == ask_all(faulty, second)[0].text


def test_a_step_of_the_clock_disturbs_nothing(faulty: Faulty, expected: list[str]) -> None:
    hours = 5 * 3600
    for offset in (hours, -hours):
        with faulty.fault("clock", str(offset)):
            outcomes = ask_all(faulty, *(line_question(number, stream=True) for number in range(4)))
            assert [outcome.text for outcome in outcomes] == expected
            assert faulty.get("/readyz").status_code == 200
            assert 0 <= faulty.get("/health").json()["uptime_seconds"] < hours
