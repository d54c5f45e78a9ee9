#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Whole documents: how fast against the same blocks sent by a client, what layout costs, and whether memory stays flat.

    benchmarks/documents.py --speed      a PDF of 10 pages of 12 blocks, the embedded checkpoint
    benchmarks/documents.py --share      layout's share of a page's time, random weights of the real models' size
    benchmarks/documents.py --memory     PDFs of 100 and of 300 pages

Without any of these, all. Each starts a server of its own. The last line is JSON:

    pages_per_minute   of the PDF in one request of mode document
    over_one_by_one    that, over the rate of a client that sends the same blocks' crops one after the other
    over_paddlex       the same for crops sent as PaddleX 3.7's pipeline does: those of all pages at once, at most 200
                       under way (inference/models/common/genai.py); its own layout network is left out of its time
    layout_share       layout and cutting over a page's time; at most 0.10 is wanted
    rss_mb             peaks of the server's resident memory in MiB, by pages of the PDF
    rss_mb_per_100     their growth per 100 pages
"""

import argparse
import asyncio
import base64
import io
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw, ImageFont

from benchmarks.child_processes import ROOT, import_checkpoint, server
from benchmarks.layout_seconds import layout_seconds
from benchmarks.process_memory import PeakMemory, server_processes
from benchmarks.random_checkpoint import random_checkpoint
from benchmarks.random_layout import random_page_network

SIZE = (827, 1169)  # A4 at 100 dpi
DPI = 100
BLOCKS, PAGES = 12, 10
MEMORY_PAGES = (100, 300)
PADDLEX_AT_ONCE = 200
BOUNDS = {"min_pixels": 112_896, "max_pixels": 1_003_520}  # what PaddleX sends with every crop
MAX_TOKENS = 400
MAX_SECONDS = 3600
RANDOM = ROOT / "build" / "random-0.9b"
RANDOM_LAYOUT = ROOT / "build" / "random-layout"
RANDOM_TOKENS = 64  # for each block; random weights never end
WORDS = "the quiet harbour keeps nine old boats and one lamp that was never lit since the long winter".split()


# --- documents --------------------------------------------------------------------------------------------------------


def draw_page(number: int, blocks: int) -> Image.Image:
    """A page of paragraphs of two lines, none of which is on another page."""
    page = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    for block in range(blocks):
        start = (number * 7 + block * 3) % len(WORDS)
        words = [*WORDS[start:], *WORDS[:start]]
        lines = [f"Page {number} has block {block}:", " ".join(words[:9])]
        pen.text((70, 60 + block * 88), "\n".join(lines), font=font, fill="black", spacing=8)
    return page


def as_pdf(pages: Sequence[Image.Image]) -> str:
    data = io.BytesIO()
    pages[0].save(data, "PDF", save_all=True, append_images=pages[1:], resolution=DPI)
    return f"data:application/pdf;base64,{base64.b64encode(data.getvalue()).decode()}"


def as_png(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


# --- requests ---------------------------------------------------------------------------------------------------------


def document_body(file: str, max_tokens: int = MAX_TOKENS) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "file", "file": {"file_data": file, "filename": "document.pdf"}}]
    return _body(content, max_tokens) | {"mode": "document", "layout": True}


def crop_body(crop: Image.Image) -> dict[str, Any]:
    """A block as PaddleX's client asks for it."""
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": as_png(crop)}},
        {"type": "text", "text": "OCR:"},
    ]
    return _body(content, MAX_TOKENS) | {"mm_processor_kwargs": BOUNDS}


def _body(content: list[dict[str, Any]], max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"model": "paddleocr-vl", "messages": messages, "temperature": 0, "max_tokens": max_tokens}


