"""Faults of the OCR API, its worker, its store and the model server: every accepted job ends, once; none is lost.

The processes are real; the model server is one that takes a fixed time for a page (tests/page_server.py).
"""

import json
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.faulty import INJECT
from tests.ocr_service import Service, pdf, running, until
from tests.page_server import PageServer, page_server
from tests.webhook_receiver import receiving

PAGES = 40
AT_ONCE = 4  # pages that the worker asks for
READING = 0.15  # seconds for a page
LEASE = 1  # seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("pages"), READING) as server:
        yield server


@pytest.fixture
def pages(server: PageServer) -> Iterator[PageServer]:
    """The model server."""
    yield server
    server.mend()


@pytest.fixture(autouse=True)
def mended(faults: Path) -> Iterator[None]:
    yield
    for fault in ("full-disk", "clock", "lost-answer", "lost-claim"):
        (faults / fault).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what is asked of inject/sitecustomize.py."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, server: PageServer, faults: Path) -> Iterator[Service]:
    """The OCR API with a worker in it, in whose process faults can be switched on."""
    settings = {"VLLM_URL": server.url, "JOBS_PAGES": str(AT_ONCE), "JOBS_LEASE_SECONDS": str(LEASE)}
    webhooks = {"ALLOWED_HOSTS": "127.0.0.1", "JOBS_WEBHOOK_SECRET": "0123456789abcdef"}
    inject = f"import runpy; runpy.run_path({str(INJECT / 'sitecustomize.py')!r})"
    with running(tmp_path_factory.mktemp("ocr"), before=inject, **settings, **webhooks, FAULTS=str(faults)) as service:
        yield service


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, server: PageServer) -> Iterator[Service]:
    """One that reads one page at a time, within limits of time."""
    limits = {"JOBS_PAGE_SECONDS": "0.5", "JOBS_ATTEMPTS": "2", "JOBS_SECONDS": "4s"}
    settings = {"VLLM_URL": server.url, "JOBS_PAGES": "1", "JOBS_DOCUMENTS": "1"}
    with running(tmp_path_factory.mktemp("narrow"), **settings, **limits) as service:
        yield service


def pages_done(api: Service, job: str) -> int:
    return int(api.job(job)["pages"]["done"])


def asked(pages: PageServer, job: str, what: str = "asked") -> dict[str, int]:
    return {page: count for page, count in pages.noted(what).items() if page.startswith(job)}


def test_a_killed_process_goes_on_from_the_last_finished_page_and_the_result_is_equal(
    api: Service, pages: PageServer
) -> None:
    document = pdf(PAGES)
    whole = api.submit(document)
    api.wait(whole, "done")
    broken = api.submit(document)
    until(lambda: pages_done(api, broken) >= PAGES // 2)
    api.kill()
    started = time.monotonic()
    api.start()
    job = api.wait(broken)
    assert (job["status"], job["pages"]) == ("done", {"total": PAGES, "done": PAGES})
    assert time.monotonic() - started < 60
    assert api.result(broken) == api.result(whole)
    assert api.result(broken, "json").replace(broken.encode(), whole.encode()) == api.result(whole, "json")
    counts = asked(pages, broken)
    assert len(counts) == PAGES
    assert sum(counts.values()) <= PAGES + AT_ONCE
    assert max(counts.values()) <= 2


def test_jobs_that_were_accepted_before_the_api_was_killed_are_all_done_and_told_of_once(api: Service) -> None:
    with receiving() as receiver:
        accepted = [api.submit(pdf(3, seed), webhook=receiver.url) for seed in range(12)]
        api.kill()
        api.start()
        assert [api.wait(job)["status"] for job in accepted] == ["done"] * 12
        texts = [api.result(job) for job in accepted]
        assert len(set(texts)) == 12
        assert all(text.count(b"ends.") == 3 for text in texts)
        until(lambda: {json.loads(body)["data"]["id"] for _, body in receiver.got} == set(accepted))
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 12  # one that is sent again has its id


def test_a_job_is_told_of_whose_end_the_database_kept_although_it_broke_off_before_it_said_so(
    api: Service, faults: Path
) -> None:
    with receiving() as receiver:
        (faults / "lost-answer").touch()
        job = api.submit(pdf(1), webhook=receiver.url)
        assert api.wait(job)["status"] == "done"
        until(lambda: receiver.got)
    assert (faults / "lost-answer.struck").exists()
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {f"{job}.1.done"}


def test_a_job_is_read_once_whose_claim_the_database_kept_although_it_broke_off_before_it_said_so(
    api: Service, pages: PageServer, faults: Path
) -> None:
    (faults / "lost-claim").touch()
    job = api.submit(pdf(3))
    assert api.wait(job)["status"] == "done"
    assert (faults / "lost-claim.struck").exists()
    assert f"Claimed and not begun, so that they wait again: {job}.1" in api.log
    assert set(asked(pages, job).values()) == {1}


def test_a_clock_that_is_set_by_hours_changes_nothing(api: Service, pages: PageServer, faults: Path) -> None:
    job = api.submit(pdf(PAGES))
    for step, done in (("18000", 5), ("-18000", 15)):
        until(lambda done=done: pages_done(api, job) >= done)
        (faults / "clock.part").write_text(step)
        (faults / "clock.part").rename(faults / "clock")
    assert api.wait(job)["status"] == "done"
    assert set(asked(pages, job).values()) == {1}
    assert api.wait(api.submit(pdf(2)))["status"] == "done"


def test_a_model_server_that_is_gone_is_waited_for(api: Service, pages: PageServer) -> None:
    job = api.submit(pdf(PAGES))
    until(lambda: pages_done(api, job) >= 5)
    pages.kill()
    until(lambda: api.log.count("cannot be reached") >= 2)
    assert api.job(job)["status"] == "running"
    pages.start()
    assert api.wait(job)["status"] == "done"


def test_a_document_submitted_ten_times_at_once_under_one_id_is_one_job(api: Service, pages: PageServer) -> None:
    document, before = pdf(2), len(list((api.folder / "documents").iterdir()))

    def submit(_: int) -> tuple[int, str]:
        answer = api.post("/v1/jobs", files={"file": ("document.pdf", document)}, data={"id": "order-7"})
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(submit, range(10)))
    assert sorted(status for status, _ in answers) == [200] * 9 + [202]
    (job,) = {job for _, job in answers}
    assert api.wait(job)["status"] == "done"
    assert set(asked(pages, job).values()) == {1}
    assert len(list((api.folder / "documents").iterdir())) == before + 1  # copies of the document are gone


