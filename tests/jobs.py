"""Jobs for unit tests: a queue on SQLite in a folder, and jobs for it."""

import time
from pathlib import Path
from typing import Any

from jobs.job import Job, JobOptions, Source, new_id
from jobs.queue import Bounds, JobQueue
from jobs.store import Store
from jobs.tables import connect, migrate

ROOMY = Bounds(max_waiting=1000, max_waiting_bytes=2**30)


def queue_in(folder: Path, bounds: Bounds = ROOMY) -> JobQueue:
    engine = connect(f"sqlite:///{folder / 'jobs.sqlite'}")
    migrate(engine)
    return JobQueue(engine, Store(str(folder / "documents")), bounds)


def job(client: str = "ada", **more: Any) -> Job:
    values: dict[str, Any] = {
        "owner": client,
        "source": Source(name="a.pdf", bytes=10),
        "options": JobOptions(),
        "created_at": time.time(),
        "digest": "one",
    }
    return Job(id=new_id(), client=client, **values | more)
