"""Webhooks: the end of a job, posted to an address that a client named, signed as standardwebhooks.com has it."""

import asyncio
import base64
import hmac
import json
import time
from hashlib import sha256

import httpcore

from images.addresses import AddressError, CheckedNetwork, header_host, http_url, split, tls
from jobs.failures import Failure, of_input, passing
from jobs.job import Job
from jobs.settings import JobSettings
from jobs.shown import shown

SECONDS = 20.0  # for one attempt
GONE = (404, 410)  # statuses of an address that no attempt will reach


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header webhook-signature. A secret that begins with whsec_ is base64, as the standard has it."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()}"


async def post(settings: JobSettings, job: Job, url: str) -> None:
    """Post a job's end. Its id stays the same in every attempt, so that a receiver can tell a repeated one.

    Raises Failure.
    """
    assert settings.jobs_webhook_secret is not None
    now = int(time.time())
    message = {"type": f"job.{job.status}", "timestamp": now, "data": shown(job, settings.jobs_retention)}
    body = json.dumps(message, ensure_ascii=False).encode()
    message_id = f"{job.workflow}.{job.status}"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "paddleocr-vl-server",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(settings.jobs_webhook_secret.get_secret_value(), message_id, now, body),
    }
    try:
        async with asyncio.timeout(SECONDS):
            status = await _post(url, headers, body, settings.allowed_hosts)
    except TimeoutError:
        raise passing("webhook", f"{url} took longer than {SECONDS:g} seconds") from None
    if not 200 <= status < 300:
        raise _refused(url, status)


def _refused(url: str, status: int) -> Failure:
    kind = of_input if status in GONE else passing
    return kind("webhook", f"{url} answered {status}; it must be 2xx")


async def _post(url: str, headers: dict[str, str], body: bytes, allowed_hosts: tuple[str, ...]) -> int:
    """The status. No redirects are followed. Raises Failure."""
    try:
        target = http_url(split(url))
        sent = [(b"Host", header_host(target)), *((name.encode(), value.encode()) for name, value in headers.items())]
        network = CheckedNetwork(allowed_hosts, SECONDS)
        async with (
            httpcore.AsyncConnectionPool(ssl_context=tls(), network_backend=network) as pool,
            pool.stream("POST", target, headers=sent, content=body) as response,
        ):
            return response.status  # what else it says is not read
    except AddressError as error:
        kind = passing if error.passing else of_input
        raise kind("webhook", f"the URL {error}") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
        raise passing("webhook", f"{url} cannot be reached: {error!r}") from error