def test_sigterm_lets_pages_under_way_finish_and_asks_for_none_twice(api: Service, pages: PageServer) -> None:
    job = api.submit(pdf(PAGES))
    until(lambda: pages_done(api, job) >= 10)
    assert api.end() == 0
    assert asked(pages, job) == asked(pages, job, "answered")
    api.start()
    assert api.wait(job)["status"] == "done"
    assert set(asked(pages, job).values()) == {1}


def test_a_store_that_is_gone_refuses_new_jobs_and_holds_running_ones(api: Service) -> None:
    job = api.submit(pdf(PAGES))
    until(lambda: pages_done(api, job) >= 5)
    store, away = api.folder / "documents", api.folder / "away"
    store.rename(away)
    store.write_text("no folder")
    refused = api.post("/v1/jobs", files={"file": ("document.pdf", pdf(1))})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert api.get("/health").status_code == 503
    until(lambda: "it is waited for" in api.log)
    assert api.job(job)["status"] == "running"
    store.unlink()
    away.rename(store)
    assert api.wait(job)["status"] == "done"
    assert api.get("/health").status_code == 200


def test_a_store_that_is_full_refuses_new_jobs_and_holds_running_ones_with_the_pages_they_have(
    api: Service, pages: PageServer, faults: Path
) -> None:
    job = api.submit(pdf(PAGES))
    until(lambda: pages_done(api, job) >= 5)
    documents = api.folder / "documents"
    kept, parts = len(list(documents.iterdir())), set(documents.rglob(".*"))  # killed processes leave some
    (faults / "full-disk").touch()
    refused = api.post("/v1/jobs", files={"file": ("document.pdf", pdf(1))})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert "No space left on device" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) > 0
    assert api.get("/health").status_code == 503
    until(lambda: len(asked(pages, job)) == pages_done(api, job) + AT_ONCE and "No space left" in api.log)
    assert api.job(job)["status"] == "running"
    until(lambda: set(documents.rglob(".*")) <= parts)  # attempts come and go
    assert len(list(documents.iterdir())) == kept
    (faults / "full-disk").unlink()
    assert api.wait(job)["status"] == "done"
    assert api.result(job).count(b"ends.") == PAGES
    assert set(asked(pages, job).values()) == {1}  # what was read is kept for the time when there is room
    assert api.get("/health").status_code == 200


def test_failures_that_may_pass_are_tried_again_and_others_are_not(api: Service, pages: PageServer) -> None:
    pages.fault(500, "out of order")
    passing = api.submit(pdf(1))
    until(lambda: sum(asked(pages, passing).values()) >= 2)
    pages.mend()
    assert api.wait(passing)["status"] == "done"
    pages.fault(400, "the image is damaged")
    failed = api.submit(pdf(2, seed=1))
    job = api.wait(failed)
    said = {"kind": "input", "code": "refused", "message": "the image is damaged", "page": 1}
    assert (job["status"], job["error"]) == ("failed", said)
    assert set(asked(pages, failed).values()) == {1}


