"""Faults of PostgreSQL and of workers that share it: all documents end, none is lost, none is told of twice."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.farm import Farm
from tests.faults.test_jobs import asked
from tests.ocr_service import pdf, until
from tests.page_server import PageServer
from tests.postgres import Postgres
from tests.webhook_receiver import Receiver, receiving

DOCUMENTS = 6
PAGES = 4
SETTINGS = {
    "JOBS_DOCUMENTS": "2",  # so that both workers have some
    "JOBS_WEBHOOK_SECRET": "0123456789abcdef",
    "ALLOWED_HOSTS": "127.0.0.1",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


def submitted(farm: Farm, receiver: Receiver) -> list[str]:
    return [farm.api.submit(pdf(PAGES, seed), webhook=receiver.url) for seed in range(DOCUMENTS)]


def done(farm: Farm) -> int:
    return sum(job["pages"]["done"] for job in farm.api.get("/v1/jobs", params={"limit": 100}).json()["data"])


def assert_all_done_and_told_once(farm: Farm, jobs: list[str], receiver: Receiver) -> None:
    ended = [farm.api.wait(job) for job in jobs]
    assert [job["error"] for job in ended if job["status"] != "done"] == [], farm.logs()
    texts = [farm.api.result(job) for job in jobs]
    assert len(set(texts)) == len(jobs)
    assert all(text.count(b"ends.") == PAGES for text in texts)
    until(lambda: {json.loads(body)["data"]["id"] for _, body in receiver.got} == set(jobs))
    time.sleep(1)  # in which another message would come
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == len(jobs)


def test_two_workers_share_the_documents_and_read_each_page_once(
    farm: Farm, pages: PageServer, receiver: Receiver
) -> None:
    workers = farm.worker("one"), farm.worker("two")
    jobs = submitted(farm, receiver)
    assert_all_done_and_told_once(farm, jobs, receiver)
    for worker in workers:
        assert "job done" in worker.log
    assert set(pages.noted("asked").values()) == {1}
    assert len(pages.noted("asked")) == DOCUMENTS * PAGES


def test_of_two_workers_one_is_killed_and_the_other_finishes_all_documents(farm: Farm, receiver: Receiver) -> None:
    farm.worker("staying")
    dying = farm.worker("dying")
    jobs = submitted(farm, receiver)
    until(lambda: "job done" in dying.log or done(farm) >= DOCUMENTS)
    dying.kill()
    assert_all_done_and_told_once(farm, jobs, receiver)


def test_postgresql_is_restarted_in_the_middle(
    farm: Farm, pages: PageServer, database: Postgres, receiver: Receiver
) -> None:
    farm.worker("one")
    farm.worker("two")
    jobs = submitted(farm, receiver)
    until(lambda: done(farm) >= DOCUMENTS)
    database.stop()
    refused = farm.api.post("/v1/jobs", files={"file": ("document.pdf", pdf(1))})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert farm.api.get("/health").status_code == 503
    time.sleep(3)  # longer than a lease
    database.start()
    assert_all_done_and_told_once(farm, jobs, receiver)
    assert farm.api.get("/health").status_code == 200
    assert all(count <= 2 for job in jobs for count in asked(pages, job).values())


def test_a_worker_whose_database_is_gone_still_ends_when_it_is_told_to(farm: Farm, database: Postgres) -> None:
    worker = farm.worker("lonely")
    until(lambda: "reads documents" in worker.log)
    database.stop()
    try:
        time.sleep(3)  # until it waits for its database
        told = time.monotonic()
        assert worker.end() == 0
        assert time.monotonic() - told < 40
    finally:
        database.start()
