"""The NATS server: the stream of jobs and its consumers, and the stream of what became of them.

The subjects of events and dead letters lie outside the stream of jobs, so that no result is taken for a job.
"""

import logging

import nats
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from jobs.job import Priority
from jobs.settings import JobSettings
from jobs.simple_ocr.events import EventKind

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
EVENTS = "ocr.job"  # what the subjects of events begin with
DEAD_LETTERS = "ocr.dlq"
EVENTS_STREAM = "OCR_EVENTS"
ENDINGS: dict[Priority, str] = {"high": ".high", "normal": "", "low": ".low"}
"""Ends of the subjects of jobs, by their priority."""


class Broker:
    """A connection, which comes back by itself. Methods raise nats.errors.Error, also in vain while it is gone."""

    def __init__(self, client: Client, settings: JobSettings) -> None:
        self._client, self._settings = client, settings
        self._stream: JetStreamContext = client.jetstream()
        self.ack_wait = settings.nats_ack_wait  # seconds; of the consumers as they are

    @property
    def max_payload(self) -> int:
        """Bytes of one message."""
        return self._client.max_payload

    async def set_up(self) -> None:
        """Make the streams that are not there. One that is stays as it is."""
        jobs = self._settings.nats_subject
        subjects = [f"{jobs}{ending}" for ending in ENDINGS.values()]
        await self._ensure(StreamConfig(name=self._settings.nats_stream, subjects=subjects))
        kept = self._settings.jobs_retention.total_seconds()
        await self._ensure(
            StreamConfig(name=EVENTS_STREAM, subjects=[f"{EVENTS}.>", DEAD_LETTERS], max_age=kept),
        )

    async def _ensure(self, config: StreamConfig) -> None:
        assert config.name is not None
        try:
            await self._stream.stream_info(config.name)
        except NotFoundError:
            await self._stream.add_stream(config)

    async def consumer(self, priority: Priority) -> JetStreamContext.PullSubscription:
        """The consumer of a priority's jobs, which all workers share."""
        ending = ENDINGS[priority]
        subscription = await self._stream.pull_subscribe(
            f"{self._settings.nats_subject}{ending}",
            durable=f"{self._settings.nats_consumer}{ending.replace('.', '-')}",
            stream=self._settings.nats_stream,
            # Deliveries are bounded here and not by the server, which would drop a message without a word.
            config=ConsumerConfig(ack_wait=self._settings.nats_ack_wait, max_deliver=-1, max_ack_pending=-1),
        )
        info = await subscription.consumer_info()
        self.ack_wait = min(self.ack_wait, info.config.ack_wait or self.ack_wait)
        return subscription

    async def publish(self, kind: EventKind, body: bytes, name: str) -> None:
        """Publish an event; one of the same `name` within two minutes is dropped by the server."""
        subject = DEAD_LETTERS if kind == "dead_letter" else f"{EVENTS}.{kind}"
        await self._stream.publish(subject, body, headers={"Nats-Msg-Id": name})

    async def flush(self) -> None:
        await self._client.flush()

    async def close(self) -> None:
        await self._client.close()


async def connect(settings: JobSettings) -> Broker:
    """Waits for a server that can be reached."""
    assert settings.nats_url is not None

    said = ""

    async def failed(error: Exception) -> None:
        nonlocal said
        level = logging.DEBUG if str(error) == said else logging.WARNING  # once is enough while it is gone
        said = str(error)
        logger.log(level, "NATS: %s", said or type(error).__name__)

    async def gone() -> None:
        logger.info("NATS: the connection is gone")

    async def back() -> None:
        logger.info("NATS: the connection is back")

    client = await nats.connect(
        [url.strip() for url in settings.nats_url.get_secret_value().split(",")],
        name="paddleocr-vl-jobs",
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_SECONDS,
        error_cb=failed,
        disconnected_cb=gone,
        reconnected_cb=back,
    )
    return Broker(client, settings)
