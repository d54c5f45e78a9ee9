import pytest

from engine.admission import Admission
from engine.errors import InvalidRequest, QueueFull


def test_as_many_are_let_in_as_run_and_wait() -> None:
    door = Admission(slots=2, max_waiting=1)
    for _ in range(3):
        door.admit(1)
    with pytest.raises(QueueFull, match="1 requests are waiting"):
        door.admit(1)
    door.leave()
    door.admit(1)


def test_answers_to_one_prompt_are_let_in_together_or_not_at_all() -> None:
    door = Admission(slots=2, max_waiting=1)
    door.admit(1)
    with pytest.raises(QueueFull):
        door.admit(3)
    door.admit(2)


def test_more_answers_than_ever_fit_are_refused_for_good() -> None:
    with pytest.raises(InvalidRequest, match="n is 4; this server takes 3 at once"):
        Admission(slots=2, max_waiting=1).admit(4)


def test_the_time_to_come_back_follows_the_measured_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("engine.admission.time.monotonic", lambda: now)
    door = Admission(slots=1, max_waiting=6)
    door.admit(7)
    for _ in range(5):  # one in two seconds, of which the first gap starts the count
        door.count_finished()
        now += 2.0
    with pytest.raises(QueueFull) as refused:
        door.admit(1)
    assert refused.value.retry_after == 15  # six wait; four gaps in ten seconds
