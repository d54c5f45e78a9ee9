"""Webhooks: signed, sent only where they may go, and told again while their receiver may come back."""

import asyncio
import json

import pytest

from jobs.failures import Failure
from jobs.job import is_web_url
from jobs.settings import JobSettings, load_job_settings
from jobs.webhooks import post, signature
from tests.jobs import job
from tests.webhook_receiver import receiving

SECRET = "0123456789abcdef"


def sent(status: int, *allowed: str) -> tuple[list[tuple[dict[str, str], bytes]], Failure | None]:
    """What a receiver on this machine gets of a job's end, and why posting failed."""
    with receiving(status) as receiver:
        try:
            asyncio.run(post(settings(*allowed), job(status="done"), receiver.url))
        except Failure as failure:
            return receiver.got, failure
    return receiver.got, None


def settings(*allowed: str) -> JobSettings:
    return load_job_settings({"JOBS_WEBHOOK_SECRET": SECRET, "ALLOWED_HOSTS": ",".join(allowed)})


def test_the_signature_is_the_standards() -> None:
    """By `printf 'msg_1.1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef -binary | base64`."""
    assert signature(SECRET, "msg_1", 1700000000, b'{"a":1}') == "v1,41C4mdfM4X7k7EqLRBhc2OjUAQFwQVsqMUoL0CbTfxc="
    encoded = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="  # the same secret as the standard writes it
    assert signature(encoded, "msg_1", 1700000000, b'{"a":1}') == signature(SECRET, "msg_1", 1700000000, b'{"a":1}')


def test_a_receiver_gets_the_job_signed() -> None:
    ((headers, body),), failure = sent(204, "127.0.0.1")
    assert failure is None
    message = json.loads(body)
    assert (message["type"], message["data"]["status"]) == ("job.done", "done")
    assert headers["webhook-id"] == f"{message['data']['id']}.1.done"
    signed = signature(SECRET, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signed


@pytest.mark.parametrize(("status", "kind"), [(500, "passing"), (302, "passing"), (410, "input")])
def test_a_receiver_that_refuses_is_a_failure(status: int, kind: str) -> None:
    _, failure = sent(status, "127.0.0.1")
    assert failure is not None
    assert failure.kind == kind


def test_private_addresses_get_nothing() -> None:
    got, failure = sent(200)
    assert got == []
    assert failure is not None
    assert (failure.kind, "not a public address" in str(failure)) == ("input", True)


def test_an_address_that_can_be_none_is_refused_before() -> None:
    with pytest.raises(ValueError, match="does not start with http"):
        is_web_url("ftp://example.org")
