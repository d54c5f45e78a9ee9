"""The queue of simple-content-ocr on a real nats-server; the model server takes a fixed time for a page."""

import json
from collections.abc import Iterator

import pytest

from tests.ocr_service import Service, until
from tests.queue_site import ACK_WAIT, PAGES, READING, QueueSite, queue_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueSite]:
    with queue_site(tmp_path_factory.mktemp("queue")) as site:
        yield site


@pytest.fixture(scope="module")
def api(site: QueueSite) -> Iterator[Service]:
    """One with little room, so that messages wait for it."""
    with site.served(NATS_MAX_CONCURRENT="2", JOBS_DOCUMENTS="1", JOBS_MAX_WAITING="1") as service:
        yield service


def test_a_job_tells_how_far_it_is_and_what_was_read(api: Service, site: QueueSite) -> None:
    site.queue.publish(site.order("letter", pages=3, metadata={"case": "7"}))
    (completed,) = site.queue.wait_for("ocr.job.completed", job="letter")
    assert (completed["type"], completed["specversion"]) == ("com.simple-ocr.job.completed", "1.0")
    data = completed["data"]
    assert (data["job_id"], data["status"], data["page_count"], data["tenant_id"]) == ("letter", "completed", 3, "acme")
    assert data["markdown_content"].count("ends.") == 3
    assert data["metadata"]["content_id"] == "content of letter"
    (started,) = site.queue.wait_for("ocr.job.started", job="letter")
    assert started["data"]["worker_id"] == data["worker_id"]
    told = [event["data"] for event in site.queue.wait_for("ocr.job.progress", job="letter")]
    assert {event["total_pages"] for event in told} == {3}
    assert told[-1]["percent_complete"] in (33.3, 66.7, 100.0)
    until(site.queue.is_empty)
    (job,) = api.get("/v1/jobs", params={"id": "letter"}).json()["data"]
    assert (job["status"], job["metadata"]) == ("done", {"case": "7"})
    until(lambda: 'jobs_nats_messages_total{outcome="completed"} 1.0' in api.get("/metrics").text)


def test_a_document_that_takes_longer_than_a_message_is_held_is_delivered_once(api: Service, site: QueueSite) -> None:
    before = site.queue.consumer().delivered.consumer_seq
    site.queue.publish(site.order("long", pages=PAGES))
    site.queue.wait_for("ocr.job.completed", job="long")
    until(site.queue.is_empty)
    assert site.queue.consumer().delivered.consumer_seq == before + 1
    assert PAGES * READING > ACK_WAIT
    assert set(site.asked(api, "long").values()) == {1}


def test_a_job_that_is_sent_twice_is_read_once(api: Service, site: QueueSite) -> None:
    job = site.order("twice")
    site.queue.publish(job)
    site.queue.publish(job | {"source_url": f"{job['source_url']}&signed=again"})
    site.queue.wait_for("ocr.job.completed", job="twice")
    until(site.queue.is_empty)
    assert set(site.asked(api, "twice").values()) == {1}


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not JSON", "it is not JSON"),
        (b'{"job_id": "1"}', "it is no CloudEvent"),
        (b'{"specversion": "1.0", "data": {"job_id": "1"}}', "data.content_id: Field required"),
    ],
)
def test_a_message_that_is_no_job_is_a_dead_letter_with_its_reason(site: QueueSite, body: bytes, said: str) -> None:
    before = len(site.queue.events())
    site.queue.publish_raw(body)
    failed, letter = until(lambda: len(found := site.queue.events()[before:]) == 2 and found)
    assert (failed["nats_subject"], letter["nats_subject"]) == ("ocr.job.failed", "ocr.dlq")
    assert letter["data"]["error_type"] == failed["data"]["error_type"] == "validation"
    assert letter["data"]["error_message"].startswith(said)
    assert letter["data"]["message"] == body.decode()
    until(site.queue.is_empty)


@pytest.mark.usefixtures("api")
def test_a_dead_letter_is_replayed_once_its_cause_is_mended(site: QueueSite) -> None:
    job = site.order("gone")
    answer = site.files.answers["/gone"]
    site.files.answers["/gone"] = lambda handler: handler.answer(404)
    site.queue.publish(job)
    (letter,) = site.queue.wait_for("ocr.dlq", job="gone")
    (failed,) = site.queue.wait_for("ocr.job.failed", job="gone")
    assert (failed["data"]["status"], failed["data"]["retry_count"]) == ("failed", 0)
    site.files.answers["/gone"] = answer
    site.queue.publish(letter["data"]["job"] | {"hints": {"force": "true"}})
    site.queue.wait_for("ocr.job.completed", job="gone")
    until(site.queue.is_empty)


@pytest.mark.usefixtures("api")
def test_an_event_in_the_binary_mode_is_a_job(site: QueueSite) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "tests", "ce-type": "job"}
    site.queue.publish_raw(json.dumps(site.order("binary")).encode(), **headers)
    site.queue.wait_for("ocr.job.completed", job="binary")


def test_a_job_of_high_priority_overtakes_those_of_low_that_wait_for_room(api: Service, site: QueueSite) -> None:
    low = [f"low-{number}" for number in range(6)]
    for name in low:
        site.queue.publish(site.order(name, pages=4), "ocr.jobs.low")
    site.queue.wait_for("ocr.job.started", job=low[0])
    site.queue.publish(site.order("urgent", pages=4), "ocr.jobs.high")
    for name in ("urgent", *low):
        site.queue.wait_for("ocr.job.completed", job=name)
    done = [event["subject"] for event in site.queue.wait_for("ocr.job.completed")]
    assert done.index("urgent") < done.index(low[3])
    (job,) = api.get("/v1/jobs", params={"id": "urgent"}).json()["data"]
    assert job["priority"] == "high"
    assert site.queue.consumer("ocr-worker-low").num_redelivered == 0  # those that waited were held