def test_a_failed_job_is_listed_with_its_reason_and_a_retry_reads_only_what_is_missing(
    api: Service, pages: PageServer
) -> None:
    pages.fault(401, "no key", from_page=21)
    job = api.submit(pdf(PAGES))
    assert api.wait(job)["status"] == "failed"
    (listed,) = api.get("/v1/jobs", params={"status": "failed", "limit": 1}).json()["data"]
    assert (listed["id"], listed["error"]["kind"]) == (job, "ours")
    assert "VLLM_API_KEY" in listed["error"]["message"]
    done = listed["pages"]["done"]
    before = len(asked(pages, job))
    pages.mend()
    assert api.post(f"/v1/jobs/{job}/retry").status_code == 202
    assert (api.wait(job)["status"], api.job(job)["run"]) == ("done", 2)
    assert len(asked(pages, job, "answered")) == PAGES
    assert done == 20
    assert before < PAGES


def test_a_cancelled_job_ends_within_a_page(api: Service, pages: PageServer) -> None:
    pages.hold()
    job = api.submit(pdf(3))
    until(lambda: len(asked(pages, job)) == 3)
    assert api.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    started = time.monotonic()
    assert api.end() == 0  # pages under way would hold it for a minute
    assert time.monotonic() - started < 45
    pages.mend()
    api.start()
    assert api.job(job)["status"] == "cancelled"
    assert asked(pages, job, "answered") == {}


def test_a_second_worker_on_an_sqlite_file_is_refused_by_name(api: Service) -> None:
    second = Service(api.folder, "run_worker", dict(api.environment)).start()
    assert second.process is not None
    assert second.process.wait(60) == 1
    assert api.process is not None
    assert f"has a worker already, process {api.process.pid}" in second.log
    assert "JOBS_DATABASE_URL=postgresql://" in second.log


def test_with_five_thousand_jobs_waiting_every_request_is_answered_within_half_a_second(
    tmp_path: Path, pages: PageServer
) -> None:
    with running(tmp_path / "ocr", VLLM_URL=pages.url, JOBS_DOCUMENTS="1", ALLOWED_HOSTS="127.0.0.1") as api:
        pages.fault(503, "busy")  # so that none is read
        for batch in range(5):
            urls = [f"{pages.url}/{batch}/{number}" for number in range(1000)]
            assert api.post("/v1/jobs", json={"url": urls, "batch": f"batch-{batch}"}).status_code == 202
        requests = [
            ("GET", "/health", {}),
            ("GET", "/v1/jobs?status=queued&batch=batch-3", {}),
            ("GET", "/metrics", {}),
            ("POST", "/v1/jobs", {"files": {"file": ("document.pdf", pdf(1))}}),
        ]
        for method, path, content in requests:
            took = []
            for _ in range(10):
                started = time.monotonic()
                assert api.ask(method, path, **content).status_code in (200, 202)
                took.append(time.monotonic() - started)
            assert statistics.median(took) < 0.5, path


def test_a_stopped_worker_process_does_not_lose_its_job(api: Service) -> None:
    """A pause of the whole process, as of a machine that sleeps."""
    job = api.submit(pdf(PAGES))
    until(lambda: pages_done(api, job) >= 5)
    api.signal(signal.SIGSTOP)
    time.sleep(1.5 * LEASE)
    api.signal(signal.SIGCONT)
    assert api.wait(job)["status"] == "done"
    assert len(json.loads(api.result(job, "json"))["pages"]) == PAGES


def test_time_limits_of_pages_and_jobs_end_them_with_their_reason(narrow: Service, pages: PageServer) -> None:
    pages.hold()
    error = narrow.wait(narrow.submit(pdf(1)))["error"]
    assert (error["kind"], error["code"], error["page"]) == ("passing", "server_timeout", 1)
    pages.mend()
    error = narrow.wait(narrow.submit(pdf(PAGES)))["error"]
    assert (error["kind"], error["code"]) == ("passing", "job_timeout")


def test_an_urgent_document_does_not_wait_for_long_ones(narrow: Service) -> None:
    long = [narrow.submit(pdf(PAGES, seed)) for seed in range(2)]
    until(lambda: pages_done(narrow, long[0]) >= 2)
    urgent = narrow.submit(pdf(1), priority="high")
    assert narrow.wait(urgent)["status"] == "done"
    assert pages_done(narrow, long[0]) < PAGES
    assert narrow.job(long[1])["status"] == "queued"
    for job in long:
        narrow.post(f"/v1/jobs/{job}/cancel")
