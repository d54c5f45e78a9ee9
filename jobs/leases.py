"""Signs of life: which workers live, told without comparing clocks.

Each worker raises a number of its own in the database. One whose number has not changed for the length of a lease, by
the watch of the worker that looks, is dead. Setting a clock changes nothing.
"""

import time
from collections.abc import Callable

import sqlalchemy as sa

from jobs.tables import workers

BEATS = 3  # in a lease


class Leases:
    """The lease of one worker, and what it sees of the others'."""

    def __init__(
        self, engine: sa.Engine, name: str, version: str, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine, self._name, self._version = engine, name, version
        self._seconds, self._clock = seconds, clock
        self._seen: dict[str, tuple[int, float]] = {}  # name -> its number, and when that was first seen

    def beat(self) -> None:
        """Show that this worker lives."""
        with self._engine.begin() as connection:
            query = sa.update(workers).where(workers.c.id == self._name)
            if not connection.execute(query.values(beat=workers.c.beat + 1, version=self._version)).rowcount:
                connection.execute(sa.insert(workers).values(id=self._name, beat=0, version=self._version))

    def leave(self) -> None:
        """Give the lease up, so that others need not wait for its end."""
        self._remove(self._name)

    def living(self) -> dict[str, str]:
        """Names of living workers, this one among them, and their versions. Dead ones lose their lease."""
        now = self._clock()
        with self._engine.connect() as connection:
            rows = list(connection.execute(sa.select(workers.c.id, workers.c.beat, workers.c.version)))
        alive = {self._name: self._version}
        for name, beat, version in rows:
            known = self._seen.get(name)
            if known is None or known[0] != beat:
                self._seen[name] = known = (beat, now)
            if name != self._name and now - known[1] > self._seconds:
                self._remove(name, beat)
            else:
                alive[name] = version
        return alive

    def _remove(self, name: str, beat: int | None = None) -> None:
        query = sa.delete(workers).where(workers.c.id == name)
        with self._engine.begin() as connection:
            connection.execute(query if beat is None else query.where(workers.c.beat == beat))
        self._seen.pop(name, None)
