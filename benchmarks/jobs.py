#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" -P "$0" "$@"'
"""What the queue of the OCR API costs, with servers that are simulated: each takes a fixed time for a page.

    benchmarks/jobs.py                                      all of it, about half an hour
    benchmarks/jobs.py --jobs 500 --finished 100000         a shorter try
    benchmarks/jobs.py --only overhead two_servers

API and workers are real processes with SQLite and with a real PostgreSQL of their own. The exit status is 1 if a bar is
missed. The last line is JSON, with the sections that were measured:

    overhead      page_ms: how much longer a page of a document of 100 takes than the same requests without a queue, one
                  at once; cpu_ms: what of it the worker computes; document_ms: the same for a document of one page
                  (bar: 50 ms a page)
    four_workers  share of the pages/s that a saturated server gives to clients without a queue (bar: 0.95)
    two_servers   their pages/s over those of one server, for one worker (bar: 1.9)
    million       how much longer a submission takes with a million finished jobs in the database (bar: twice)
    memory        mib_per_1000_jobs: growth of API and worker, by least squares over the second half (bar: 1)
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import sqlalchemy as sa

from jobs.job import Job, JobOptions, Source
from jobs.readers import ChatReader
from jobs.reading import PageFile
from jobs.servers import Servers
from jobs.tables import connect
from tests.farm import Farm
from tests.ocr_service import Service, pdf
from tests.page_server import PageServer
from tests.postgres import postgres

BARS = {"page_ms": 50.0, "share": 0.95, "times": 1.9, "slower": 2.0, "mib_per_1000_jobs": 1.0}
LONG = 100  # pages in a document whose pages are measured
ROUNDS = 3  # measurements whose median counts
SLOTS = 8  # pages at once in a simulated server
KEPT = 6 * 24 * 3600.0  # seconds; less than JOBS_RETENTION
WAITING = 1000  # jobs that the memory's measurement keeps waiting, at most

Result = dict[str, Any]
Databases = Mapping[str, Callable[[], str]]


@contextlib.contextmanager
def page_servers(folder: Path, count: int, seconds: float, slots: int = SLOTS) -> Iterator[list[str]]:
    """Addresses of simulated servers."""
    with contextlib.ExitStack() as stack:
        servers = [PageServer(folder / f"server{number}", seconds, slots) for number in range(count)]
        for server in servers:
            server.folder.mkdir(exist_ok=True)
            server.start()
            stack.callback(server.kill)
        yield [server.url for server in servers]


@contextlib.contextmanager
def farm(database: str, urls: list[str], workers: int, **settings: str) -> Iterator[Farm]:
    """An API and workers, with a store of their own, once they have read a document."""
    environment = {"JOBS_DATABASE_URL": database, "VLLM_URL": ",".join(urls), "JOBS_LEASE_SECONDS": "15"} | settings
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        made = Farm(Path(folder), stack, environment)
        for number in range(workers):
            made.worker(f"worker-{number}")
        submit(made.api, 4 * workers, 1)
        wait_for_all(made.api)
        yield made


def submit(api: Service, documents: int, pages: int) -> None:
    data = pdf(pages)
    for _ in range(documents):
        api.submit(data)


def wait_for_all(api: Service, left: int = 0) -> None:
    """Until at most `left` jobs wait or are read."""
    while sum(api.get("/health").json()["jobs"].values()) > left:
        time.sleep(0.1)


def without_queue(urls: list[str], pages: int, at_once: int) -> float:
    """Seconds that the requests of so many pages take, by the workers' own client."""

    async def ask_all() -> float:
        servers = Servers(urls, None, SLOTS * 100, 600)
        reader = ChatReader("any")
        job = Job(id="none", owner="", client="", source=Source(), options=JobOptions(), created_at=0)
        page = PageFile(number=1, data=pdf(1))
        left = iter(range(pages))

        async def some() -> None:
            for _ in left:
                await reader.ask(servers, job, page, {})

        began = time.monotonic()
        await asyncio.gather(*(some() for _ in range(at_once)))
        took = time.monotonic() - began
        await servers.close()
        return took

    return asyncio.run(ask_all())


