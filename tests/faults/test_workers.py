"""Faults that a worker does not get over, or not soon: what its clients and probes see, and that service resumes."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx

from engine.watchdog import MIN_PLANNED_SECONDS, STUCK
from tests.e2e.servers import SECONDS_TO_START
from tests.faults.faulty import CULPRIT, Faulty, Outcome, ask, ask_all, lasting, line, wait_for

READ = "Test Document\nDate: March 14, 2025"


def struck_while_running(faulty: Faulty, strike: Callable[[], Any]) -> list[Outcome]:
    """What a stream and a whole answer that run, and one that waits, come to when the fault strikes."""

    async def run() -> list[Outcome]:
        async with httpx.AsyncClient(base_url=faulty.server.url, timeout=SECONDS_TO_START) as client:
            begun = asyncio.Event()
            stream = asyncio.create_task(ask(client, lasting(stream=True), begun))
            await begun.wait()
            whole = [asyncio.create_task(ask(client, lasting(number))) for number in range(1, 5)]
            await asyncio.to_thread(wait_for, lambda: faulty.get("/health").json()["queue"]["waiting"] == 1)
            await asyncio.to_thread(strike)
            return await asyncio.gather(stream, *whole)

    return asyncio.run(run())


def assert_service_resumes(faulty: Faulty, former: int) -> None:
    """In another worker, while requests that come meanwhile wait or are told to come back."""
    (meanwhile,) = ask_all(faulty, line())
    assert meanwhile.status in (200, 503)
    assert meanwhile.done
    faulty.server.wait_until_ready()
    assert faulty.worker.pid != former
    (outcome,) = ask_all(faulty, line())
    assert outcome.text == READ
    assert outcome.complete


def test_when_the_engines_thread_dies_every_client_gets_an_error_and_another_worker_takes_over(faulty: Faulty) -> None:
    former = faulty.worker.pid
    seen: list[httpx.Response] = []

    def strike() -> None:
        with faulty.fault("dead-thread"):
            faulty.wait_until_struck("dead-thread")
            while not seen or seen[-1].status_code == 200:
                seen.append(faulty.get("/health"))
            seen.append(faulty.get("/livez"))

    stream, *whole = struck_while_running(faulty, strike)
    health, alive = seen[-2:]
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
        async with httpx.AsyncClient(base_url=faulty.server.url, timeout=SECONDS_TO_START) as client:
            with faulty.fault("stuck-step"):
                stream = asyncio.create_task(ask(client, line(seed=CULPRIT, stream=True)))
                await asyncio.to_thread(faulty.wait_until_struck, "stuck-step")
                while (await client.get("/readyz")).status_code == 200:
                    pass
                health = await client.get("/health")
                assert (await client.get("/livez")).status_code == 200
                await asyncio.to_thread(wait_for, lambda: "in faulty_launch" in faulty.log)  # its stack
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
