"""Faults that end a request and nothing else: others are answered as ever, by the same process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.faulty import CULPRIT, Faulty, ask_all, line, wait_for

BIG = {"mm_processor_kwargs": {"min_pixels": 1003520}}
MAX_PATCHES = 2000  # fewer than that makes, more than any other image here
SMALL = {"mm_processor_kwargs": {"min_pixels": 784}}
ALONE = 150  # more than a line has at its own size, fewer than two have


@pytest.fixture(scope="module")
def expected(faulty: Faulty) -> list[str]:
    """What is read from the first lines while nothing is broken."""
    outcomes = ask_all(faulty, *(line(number) for number in range(4)))
    assert all(outcome.complete for outcome in outcomes)
    return [outcome.text for outcome in outcomes]


@pytest.fixture(autouse=True)
def _same_worker(faulty: Faulty, expected: list[str]) -> Iterator[None]:
    """It lives, is healthy, and answers the next question."""
    before = faulty.worker.pid
    yield
    (outcome,) = ask_all(faulty, line())
    assert outcome.text == expected[0]
    assert faulty.get("/health").json()["status"] == "healthy"
    assert faulty.worker.pid == before


@pytest.mark.parametrize("kind", ["gpu", "cpu", "host"])
def test_an_image_that_memory_is_too_small_for_fails_alone(faulty: Faulty, expected: list[str], kind: str) -> None:
    with faulty.fault("vision-memory", f"{kind} {MAX_PATCHES}"):
        big, *others = ask_all(faulty, line(20, **BIG), *(line(number) for number in range(4)))
    assert (big.status, big.complete) == (500, False)
    assert big.error == "the device ran out of memory while reading the prompt; send a smaller image"
    assert [outcome.text for outcome in others] == expected


def test_images_that_do_not_fit_together_are_read_one_by_one(faulty: Faulty) -> None:
    with ThreadPoolExecutor() as clients, faulty.fault("vision-memory", f"cpu {ALONE}"):
        with faulty.fault("stuck-step"):  # until all wait
            first = clients.submit(ask_all, faulty, line(seed=CULPRIT))
            faulty.wait_until_struck("stuck-step")
            others = clients.submit(ask_all, faulty, *(line(number, max_tokens=3, **SMALL) for number in range(30, 33)))
            wait_for(lambda: faulty.get("/health").json()["queue"]["waiting"] == 3)
        assert all(outcome.complete for outcome in first.result() + others.result())
    assert "Prefilling 3 prompts did not fit into memory" in faulty.log


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
        culprit, *others = ask_all(faulty, *(line(n, stream=stream, seed=CULPRIT if n == 0 else n) for n in range(4)))
    assert (culprit.status, culprit.error) == (200 if stream else 500, said)
    assert not culprit.complete
    assert culprit.done
    assert [outcome.text for outcome in others] == expected[1:]
    assert all(outcome.complete for outcome in others)


def test_a_kept_image_that_is_damaged_is_read_again(faulty: Faulty) -> None:
    """Its features would have made every further question about it fail."""
    first, second = line(40, max_tokens=9), line(40, max_tokens=9)
    second["messages"][0]["content"].insert(0, line(41)["messages"][0]["content"][0])  # no slot holds what begins so
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
            outcomes = ask_all(faulty, *(line(number, stream=True) for number in range(4)))
            assert [outcome.text for outcome in outcomes] == expected
            assert faulty.get("/readyz").status_code == 200
            assert 0 <= faulty.get("/health").json()["uptime_seconds"] < hours