def overhead(databases: Databases, folder: Path, _: argparse.Namespace) -> Result:
    found: Result = {}
    with page_servers(folder, 1, 0.1) as urls:
        alone = statistics.median(without_queue(urls, LONG, 1) for _ in range(ROUNDS))
        for name, database in databases.items():
            with farm(database(), urls, 1, JOBS_PAGES="1") as running:
                cpu = cpu_seconds(running.processes()[1])
                long = statistics.median(seconds_of_job(running.api, LONG) for _ in range(ROUNDS))
                cpu = (cpu_seconds(running.processes()[1]) - cpu) / ROUNDS
                short = [seconds_of_job(running.api, 1) for _ in range(20)]
            found[name] = {
                "page_ms": round((long - alone) / LONG * 1000, 1),
                "cpu_ms": round(cpu / LONG * 1000, 1),
                "document_ms": round((statistics.median(short) - alone / LONG) * 1000),
            }
    return found


def seconds_of_job(api: Service, pages: int) -> float:
    began = time.monotonic()
    job = api.submit(pdf(pages))
    while api.job(job)["status"] != "done":
        time.sleep(0.02)
    return time.monotonic() - began


def four_workers(databases: Databases, folder: Path, arguments: argparse.Namespace) -> Result:
    """PostgreSQL only, since SQLite has one worker."""
    pages = arguments.pages
    with page_servers(folder, 1, 1.0) as urls:
        alone = pages / without_queue(urls, pages, 4 * SLOTS)
        with farm(databases["postgresql"](), urls, 4) as running:
            queued = pages / seconds_of_documents(running.api, pages // 10, 10)
    return {"server": round(alone, 2), "queue": round(queued, 2), "share": round(queued / alone, 3)}


def two_servers(databases: Databases, folder: Path, arguments: argparse.Namespace) -> Result:
    rates = []
    for count in 1, 2:
        with (
            page_servers(folder, count, 1.0) as urls,
            farm(databases["postgresql"](), urls, 1, JOBS_PAGES=str(SLOTS)) as running,
        ):
            rates.append(arguments.pages / seconds_of_documents(running.api, arguments.pages // 10, 10))
    return {"one": round(rates[0], 2), "two": round(rates[1], 2), "times": round(rates[1] / rates[0], 3)}


def seconds_of_documents(api: Service, documents: int, pages: int) -> float:
    began = time.monotonic()
    submit(api, documents, pages)
    wait_for_all(api)
    return time.monotonic() - began


def million(databases: Databases, folder: Path, arguments: argparse.Namespace) -> Result:
    """Finished jobs are rows like those that jobs leave, since DBOS' own are removed a minute after a job's end."""
    found: Result = {}
    with page_servers(folder, 1, 0.1) as urls:
        for name, make in databases.items():
            database = make()
            with farm(database, urls, 1) as running:
                before = submission_ms(running.api)
                multiply(database, arguments.finished)
                after = submission_ms(running.api)
            found[name] = {"before_ms": before, "after_ms": after, "slower": round(after / before, 2)}
    return found


def submission_ms(api: Service) -> float:
    """The median of submissions, one after another, while nothing else is read."""
    data, times = pdf(1), []
    for _ in range(100):
        began = time.monotonic()
        api.submit(data)
        times.append(time.monotonic() - began)
        if len(times) % 20 == 0:
            wait_for_all(api)
    return round(statistics.median(times) * 1000, 1)


def multiply(database: str, count: int) -> None:
    """Fill the database with copies of a finished job, of the days in which they are kept."""
    engine = connect(database.replace("postgresql://", "postgresql+psycopg://"))
    columns = [column["name"] for column in sa.inspect(engine).get_columns("ocr_jobs")]
    changed = {
        "id": "'job_000000000000' || substr('000000000000' || n, -12)",
        "created_at": f"created_at - {KEPT} * n / {count}",
        "finished_at": f"created_at - {KEPT} * n / {count} + 5",
    }
    if engine.dialect.name == "postgresql":
        changed["id"] = "'job_000000000000' || lpad(n::text, 12, '0')"
        numbers = f"SELECT generate_series(1, {count}) AS n"
    else:
        numbers = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c"  # noqa: S608
    values = ", ".join(changed.get(name, name) for name in columns)
    one = "SELECT * FROM ocr_jobs WHERE status = 'done' LIMIT 1"
    query = f"INSERT INTO ocr_jobs ({', '.join(columns)}) SELECT {values} FROM ({one}) j, ({numbers}) k"  # noqa: S608
    with engine.begin() as connection:
        connection.execute(sa.text(query))
    engine.dispose()


def memory(databases: Databases, folder: Path, arguments: argparse.Namespace) -> Result:
    samples: dict[str, list[tuple[int, float]]] = {"api": [], "worker": []}
    began = time.monotonic()
    with (
        page_servers(folder, 1, 0.05, 64) as urls,
        farm(databases["postgresql"](), urls, 1, JOBS_RETENTION="5m", JOBS_PAGES="32") as running,
    ):
        step = max(50, arguments.jobs // 50)
        for done in range(0, arguments.jobs, step):
            submit(running.api, step, 1)
            wait_for_all(running.api, left=min(step, WAITING) // 2)
            for name, process in zip(samples, running.processes(), strict=True):
                samples[name].append((done + step, resident_mib(process)))
            print(f"{done + step} jobs: {[round(values[-1][1]) for values in samples.values()]} MiB", file=sys.stderr)
        wait_for_all(running.api)
    found: Result = {name: growth(values) for name, values in samples.items()}
    return found | {"jobs": arguments.jobs, "minutes": round((time.monotonic() - began) / 60, 1)}


def cpu_seconds(process: int) -> float:
    used = psutil.Process(process).cpu_times()
    return used.user + used.system


def resident_mib(process: int) -> float:
    """Memory of a process and its children."""
    top = psutil.Process(process)
    return sum(one.memory_info().rss for one in (top, *top.children(recursive=True))) / 2**20


def growth(samples: list[tuple[int, float]]) -> Result:
    jobs, mib = np.array(samples[len(samples) // 2 :]).T
    slope = np.polyfit(jobs, mib, 1)[0] * 1000
    return {"mib_at_end": round(float(mib[-1])), "mib_per_1000_jobs": round(float(slope), 2)}


def missed(found: Any, path: str = "") -> Iterator[str]:
    """Bars that are missed, wherever in the results."""
    for name, value in found.items() if isinstance(found, dict) else ():
        yield from missed(value, f"{path}{name} ")
        if name in BARS and (value < BARS[name] if name in ("share", "times") else value > BARS[name]):
            yield f"{path}{name}: {value}, and the bar is {BARS[name]}"


SECTIONS = {one.__name__: one for one in (overhead, four_workers, two_servers, million, memory)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to measure")
    parser.add_argument("--pages", type=int, default=400, help="pages for four_workers and two_servers (default: 400)")
    parser.add_argument("--finished", type=int, default=1_000_000, help="finished jobs (default: 1000000)")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs for memory (default: 10000)")
    arguments = parser.parse_args()
    results: Result = {}
    with tempfile.TemporaryDirectory() as folder, postgres() as server:
        names = iter(range(1000))
        databases: Databases = {
            "sqlite": lambda: f"sqlite:///{folder}/{next(names)}.sqlite",
            "postgresql": server.database,
        }
        for name in arguments.only:
            results[name] = SECTIONS[name](databases, Path(folder), arguments)
            print(json.dumps({name: results[name]}), file=sys.stderr)
    faults = list(missed(results))
    for fault in faults:
        print(f"missed: {fault}", file=sys.stderr)
    print(json.dumps(results))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
