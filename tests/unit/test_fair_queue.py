"""Who is let through a turnstile, and when; the order of turns itself is in test_scheduler.py."""

import asyncio
from contextlib import suppress

from engine.fair_queue import FairSemaphore


async def pass_through(gate: FairSemaphore, client: str, passed: list[str], leave: asyncio.Event) -> None:
    async with gate.turn(client):
        passed.append(client)
        await leave.wait()


async def settle() -> None:
    """Let everybody go as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_so_many_work_at_once_and_clients_take_turns() -> None:
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


def test_who_gives_up_at_any_moment_takes_no_ones_turn() -> None:
    async def run() -> None:
        gate, leave = FairSemaphore(1), asyncio.Event()
        passed: list[str] = []
        inside, waiting, let_in, last = (
            asyncio.create_task(pass_through(gate, client, passed, leave)) for client in ("in", "waits", "next", "last")
        )
        await settle()
        waiting.cancel()
        await settle()
        inside.cancel()  # whose place goes to the next one ...
        await asyncio.sleep(0)
        let_in.cancel()  # ... which leaves before it knows
        leave.set()
        for task in (inside, waiting, let_in):
            with suppress(asyncio.CancelledError):
                await task
        await last
        await pass_through(gate, "again", passed, leave)
        assert passed in (["in", "last", "again"], ["in", "next", "last", "again"])

    asyncio.run(run())
