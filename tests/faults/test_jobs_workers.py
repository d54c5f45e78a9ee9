"""Faults with several workers on one PostgreSQL: who takes over, when, and that two never both finish a job."""

import signal
import time

from tests.farm import Farm
from tests.faults.test_jobs import AT_ONCE, PAGES, asked, pages_done
from tests.ocr_service import Service, pdf, until
from tests.page_server import PageServer


def test_another_worker_takes_over_from_one_that_was_killed(farm: Farm, pages: PageServer) -> None:
    dying = farm.worker("dying")
    job = farm.api.submit(pdf(PAGES))
    until(lambda: pages_done(farm.api, job) >= PAGES // 2)
    other = farm.worker("other")
    dying.kill()
    started = time.monotonic()
    assert farm.api.wait(job)["status"] == "done"
    assert time.monotonic() - started < 60
    counts = asked(pages, job)
    assert len(counts) == PAGES
    assert sum(counts.values()) <= PAGES + AT_ONCE
    until(lambda: f"job done job={job}" in other.log)


def test_of_two_workers_that_both_think_a_job_is_theirs_one_ends_it(farm: Farm, pages: PageServer) -> None:
    stopped = farm.worker("stopped")
    job = farm.api.submit(pdf(PAGES))
    until(lambda: pages_done(farm.api, job) >= 10)
    stopped.signal(signal.SIGSTOP)
    other = farm.worker("other")
    until(lambda: "The jobs of stopped are taken over" in other.log)
    until(lambda: pages_done(farm.api, job) >= 20)
    stopped.signal(signal.SIGCONT)  # and reads on
    assert farm.api.wait(job)["status"] == "done"
    until(lambda: f"job done job={job}" in other.log)
    assert stopped.end() == 0
    assert "job done" not in stopped.log
    assert farm.api.result(job).count(b"ends.") == PAGES
    assert sum(asked(pages, job).values()) <= PAGES + 3 * AT_ONCE


def test_a_worker_that_ends_by_sigterm_leaves_its_job_to_others_at_once(farm: Farm, pages: PageServer) -> None:
    leaving = farm.worker("leaving")
    job = farm.api.submit(pdf(PAGES))
    until(lambda: pages_done(farm.api, job) >= 10)
    staying = farm.worker("staying", JOBS_LEASE_SECONDS="3600")  # no lease runs out, and none is looked at again
    until(lambda: "reads documents" in staying.log)
    assert leaving.end() == 0
    assert farm.api.wait(job)["status"] == "done"
    assert set(asked(pages, job).values()) == {1}


def test_a_second_worker_of_one_name_is_refused(farm: Farm) -> None:
    first = farm.worker("twin")
    until(lambda: "reads documents" in first.log)
    second = Service(farm.api.folder, "run_worker", farm.api.environment | {"JOBS_WORKER_ID": "twin"}).start()
    assert second.process is not None
    assert second.process.wait(60) == 1
    assert "A worker named twin runs already" in second.log


def test_a_job_of_a_release_that_is_gone_is_finished_by_the_next_with_the_pages_it_has(
    farm: Farm, pages: PageServer
) -> None:
    old = farm.worker("old")
    job = farm.api.submit(pdf(PAGES))
    until(lambda: pages_done(farm.api, job) >= 10)
    old.kill()
    new = farm.worker("new", version="9.9.9")
    assert (farm.api.wait(job)["status"], farm.api.job(job)["run"]) == ("done", 2)
    assert sum(asked(pages, job).values()) <= PAGES + AT_ONCE
    new.end()
    farm.worker("old")  # a step back
    assert farm.api.wait(farm.api.submit(pdf(2)))["status"] == "done"


def test_signals_that_come_while_a_worker_heeds_one_do_not_hang_it(farm: Farm) -> None:
    worker = farm.worker("told")
    until(lambda: "reads documents" in worker.log)
    for _ in range(1000):
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGINT)
    assert worker.end() == 0
