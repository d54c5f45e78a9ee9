from engine.pace import IDLE_SECONDS, READ_STEPS, Pace


def test_reading_between_decode_steps_is_bounded_by_the_fastest_one_lately() -> None:
    pace = Pace()
    for seconds in (0.05, 0.04, 0.2):
        pace.decoded(seconds)
    assert pace.reading_seconds(running=True) == READ_STEPS * 0.04


def test_where_nothing_runs_reading_pauses_only_to_hear_who_comes_and_goes() -> None:
    pace = Pace()
    pace.decoded(0.001)
    assert pace.reading_seconds(running=False) == IDLE_SECONDS
