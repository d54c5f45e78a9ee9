"""Readers of the exam's pages: our server over HTTP, and tesseract beside it."""

import base64
import io
import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
from PIL import Image
from tqdm import tqdm

from training.exam_pages import ExamPage
from training.score_documents import PageAnswer

CONCURRENCY = 4  # pages at once; blocks of all of them share the engine's batch
MAX_TOKENS = 2000  # for each block; far more than one of the exam needs
MAX_SECONDS = 1800  # for a page
TESSERACT = ("tesseract", "stdin", "stdout", "--psm", "3", "-l", "eng")


def read_all(url: str, pages: Sequence[ExamPage]) -> list[PageAnswer]:
    """The pages as the server at `url` reads them, in their order. Raises httpx.HTTPError where it refuses one."""
    with httpx.Client(base_url=url, timeout=MAX_SECONDS) as client, ThreadPoolExecutor(CONCURRENCY) as pool:
        answers = pool.map(lambda page: read_page(client, page), pages)
        return list(tqdm(answers, total=len(pages), unit="page", mininterval=5))


def read_page(client: httpx.Client, page: ExamPage) -> PageAnswer:
    body = {
        "model": "paddleocr-vl",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_uri(page.image)}}]}],
        "mode": "document",
        "layout": True,
        "running": True,
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }
    began = time.monotonic()
    response = client.post("/v1/chat/completions", json=body)
    if response.status_code != 200:
        raise httpx.HTTPError(f"{page.name}: {response.status_code} {response.text[:500]}")
    choice: dict[str, Any] = response.json()["choices"][0]
    return PageAnswer(
        name=page.name,
        truth=page.truth,
        content=choice["message"]["content"],
        blocks=choice["ocr"]["blocks"] or [],
        seconds=time.monotonic() - began,
    )


def data_uri(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def with_tesseract(answers: Sequence[PageAnswer], pages: Sequence[ExamPage]) -> list[PageAnswer]:
    """The answers with what tesseract reads on the same pages, one thread a page."""
    pairs = zip(answers, pages, strict=True)
    bar = tqdm(pairs, total=len(pages), unit="page", desc="tesseract", mininterval=5)
    return [replace(answer, tesseract=_tesseract(page.image)) for answer, page in bar]


def _tesseract(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(TESSERACT, input=data.getvalue(), capture_output=True, env=environment, check=True)
    return done.stdout.decode()
