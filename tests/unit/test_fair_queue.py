"""The semaphore with round-robin turns; the order of turns itself is tested in test_scheduler.py."""

import asyncio
from contextlib import suppress

from engine.fair_queue import FairSemaphore


async def pass_through(gate: FairSemaphore, client: str, passed: list[str], leave: asyncio.Event) -> None:
    async with gate.turn(client):
        passed.append(client)
        await leave.wait()


async def settle() -> None:
    """Let all tasks run until they block."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_concurrency_is_limited_and_clients_take_turns() -> None:
    async def run() -> None:
        gate, leave = FairSemaphore(2), asyncio.Event()
        passed: list[str] = []
        tasks = [asyncio.create_task(pass_through(gate, client, passed, leave)) for client in "aaaab"]
        await settle()
        assert passed == ["a", "a"]
        leave.set()
        await asyncio.gather(*tasks)
        assert sorted(passed[2:4]) == ["a", "b"]

    asyncio.run(run())


def test_a_task_that_is_cancelled_at_any_moment_costs_no_other_its_turn() -> None:
    async def run() -> None:
        gate, leave = FairSemaphore(1), asyncio.Event()
        passed: list[str] = []
        inside, waiting, let_in, last = (
            asyncio.create_task(pass_through(gate, client, passed, leave)) for client in ("in", "waits", "next", "last")
        )
        await settle()
        waiting.cancel()
        await settle()
        inside.cancel()  # its turn goes to the next one ...
        await asyncio.sleep(0)
        let_in.cancel()  # ... which is cancelled before it resumes
        leave.set()
        for task in (inside, waiting, let_in):
            with suppress(asyncio.CancelledError):
                await task
        await last
        await pass_through(gate, "again", passed, leave)
        assert passed in (["in", "last", "again"], ["in", "next", "last", "again"])

    asyncio.run(run())
