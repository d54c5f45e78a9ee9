from engine.pace import IDLE_SECONDS, PREFILL_STEPS, Pace


def test_prefill_between_decode_steps_is_bounded_by_the_fastest_recent_one() -> None:
    pace = Pace()
    for seconds in (0.05, 0.04, 0.2):
        pace.observe(seconds)
    assert pace.prefill_seconds(running=True) == PREFILL_STEPS * 0.04


def test_while_nothing_runs_prefill_pauses_only_for_new_requests_and_aborts() -> None:
    pace = Pace()
    pace.observe(0.001)
    assert pace.prefill_seconds(running=False) == IDLE_SECONDS
