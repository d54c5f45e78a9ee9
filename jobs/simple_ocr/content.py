"""Markdown of a document as derived content of its source, in the simple-content service at CONTENT_API_URL.

Source: tendant/simple-content-ocr, src/simple_ocr/adapters/content_client.py.
"""

import asyncio
import json
from typing import Any

import httpx2

from jobs.context import Context
from jobs.failures import ours, passing
from jobs.formats import result_name
from jobs.job import Job
from jobs.simple_ocr.facts import facts_of

CONTENT = "content"  # the kind of delivery
PATH = "/api/v1/derived-content"
MEDIA_TYPE = "text/markdown"
PASSING = (408, 425, 429)


async def deliver_content(context: Context, job: Job, _target: dict[str, Any]) -> dict[str, Any]:
    """Create the derived content and upload it; `derived_id`. Nothing for a job that is not done. Raises Failure.

    What was created is kept, so that another attempt uploads to it.
    """
    if job.status != "done":
        return {}
    settings = context.settings
    assert settings.content_api_url is not None
    async with httpx2.AsyncClient(
        timeout=settings.content_api_timeout, follow_redirects=True, trust_env=False
    ) as client:
        created = await _created(context, client, job)
        upload_url = created.get("upload_url")
        if upload_url:
            data = await asyncio.to_thread(context.store.get, result_name(job.id, "markdown"))
            await _asked(client, "PUT", str(upload_url), content=data, headers={"Content-Type": MEDIA_TYPE})
    return {"derived_id": created["derived_id"]}


async def _created(context: Context, client: httpx2.AsyncClient, job: Job) -> dict[str, Any]:
    name = f"{job.id}/derived/{job.run}.json"
    if await asyncio.to_thread(context.store.exists, name):
        known: dict[str, Any] = json.loads(await asyncio.to_thread(context.store.get, name))
        return known
    facts = facts_of(job, context.settings)
    request = job.options.payload["request"]
    body = {
        "content_id": request["content_id"],
        "object_id": request["object_id"],
        "derived_type": "ocr_markdown",
        "mime_type": MEDIA_TYPE,
        "metadata": {"job_id": request["job_id"], "source_mime_type": request["mime_type"], **facts, **job.metadata},
    }
    tenancy = {name: request[name] for name in ("owner_id", "tenant_id") if request[name] is not None}
    response = await _asked(client, "POST", f"{context.settings.content_api_url}{PATH}", json=body | tenancy)
    try:
        created: dict[str, Any] = response.json()
        created["derived_id"] = str(created["derived_id"])
    except (ValueError, LookupError, TypeError) as error:
        raise ours("content", f"the answer of {PATH} lacks derived_id; see CONTENT_API_URL") from error
    await asyncio.to_thread(context.store.put, name, json.dumps(created).encode())
    return created


async def _asked(client: httpx2.AsyncClient, method: str, url: str, **how: Any) -> httpx2.Response:
    """Raises Failure, whose message has no query: it may be signed."""
    shown = url.partition("?")[0]
    try:
        response = await client.request(method, url, **how)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise passing("content", f"{shown} cannot be reached: {type(error).__name__}") from error
    if response.is_success:
        return response
    kind = passing if response.status_code in PASSING or response.status_code >= 500 else ours
    raise kind("content", f"{shown} answered {response.status_code}")
