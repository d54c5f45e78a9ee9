"""Faults around the queue of simple-content-ocr, with a real nats-server: each job ends once, whatever is killed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.js.client import JetStreamContext

from tests.ocr_service import Service, until
from tests.queue_site import PAGES, QueueSite, queue_site

JOB = {"job_id": "poison", "content_id": "c", "object_id": "o", "mime_type": "image/png"}
EVENT = json.dumps({"specversion": "1.0", "data": JOB | {"source_url": "https://example.org/a.png"}}).encode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[QueueSite]:
    with queue_site(tmp_path) as site:
        yield site


def test_a_message_of_a_killed_worker_is_delivered_again_and_its_document_read_once(site: QueueSite) -> None:
    with site.served() as api:
        site.queue.publish(site.order("broken", pages=PAGES))
        until(lambda: len(site.pages.noted("answered")) >= PAGES // 2)
        api.kill()
        api.start()
        (completed,) = site.queue.wait_for("ocr.job.completed")
        assert completed["data"]["markdown_content"].count("ends.") == PAGES
        until(site.queue.is_empty)
        asked = site.asked(api, "broken")
        assert len(asked) == PAGES
        assert sum(asked.values()) <= PAGES + 1
        assert len(site.queue.wait_for("ocr.job.completed")) == 1


def test_a_worker_that_is_told_to_end_gives_its_messages_back_at_once(site: QueueSite) -> None:
    with site.served(NATS_ACK_WAIT="600") as api:
        site.queue.publish(site.order("handed-on", pages=PAGES))
        until(lambda: len(site.pages.noted("answered")) >= 3)
        assert api.end() == 0
        assert site.pages.noted("asked") == site.pages.noted("answered")
        api.start()
        site.queue.wait_for("ocr.job.completed")
        until(site.queue.is_empty)
        assert set(site.asked(api, "handed-on").values()) == {1}


def test_a_nats_server_that_is_killed_and_comes_back_loses_nothing(site: QueueSite) -> None:
    with site.served() as api:
        for name in ("one", "two"):
            site.queue.publish(site.order(name, pages=5))
        until(lambda: len(site.pages.noted("answered")) >= 2)
        site.queue.kill()
        until(lambda: all(job["status"] == "done" for job in api.get("/v1/jobs").json()["data"]))
        site.queue.start()
        completed = site.queue.wait_for("ocr.job.completed", 2)
        assert {event["subject"] for event in completed} == {"one", "two"}
        until(site.queue.is_empty)
        assert set(site.pages.noted("asked").values()) == {1}


def test_a_worker_waits_for_a_nats_server_that_is_not_there_yet(site: QueueSite) -> None:
    site.queue.kill()
    with site.served(wait=False) as api:
        until(lambda: "NATS:" in api.log)
        site.queue.start()
        until(lambda: "are taken from the queue" in api.log)
        site.queue.publish(site.order("late"))
        site.queue.wait_for("ocr.job.completed")


async def refuse_thrice(stream: JetStreamContext) -> None:
    """Take the message and give it back, as workers that end over it do."""
    await stream.add_stream(name="OCR_JOBS", subjects=["ocr.jobs", "ocr.jobs.high", "ocr.jobs.low"])
    subscription = await stream.pull_subscribe("ocr.jobs", durable="ocr-worker", stream="OCR_JOBS")
    await stream.publish("ocr.jobs", EVENT)
    for _ in range(3):
        (message,) = await subscription.fetch(1)
        await message.nak()


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[QueueSite, Service]]:
    """A queue with room for little, whose first message has been refused thrice."""
    with queue_site(tmp_path_factory.mktemp("cramped"), max_payload=4096) as site:
        site.queue.ask(refuse_thrice)
        with site.served(NATS_MAX_DELIVER="3") as api:
            yield site, api


def test_a_message_that_was_delivered_too_often_is_a_dead_letter(cramped: tuple[QueueSite, Service]) -> None:
    site, _ = cramped
    letter = site.queue.wait_for("ocr.dlq")[0]
    assert letter["data"]["error_message"] == "it was delivered 4 times and became no job"
    assert letter["data"]["message"] == EVENT.decode()


def test_markdown_that_is_too_large_for_a_message_is_fetched(cramped: tuple[QueueSite, Service]) -> None:
    site, api = cramped
    site.queue.publish(site.order("large"))
    (completed,) = site.queue.wait_for("ocr.job.completed", job="large")
    assert completed["data"]["markdown_content"] is None
    assert api.get(completed["data"]["metadata"]["markdown_at"]).text.count("ends.") == 2
    until(site.queue.is_empty)
