"""The steps of a job. Each may run again after a crash, and then does the same: what it makes has a name of its own."""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from images.errors import InvalidImage, Unreachable
from images.fetching import fetch
from jobs.context import Context
from jobs.failures import Failure, of_input, ours, passing
from jobs.formats import FORMATS, image_name, result_name
from jobs.job import Job
from jobs.reading import PageFile
from jobs.splitting import Pages, source_of, split
from jobs.store import StoreError
from jobs.tables import comes_back

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE = 1.0  # seconds before the second attempt; doubled before each further one
LONGEST_PAUSE = 30.0


def page_name(job: str, number: int) -> str:
    """Name in the store of what was read on a page."""
    return f"{job}/pages/{number:04}.json"


async def get_document(context: Context, job: Job) -> None:
    """Fetch a document that is named by its address, unless it is there. Raises Failure."""
    if job.source.url is None:
        return

    async def once() -> None:
        assert job.source.url is not None
        try:
            data = await fetch(job.source.url, "url", context.settings.fetching())
        except Unreachable as error:
            raise passing("unreachable", str(error)) from error
        except InvalidImage as error:
            raise of_input("invalid_address", str(error)) from error
        await asyncio.to_thread(context.store.put, source_of(job.id), data)

    if not await stored(lambda: context.store.exists(source_of(job.id))):
        await attempts(context.settings.jobs_attempts, once)


async def split_document(context: Context, job: Job) -> Pages:
    """Raises Failure."""
    await get_document(context, job)
    settings = context.settings

    async def once() -> Pages:
        return await split(context.store, context.splitters, job, settings.jobs_max_pages)

    try:
        return await attempts(settings.jobs_attempts, once)
    except FileNotFoundError as error:
        raise ours("document_lost", "the document is not in the store any more") from error


async def read_page(context: Context, job: Job, pages: Pages, number: int, traceparent: str | None) -> int:
    """Ask for a page and keep what is read, unless it has been; returns how often it was asked for. Raises Failure."""
    name = page_name(job.id, number)
    if await stored(lambda: context.store.exists(name)):
        return 0
    asked = 0

    async def once() -> dict[str, Any]:
        nonlocal asked
        data = await asyncio.to_thread(context.store.get, pages.file(job.id, number))
        asked += 1
        headers = {"x-request-id": f"{job.id}-{number}"} | ({"traceparent": traceparent} if traceparent else {})
        page = PageFile(number=number, data=data)
        return await context.readers[job.reader].ask(context.servers, job, page, headers)

    try:
        read = await attempts(context.settings.jobs_attempts, once)
    except Failure as failure:
        failure.page = number
        raise
    except FileNotFoundError as error:
        raise ours("document_lost", "the page is not in the store any more", number) from error
    await stored(lambda: context.store.put(name, json.dumps(read, ensure_ascii=False).encode()))
    return asked


async def join_pages(context: Context, job: Job, numbers: Sequence[int]) -> None:
    """Make all formats of the pages that were read. Raises Failure."""

    def pages() -> Iterator[dict[str, Any]]:
        for number in numbers:
            yield json.loads(context.store.get(page_name(job.id, number)))

    def make() -> None:
        document = context.readers[job.reader].join(job, pages())
        for name, image in document.images.items():
            context.store.put(image_name(job.id, name), image)
        for wanted in job.options.formats:
            context.store.put(result_name(job.id, wanted), FORMATS[wanted].make(job, document, context.store))

    await attempts(context.settings.jobs_attempts, lambda: asyncio.to_thread(make))


async def clean_up(context: Context, job: Job) -> None:
    """Remove what only the reading needed."""
    try:
        await asyncio.to_thread(context.store.remove, f"{job.id}/split")
    except StoreError as error:
        logger.warning("Pages of a job stay until the job is removed: %s", error, extra={"facts": {"job": job.id}})


async def attempts(count: int, work: Callable[[], Awaitable[T]]) -> T:
    """What work gives; tried again, with growing pauses, while its failure may pass.

    A store that cannot be used is waited for. Raises Failure, FileNotFoundError.
    """
    failed = waited = 0
    while True:
        try:
            return await work()
        except StoreError as error:
            waited += 1
            logger.warning("%s; it is waited for", error)
            await _pause(waited)
        except Failure as failure:
            failed += 1
            if failure.kind != "passing" or failed >= count:
                raise
            logger.info("%s; attempt %d of %d comes", failure, failed + 1, count)
            await _pause(failed)


async def stored(ask: Callable[[], T]) -> T:
    """What the store says, waited for."""
    return await attempts(1, lambda: asyncio.to_thread(ask))


async def recorded(ask: Callable[..., T], *arguments: Any) -> T:
    """What the database says; one that cannot be reached is waited for."""
    waited = 0
    while True:
        try:
            return await asyncio.to_thread(ask, *arguments)
        except SQLAlchemyError as error:
            if not comes_back(error):
                raise
            waited += 1
            logger.warning("The database of jobs is waited for: %s", str(error).split("\n")[0])
            await _pause(waited)


async def _pause(number: int) -> None:
    await asyncio.sleep(min(LONGEST_PAUSE, PAUSE * 2 ** min(number - 1, 10)) * random.uniform(0.75, 1.25))
