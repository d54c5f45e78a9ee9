"""Leases of workers: who lives is told by a number that rises, and by no clock but one's own watch."""

from pathlib import Path

import sqlalchemy as sa

from jobs.leases import Leases
from jobs.tables import connect, migrate


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def engine_in(folder: Path) -> sa.Engine:
    engine = connect(f"sqlite:///{folder / 'jobs.sqlite'}")
    migrate(engine)
    return engine


def pair(folder: Path) -> tuple[Leases, Leases, Watch]:
    engine, watch = engine_in(folder), Watch()
    one = Leases(engine, "one", "1", 10, watch)
    other = Leases(engine, "other", "1", 10, watch)
    one.beat()
    other.beat()
    return one, other, watch


def test_a_worker_that_beats_lives(tmp_path: Path) -> None:
    one, other, watch = pair(tmp_path)
    for _ in range(10):
        watch.now += 5
        other.beat()
        assert one.living() == {"one": "1", "other": "1"}


def test_a_worker_without_a_beat_for_a_lease_is_dead(tmp_path: Path) -> None:
    one, _, watch = pair(tmp_path)
    assert "other" in one.living()
    watch.now += 9
    assert "other" in one.living()
    watch.now += 2
    assert one.living() == {"one": "1"}


def test_a_worker_that_begins_to_look_gives_each_a_whole_lease(tmp_path: Path) -> None:
    one, _, watch = pair(tmp_path)
    watch.now += 1000
    assert "other" in one.living()


def test_a_worker_that_was_dead_lives_again_with_its_next_beat(tmp_path: Path) -> None:
    one, other, watch = pair(tmp_path)
    one.living()
    watch.now += 11
    assert "other" not in one.living()
    other.beat()
    assert "other" in one.living()


def test_a_worker_that_leaves_is_gone_at_once(tmp_path: Path) -> None:
    one, other, _ = pair(tmp_path)
    one.living()
    other.leave()
    assert one.living() == {"one": "1"}


def test_a_worker_is_never_dead_to_itself(tmp_path: Path) -> None:
    one, _, watch = pair(tmp_path)
    one.living()
    watch.now += 100
    assert "one" in one.living()
