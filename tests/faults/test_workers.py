"""Faults that end or stall a worker: what its clients and probes see, and how service resumes."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx

from engine.watchdog import MIN_PLANNED_SECONDS, STUCK
from tests.e2e.servers import HANG_SECONDS, half_a_request, wait_until
from tests.faults.faulty import CULPRIT, Faulty, Outcome, ask, ask_all, endless_question, line_question

READ = "Test Document\nDate: March 14, 2025"


def struck_while_running(faulty: Faulty, strike: Callable[[], Any]) -> list[Outcome]:
    """Outcomes of a running stream, three running whole answers and a waiting one when the fault strikes."""

    async def run() -> list[Outcome]:
        async with httpx.AsyncClient(base_url=faulty.server.url, timeout=HANG_SECONDS) as client:
            begun = asyncio.Event()
            stream = asyncio.create_task(ask(client, endless_question(stream=True), begun))
            await begun.wait()
            whole = [asyncio.create_task(ask(client, endless_question(number))) for number in range(1, 5)]
            await asyncio.to_thread(wait_until, lambda: faulty.get("/health").json()["queue"]["waiting"] == 1)
            await asyncio.to_thread(strike)
            return await asyncio.gather(stream, *whole)

    return asyncio.run(run())


def assert_service_resumes(faulty: Faulty, former: int) -> None:
    """Check that another worker serves; requests that come before it does wait or get 503."""
    (meanwhile,) = ask_all(faulty, line_question())
    assert meanwhile.status in (200, 503)
    assert meanwhile.done
    faulty.server.wait_until_ready()
    assert faulty.worker.pid != former
    (outcome,) = ask_all(faulty, line_question())
    assert outcome.text == READ
    assert outcome.complete


def test_when_the_engines_thread_dies_every_client_gets_an_error_and_another_worker_takes_over(faulty: Faulty) -> None:
    former = faulty.worker.pid
    probes: list[httpx.Response] = []

    def strike() -> None:
        # The worker ends after two seconds, or once an unfinished request is over: a slow test needs the latter.
        with half_a_request(faulty.server), faulty.fault("dead-thread"):
            faulty.wait_until_struck("dead-thread")
            wait_until(lambda: faulty.get("/health").status_code != 200)
            probes.extend(faulty.get(path) for path in ("/health", "/livez"))

    stream, *whole = struck_while_running(faulty, strike)
    health, alive = probes
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert health.json()["reason"] == "the engine stopped working: an injected fault of the thread"
    assert alive.status_code == 503
    assert (stream.status, stream.done, stream.finish_reason) == (200, True, None)
    assert [outcome.status for outcome in whole] == [503] * 4
    assert all("the engine stopped working" in str(outcome.error) for outcome in [stream, *whole])
    assert_service_resumes(faulty, former)


def test_a_worker_that_is_killed_breaks_its_connections_and_another_takes_over(faulty: Faulty) -> None:
    former = faulty.worker
    outcomes = struck_while_running(faulty, former.kill)
    assert outcomes[0].text
    assert all(outcome.broken for outcome in outcomes)
    assert not any(outcome.done or outcome.complete for outcome in outcomes)
    assert_service_resumes(faulty, former.pid)


def test_a_stuck_step_is_reported_with_its_kind_and_age_and_readiness_returns_with_its_end(faulty: Faulty) -> None:
    worker = faulty.worker.pid

    async def run() -> Outcome:
        async with httpx.AsyncClient(base_url=faulty.server.url, timeout=HANG_SECONDS) as client:
            with faulty.fault("stuck-step"):
                stream = asyncio.create_task(ask(client, line_question(seed=CULPRIT, stream=True)))
                await asyncio.to_thread(faulty.wait_until_struck, "stuck-step")
                await asyncio.to_thread(wait_until, lambda: faulty.get("/readyz").status_code != 200)
                health = await client.get("/health")
                assert (await client.get("/livez")).status_code == 200
                await asyncio.to_thread(wait_until, lambda: "in faulty_launch" in faulty.log)  # its stack
            assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
            stuck = re.search(r"the engine is stuck: decoding 1 answer has taken ([\d.]+) s", health.json()["reason"])
            assert stuck is not None
            assert float(stuck[1]) >= STUCK * MIN_PLANNED_SECONDS
            return await stream

    outcome = asyncio.run(run())
    assert outcome.text == READ
    assert outcome.complete
    assert faulty.get("/readyz").status_code == 200
    assert faulty.worker.pid == worker
    assert re.search(r"The step that was stuck has ended: decoding 1 answer took [\d.]+ s", faulty.log)
