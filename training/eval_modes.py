#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Measures the modes on fresh rendered receipts, invoices, forms and tables, in held-out words, fonts and layouts.

    training/eval_modes.py                      500 documents, the embedded checkpoint
    training/eval_modes.py --documents DIR      every NAME.png of a folder, with its truth in NAME.json:
                                                {"mode": "receipt" | "invoice" | "form", ...the object} or
                                                {"mode": "table", "cells": [[...], ...]}
    training/eval_modes.py --model FOLDER       another checkpoint

Every request goes through the API, in this process. A field counts as right when path and value exactly match the truth
(numbers as numbers). f1_transcript starts from perfect transcripts instead of the model's reading, which separates the
errors of the extraction from those of the model. confident_right is the share of right values among the confident ones,
whose confidence is 0.9 or more. The last line is JSON.
"""

import argparse
import asyncio
import base64
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import httpx
from PIL import Image
from tqdm import tqdm

from api.app import create_app
from api.serving import Serving
from engine.engine import Engine
from images.loading import ImageLimits
from training.evaluate import start_engine
from training.plot_confidence import draw
from training.render_documents import choose_style, make_sheet
from training.render_sheets import TooWideError, draw_sheet
from training.render_text import HELD_OUT_FONTS, require_packages
from training.score_modes import Document, Outcome, confidences, report

CHECKPOINT = Path(__file__).resolve().parent.parent / "models" / "tiny"
SEED = 4000
COUNTS = {"receipt": 170, "invoice": 160, "form": 40, "table": 130}
MAX_TOKENS = 900  # far more than a document of the evaluation needs
CONCURRENCY = 16
MAX_REQUEST_BYTES = 2**27


def rendered_documents() -> list[Document]:
    """The evaluation's documents, the same in every run."""
    require_packages()
    documents = []
    for offset, (kind, count) in enumerate(COUNTS.items()):
        rng = random.Random(SEED + offset)
        made: list[Document] = []
        while len(made) < count:
            try:
                sheet = make_sheet(rng, kind, choose_style(rng, HELD_OUT_FONTS, held_out=True))
            except TooWideError:
                continue
            image = draw_sheet(rng, sheet).image
            made.append(Document(mode=kind, image=image, truth=sheet.truth, transcript=sheet.text))
        documents += made
    print(f"{len(documents)} documents, seeds {SEED} to {SEED + len(COUNTS) - 1}: {COUNTS}")
    return documents


def documents_in(folder: Path) -> list[Document]:
    """The documents of a folder. Raises SystemExit where there are none or a truth lacks its image or a known mode."""
    documents = []
    for file in sorted(folder.glob("*.json")):
        truth = json.loads(file.read_text())
        mode = truth.pop("mode", None)
        if mode not in COUNTS or not file.with_suffix(".png").exists():
            raise SystemExit(f"{file}: needs an image of the same name and a mode of {', '.join(COUNTS)}")
        image = Image.open(file.with_suffix(".png")).convert("RGB")
        documents.append(
            Document(mode=mode, image=image, truth=truth["cells"] if mode == "table" else truth, transcript=None)
        )
    if not documents:
        raise SystemExit(f"{folder} holds no NAME.json with a NAME.png")
    return documents


async def ask_all(engine: Engine, documents: Sequence[Document]) -> list[Outcome]:
    """The outcomes of all documents, in their order; CONCURRENCY requests at a time."""
    app = create_app(max_request_bytes=MAX_REQUEST_BYTES)
    app.state.serving = Serving(engine=engine, model="evaluated", limits=ImageLimits())
    free = asyncio.Semaphore(CONCURRENCY)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=None) as client:  # noqa: S113
        with tqdm(total=len(documents), unit="document", mininterval=2) as bar:

            async def one(document: Document) -> Outcome:
                async with free:
                    outcome = await ask(client, document)
                bar.update()
                return outcome

            return await asyncio.gather(*map(one, documents))


async def ask(client: httpx.AsyncClient, document: Document) -> Outcome:
    buffer = io.BytesIO()
    document.image.save(buffer, "PNG")
    image = {"url": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"}
    body = {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": image}]}],
        "mode": document.mode,
        "max_tokens": MAX_TOKENS,
        "ocr": {"words": True},
    }
    if document.mode == "table":
        body["table_format"] = "otsl"
    response = await client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    choice = response.json()["choices"][0]
    transcript = "\n".join(line["text"] for line in choice["ocr"]["lines"])
    return Outcome(document, choice["message"]["content"], transcript, choice["ocr"]["fields"] or [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--documents", type=Path, metavar="DIR", help="images with their truth, instead of rendered documents"
    )
    parser.add_argument("--model", type=Path, default=CHECKPOINT, help="a checkpoint folder (default: models/tiny)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw confidence against right values")
    arguments = parser.parse_args()
    documents = documents_in(arguments.documents) if arguments.documents else rendered_documents()
    engine = start_engine(arguments.model)
    outcomes = asyncio.run(ask_all(engine, documents))
    engine.shutdown(grace=10)
    if arguments.plot is not None:
        draw(confidences(outcomes), arguments.plot)
    print(json.dumps(report(outcomes)))


if __name__ == "__main__":
    main()
