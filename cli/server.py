"""The server that the environment names, and how a document is asked of it. OpenAI's client takes a second to import.

Environment variables:
  OCR_ENGINE    vllm, the only supported value (the server implements vLLM's API)
  VLLM_URL      address of the server (default http://127.0.0.1:8001)
  MODEL_NAME    name of the model (default PaddlePaddle/PaddleOCR-VL)
  VLLM_API_KEY  needed only if the server requires a key
"""

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from openai import APIConnectionError, APIStatusError, APITimeoutError, AuthenticationError, OpenAI

from cli.documents import Document
from cli.errors import NoServerError, UsageError
from cli.wishes import Answer, Wishes

PROBE_SECONDS = 10.0
RETRIES = 8  # after which a busy server is given up; each time it says how long to wait


Listener = Callable[[str, dict[str, Any] | None], None]
"""Receives each piece of text and, where one came, how far the reading is: `ocr.progress`. Raises StoppedError."""


def connect() -> OpenAI:
    """A client for the server that the environment names. Raises UsageError."""
    engine = os.environ.get("OCR_ENGINE", "vllm")
    if engine != "vllm":
        raise UsageError(f"OCR_ENGINE has value {engine!r}. Only 'vllm' is supported.")
    url = os.environ.get("VLLM_URL", "http://127.0.0.1:8001").rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"VLLM_URL has value {url!r}. Not an address like http://127.0.0.1:8001.")
    # Not OPENAI_API_KEY: it must not be sent to this server.
    key = os.environ.get("VLLM_API_KEY") or "null"
    return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=RETRIES)


def model_name() -> str:
    return os.environ.get("MODEL_NAME") or "PaddlePaddle/PaddleOCR-VL"


@contextmanager
def needs_server(client: OpenAI) -> Iterator[None]:
    """Raises NoServerError where no server answers a request made inside."""
    try:
        yield
    except APITimeoutError:
        raise
    except APIConnectionError as error:
        url = str(client.base_url).removesuffix("/v1/")
        raise NoServerError(f"No server answers at {url}. Start one with scripts/serve, or set VLLM_URL.") from error


def check(client: OpenAI) -> None:
    """Ask the server for its models, once and shortly. Raises NoServerError, and UsageError for a key that it refuses.

    A server that answers late is loading its model; requests wait for it.
    """
    with needs_server(client):
        try:
            client.with_options(max_retries=0, timeout=PROBE_SECONDS).models.list()
        except AuthenticationError as error:
            raise UsageError(f"VLLM_API_KEY is refused by the server: {reason(error)}") from None
        except (APITimeoutError, APIStatusError):
            pass


def reason(error: Exception) -> str:
    """An error as the server words it."""
    if isinstance(error, APIStatusError) and isinstance(error.body, dict) and error.body.get("message"):
        return f"{error.status_code}: {error.body['message']}"
    return str(error)


def read(client: OpenAI, document: Document, wishes: Wishes, listen: Listener) -> Answer:
    """The answer for one document. Raises NoServerError, OpenAIError, and what `listen` raises."""
    answer = Answer()
    content: Any = [{"type": "text", "text": wishes.prompt}, part_of(document)]
    with needs_server(client):
        stream = client.chat.completions.create(
            model=model_name(),
            messages=[{"role": "user", "content": content}],
            temperature=0,
            stream=True,
            extra_body=wishes.fields() | {"ocr": {"progress": True, "words": wishes.words, "raw": wishes.raw}},
        )
    with stream:
        for chunk in stream:
            for choice in chunk.choices:
                report = getattr(choice, "ocr", None) or {}
                answer.content += choice.delta.content or ""
                listen(choice.delta.content or "", report.get("progress"))
                if choice.finish_reason is not None:
                    answer.ocr, answer.cut = report, choice.finish_reason == "length"
    if not answer.ocr:
        raise NoServerError("The server ended before its answer did.")
    if answer.ocr.get("keep_chars") is not None:
        answer.content = answer.content[: answer.ocr["keep_chars"]]
    return answer


def part_of(document: Document) -> dict[str, Any]:
    """The part of a message that holds a document."""
    uri = f"data:{document.mime};base64,{base64.b64encode(document.data).decode()}"
    if document.is_pdf:
        return {"type": "file", "file": {"filename": document.name, "file_data": uri}}
    return {"type": "image_url", "image_url": {"url": uri}}
