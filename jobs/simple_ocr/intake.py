"""The queue of simple-content-ocr, served by a worker: its messages become jobs, and are acknowledged once those end.

A worker that dies lets go of its messages: another one gets them, finds the jobs by their ids and follows them. So a
message may be delivered twice, but its document is read once.
"""

import asyncio
import logging
import threading
from contextlib import suppress
from functools import partial

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext

from jobs.job import PRIORITIES, Priority
from jobs.simple_ocr.broker import Broker, connect
from jobs.simple_ocr.message import Message, Side

logger = logging.getLogger(__name__)

FETCH_SECONDS = 5.0  # the wait of one request for a message
PAUSE_SECONDS = 1.0  # after the server could not be asked
STOP_SECONDS = 10.0


class Intake(threading.Thread):
    """The thread with the connection, until `stop`."""

    def __init__(self, side: Side) -> None:
        super().__init__(name="intake", daemon=True)
        self._side = side
        self._held: dict[tuple[Priority, int], tuple[Msg, asyncio.Task[None]]] = {}  # by place in the stream
        self._began = threading.Event()

    def run(self) -> None:
        asyncio.run(self._main())

    def stop(self) -> None:
        """Take no more messages, and let others have those that are held."""
        self._began.wait()
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(STOP_SECONDS)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._serve())
        self._began.set()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            logger.error("The queue is not served any more", exc_info=error)

    async def _serve(self) -> None:
        broker = await connect(self._side.settings)
        try:
            async with asyncio.TaskGroup() as tasks:
                for priority in PRIORITIES:
                    tasks.create_task(self._take(broker, priority))
        finally:
            await self._let_go(broker)

    async def _take(self, broker: Broker, priority: Priority) -> None:
        """Hold as many messages of a priority at once as may be."""
        room = asyncio.Semaphore(self._side.settings.nats_max_concurrent)
        while True:
            try:
                await broker.set_up()
                subscription = await broker.consumer(priority)
                logger.info("NATS: jobs of priority %s are taken from the queue", priority)
                try:
                    await self._take_from(subscription, broker, priority, room)
                finally:
                    with suppress(NatsError):
                        await subscription.unsubscribe()
            except Exception as error:  # whatever it is, the queue must not stay unserved
                logger.warning("NATS: the queue cannot be asked: %r; it is tried again", error)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _take_from(
        self,
        subscription: JetStreamContext.PullSubscription,
        broker: Broker,
        priority: Priority,
        room: asyncio.Semaphore,
    ) -> None:
        """Raises NatsError."""
        while True:
            async with room:
                pass  # wait until there is room; the message itself takes it
            try:
                (found,) = await subscription.fetch(1, timeout=FETCH_SECONDS)
            except TimeoutError:
                continue
            await room.acquire()
            key = (priority, found.metadata.sequence.stream)
            if key in self._held:  # delivered again, since signs of life did not arrive
                self._held[key][1].cancel()
            task = asyncio.create_task(Message(self._side, broker, found, priority).handle())
            self._held[key] = (found, task)
            task.add_done_callback(partial(self._done, key, room))

    def _done(self, key: tuple[Priority, int], room: asyncio.Semaphore, task: "asyncio.Task[None]") -> None:
        room.release()
        if key in self._held and self._held[key][1] is task and not task.cancelled():
            del self._held[key]

    async def _let_go(self, broker: Broker) -> None:
        """Give messages back, so that they need not wait for their time."""
        held = list(self._held.values())
        for _, task in held:
            task.cancel()
        await asyncio.gather(*(task for _, task in held), return_exceptions=True)
        with suppress(NatsError, OSError):
            for message, _ in held:
                await message.nak()
            await broker.flush()
        with suppress(NatsError, OSError):
            await broker.close()