async def send(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """The answer's choice. Raises SystemExit for a refusal."""
    response = await client.post("/v1/chat/completions", json=body)
    if response.status_code != 200:
        raise SystemExit(f"{response.status_code}: {response.text[:500]}")
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


async def send_all(client: httpx.AsyncClient, bodies: Sequence[dict[str, Any]], at_once: int) -> float:
    """Seconds until all are answered."""
    turn = asyncio.Semaphore(at_once)

    async def one(body: dict[str, Any]) -> None:
        async with turn:
            await send(client, body)

    began = time.monotonic()
    await asyncio.gather(*map(one, bodies))
    return time.monotonic() - began


# --- measures ---------------------------------------------------------------------------------------------------------


def speed(scratch: Path) -> dict[str, float]:
    """A document in one request, and its blocks as crops in many; images differ, so that no cache helps either."""
    with server(["-m", "bentoml", "serve"], "/readyz", scratch / "speed.log") as (url, _):
        return asyncio.run(_speed(url))


async def _speed(url: str) -> dict[str, float]:
    limits = httpx.Limits(max_connections=PADDLEX_AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=MAX_SECONDS, limits=limits) as client:
        await send(client, document_body(as_pdf([draw_page(999, 2)])))  # warms up
        rounds = [[draw_page(100 * turn + i, BLOCKS) for i in range(PAGES)] for turn in range(3)]
        began = time.monotonic()
        choice = await send(client, document_body(as_pdf(rounds[0])))
        document = time.monotonic() - began
        boxes = [(block["page"] - 1, block["box"]) for block in choice["ocr"]["blocks"]]
        scale = SIZE[0] / choice["ocr"]["pages"][0]["width"]
        crops = [
            [crop_body(pages[page].crop(tuple(round(side * scale) for side in box))) for page, box in boxes]
            for pages in rounds[1:]
        ]
        one_by_one = await send_all(client, crops[0], 1)
        paddlex = await send_all(client, crops[1], PADDLEX_AT_ONCE)
    return {
        "blocks": len(boxes),
        "pages_per_minute": round(60 * PAGES / document, 2),
        "over_one_by_one": round(one_by_one / document, 3),
        "over_paddlex": round(paddlex / document, 3),
    }


def share(scratch: Path) -> dict[str, float]:
    """Layout's share of a page's time with random weights; boxes are found by ink, as random ones score too low."""
    folder, layout = random_checkpoint(RANDOM, "0.9b"), random_page_network(RANDOM_LAYOUT, "pp_doclayout_v3")
    page = draw_page(1, BLOCKS)
    home = scratch / "home"
    tag = import_checkpoint(folder, home, scratch / "import.log")
    layout_tag = import_checkpoint(layout, home, scratch / "import-layout.log")
    log = scratch / "share.log"
    environment = {"BENTOML_HOME": str(home)}
    command = ["-m", "bentoml", "serve", "--arg", f"model={tag}", "--arg", f"layout={layout_tag}"]
    with server(command, "/readyz", log, environment) as (url, _), httpx.Client(base_url=url) as client:
        body = document_body(as_pdf([page]), RANDOM_TOKENS)
        began = time.monotonic()
        client.post("/v1/chat/completions", json=body, timeout=MAX_SECONDS).raise_for_status()
        whole = time.monotonic() - began
    (seconds,) = layout_seconds(layout, [page])
    return {"page_seconds": round(whole, 2), "layout_share": round(seconds / whole, 4)}


def memory(scratch: Path) -> dict[str, Any]:
    """Peaks of resident memory over documents of one short block a page, each on a server of its own."""
    peaks: dict[int, float] = {}
    for count in MEMORY_PAGES:
        file = as_pdf([draw_page(number, 1) for number in range(count)])
        environment = {"MAX_PAGES": str(count), "MAX_REQUEST_BYTES": str(2**29)}
        with (
            server(["-m", "bentoml", "serve"], "/readyz", scratch / f"memory-{count}.log", environment) as (url, _),
            PeakMemory(server_processes(url)) as used,
            httpx.Client(base_url=url) as client,
        ):
            response = client.post("/v1/chat/completions", json=document_body(file), timeout=MAX_SECONDS)
            if response.status_code != 200:
                raise SystemExit(f"{response.status_code}: {response.text[:500]}")
        peaks[count] = used.peak_rss_mb or 0.0
    few, many = MEMORY_PAGES
    return {"rss_mb": peaks, "rss_mb_per_100": round((peaks[many] - peaks[few]) * 100 / (many - few), 1)}


MEASURES = {"speed": speed, "share": share, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in MEASURES:
        parser.add_argument(f"--{name}", action="store_true")
    options = vars(parser.parse_args())
    chosen = [name for name in MEASURES if options[name]] or list(MEASURES)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen:
            result |= MEASURES[name](Path(scratch))
            print(name, json.dumps(result), flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
