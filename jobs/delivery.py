"""Targets that are told of a job's end. A further kind is a line in KINDS."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from jobs.context import Context
from jobs.failures import Failure
from jobs.job import Job
from jobs.simple_ocr.content import CONTENT, deliver_content
from jobs.steps import attempts, recorded
from jobs.webhooks import post

logger = logging.getLogger(__name__)

ATTEMPTS = 8  # over about two minutes

Deliver = Callable[[Context, Job, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Tells a target of a job that has ended; gives what the target said. May be called again for the same run. Raises
Failure."""


async def _webhook(context: Context, job: Job, target: dict[str, Any]) -> dict[str, Any]:
    await post(context.settings, job, str(target["url"]))
    return {}


KINDS: dict[str, Deliver] = {"webhook": _webhook, CONTENT: deliver_content}


async def deliver(context: Context, job: Job) -> None:
    """Tell all targets of a job that it has ended, and keep what became of each. One that cannot be told is logged.

    A database that is gone is waited for: an error here would end the workflow with targets that were never told. Of a
    job that waits again by now, its next end is told.
    """
    ended = await recorded(context.records.get, job.id)
    if ended is None or ended.run != job.run or not ended.deliver:
        return
    outcomes = [await _outcome(context, ended, target) for target in ended.deliver]
    data = json.dumps(outcomes).encode()
    await attempts(1, lambda: asyncio.to_thread(context.store.put, outcomes_name(ended), data))


async def _outcome(context: Context, job: Job, target: dict[str, Any]) -> dict[str, Any]:
    kind = target["kind"]
    try:
        said = await attempts(ATTEMPTS, lambda: KINDS[kind](context, job, target))
    except Failure as failure:
        facts = {"job": job.id, **failure.as_json()}
        logger.error("The end of a job could not be delivered to its %s", kind, extra={"facts": facts})
        await recorded(context.records.count, {f"undelivered_{kind}": 1})
        return {"target": kind, "error": failure.message, "kind": failure.kind}
    await recorded(context.records.count, {f"delivered_{kind}": 1})
    return {"target": kind, "error": None, **said}


def outcomes_name(job: Job) -> str:
    """Name in the store of what became of the deliveries of a run."""
    return f"{job.id}/delivered/{job.run}.json"
