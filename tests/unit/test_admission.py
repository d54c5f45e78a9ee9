import pytest

from engine.admission import Admission
from engine.errors import InvalidRequest, QueueFull
from engine.request import Job

MIB = 2**20


def admission(slots: int = 1, max_waiting: int = 0, max_bytes: int = 100 * MIB) -> Admission:
    return Admission(slots, max_waiting, max_bytes)


def test_requests_are_admitted_up_to_slots_and_waiting_places() -> None:
    door, job = admission(slots=2, max_waiting=1), Job()
    for _ in range(3):
        door.admit(job, 1)
    with pytest.raises(QueueFull, match="1 requests are waiting"):
        door.admit(job, 1)
    door.leave(job)
    door.admit(job, 1)


def test_answers_to_one_prompt_are_admitted_together_or_not_at_all() -> None:
    door, job = admission(slots=2, max_waiting=1), Job()
    door.admit(job, 1)
    with pytest.raises(QueueFull):
        door.admit(job, 3)
    door.admit(job, 2)


def test_more_answers_than_ever_fit_are_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match="n is 4; this server takes 3 at once"):
        admission(slots=2, max_waiting=1).admit(Job(), 4)


def test_later_prompts_of_an_answer_that_has_begun_are_never_rejected() -> None:
    door, job = admission(max_bytes=MIB), Job(begun=True)
    door.admit(job, 5)
    door.reserve_bytes(Job("other"), MIB)
    door.reserve_bytes(job, MIB)
    assert (door.inside, door.bytes) == (5, 2 * MIB)


def test_a_client_without_requests_finds_room_in_a_queue_that_another_has_filled() -> None:
    door = admission(slots=1, max_waiting=8)
    rush, quiet = Job("rush"), Job("quiet")
    door.admit(rush, 9)
    with pytest.raises(QueueFull):
        door.admit(rush, 1)
    door.admit(quiet, 1)
    with pytest.raises(QueueFull):
        door.admit(quiet, 1)
    door.admit(Job("another"), 1)
    with pytest.raises(QueueFull):  # only a quarter beyond the limit
        door.admit(Job("yet another"), 1)


def test_images_are_admitted_up_to_a_number_of_bytes_and_again_once_others_are_released() -> None:
    door, first, second = admission(max_bytes=10 * MIB), Job(), Job()
    door.reserve_bytes(first, 8 * MIB)
    with pytest.raises(QueueFull, match="images of 8 MiB are waiting already"):
        door.reserve_bytes(second, 3 * MIB)
    door.release_bytes(first, 8 * MIB)
    door.reserve_bytes(second, 3 * MIB)
    assert door.bytes == 3 * MIB


def test_a_request_beyond_the_whole_limit_is_admitted_where_no_other_waits_with_an_image() -> None:
    door, big = admission(max_bytes=10 * MIB), Job()
    for _ in range(3):  # as its images arrive
        door.reserve_bytes(big, 8 * MIB)
    with pytest.raises(QueueFull):
        door.reserve_bytes(Job(), 1)
    door.release_bytes(big, 24 * MIB)
    door.reserve_bytes(Job(), 1)
    with pytest.raises(QueueFull):
        door.reserve_bytes(big, 24 * MIB)


def test_a_client_whose_images_reach_the_limit_leaves_room_for_another_clients() -> None:
    door = admission(max_bytes=8 * MIB)
    door.reserve_bytes(Job("rush"), 8 * MIB)
    with pytest.raises(QueueFull):
        door.reserve_bytes(Job("rush"), MIB)
    door.reserve_bytes(Job("quiet"), MIB)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("engine.admission.time.monotonic", lambda: now[0])
    return now


def test_the_time_to_retry_follows_the_measured_rate(clock: list[float]) -> None:
    door, job = admission(slots=1, max_waiting=6), Job()
    door.admit(job, 7)
    for _ in range(5):  # one every two seconds; the rate counts the gaps
        door.count_finished()
        clock[0] += 2.0
    with pytest.raises(QueueFull) as refused:
        door.admit(job, 1)
    assert refused.value.retry_after == 15  # six wait; four gaps in ten seconds


def test_idle_time_does_not_lower_the_rate(clock: list[float]) -> None:
    door, job = admission(slots=1, max_waiting=6), Job()
    door.admit(job, 4)
    for _ in range(4):
        clock[0] += 2.0
        door.count_finished()
        door.leave(job)
    clock[0] += 36_000.0
    door.admit(job, 7)
    with pytest.raises(QueueFull) as refused:
        door.admit(job, 1)
    assert refused.value.retry_after == 12  # six wait; three gaps in six busy seconds
