#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Measures the modes on fresh rendered receipts, invoices, forms and tables, in held-out words, fonts and layouts.

    training/eval_modes.py                      500 documents, the embedded checkpoint
    training/eval_modes.py --documents DIR      every NAME.png of a folder, with its truth in NAME.json:
                                               {"mode": "receipt" | "invoice" | "form", ...the object} or
                                               {"mode": "table", "cells": [[...], ...]}
    training/eval_modes.py --model FOLDER       another checkpoint

Everything is asked through the API, in this process. Fields count as right when path and value are exactly those of the
truth (numbers as numbers). Perfect transcripts take the reader's place once, so that extractor and reader are judged
apart. The last line is JSON.
"""

import argparse
import asyncio
import base64
import io
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from tqdm import tqdm

from api.app import create_app
from api.serving import Serving
from engine.engine import Engine
from images.loading import ImageLimits
from modes.form import Form
from modes.schemas import SCHEMAS, parse
from modes.tables import parse as parse_table
from modes.values import decimal_mark, numbers
from training.evaluate import start
from training.render_documents import choose_style, make_sheet
from training.render_sheets import TooWideError, draw_sheet
from training.render_text import HELD_OUT_FONTS, require_packages

CHECKPOINT = Path(__file__).resolve().parent.parent / "models" / "tiny"
SEED = 4000
COUNTS = {"receipt": 170, "invoice": 160, "form": 40, "table": 130}
MAX_TOKENS = 900  # far more than a document of the evaluation has
AT_ONCE = 16
MAX_REQUEST_BYTES = 2**27
WORST = 3  # documents shown of each mode


@dataclass(frozen=True)
class Document:
    mode: str
    image: Image.Image
    truth: Any  # the object, or of a table its cells
    transcript: str | None  # a rendered document's


@dataclass(frozen=True)
class Outcome:
    document: Document
    content: str
    transcript: str  # as it was read

    @property
    def valid(self) -> bool:
        return is_object(self.content)


def rendered() -> list[Document]:
    """The evaluation's documents: the same in every run."""
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
            made.append(Document(kind, draw_sheet(rng, sheet).image, sheet.truth, sheet.text))
        documents += made
    print(f"{len(documents)} documents, seeds {SEED} to {SEED + len(COUNTS) - 1}: {COUNTS}")
    return documents


def in_folder(folder: Path) -> list[Document]:
    """Raises SystemExit if there is no document, or a truth without a known mode."""
    documents = []
    for truth in sorted(folder.glob("*.json")):
        known = json.loads(truth.read_text())
        mode = known.pop("mode", None)
        if mode not in COUNTS or not truth.with_suffix(".png").exists():
            raise SystemExit(f"{truth}: needs an image of the same name and a mode of {', '.join(COUNTS)}")
        image = Image.open(truth.with_suffix(".png")).convert("RGB")
        documents.append(Document(mode, image, known["cells"] if mode == "table" else known, None))
    if not documents:
        raise SystemExit(f"{folder} holds no NAME.json next to a NAME.png")
    return documents


async def ask_all(engine: Engine, documents: Sequence[Document]) -> list[Outcome]:
    app = create_app(max_request_bytes=MAX_REQUEST_BYTES)
    app.state.serving = Serving(engine=engine, model="evaluated", limits=ImageLimits())
    room = asyncio.Semaphore(AT_ONCE)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=None) as client:  # noqa: S113
        with tqdm(total=len(documents), unit="document", mininterval=2) as bar:

            async def one(document: Document) -> Outcome:
                async with room:
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
    answer = await client.post("/v1/chat/completions", json=body)
    answer.raise_for_status()
    choice = answer.json()["choices"][0]
    read = "\n".join(line["text"] for line in choice["ocr"]["lines"])
    return Outcome(document, choice["message"]["content"], read)


def is_object(content: str) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except json.JSONDecodeError:
        return False


def values(tree: Any, path: str = "") -> Iterator[tuple[str, str | float]]:
    """Every field that has a value, as (path, value)."""
    if isinstance(tree, dict):
        for name, own in tree.items():
            yield from values(own, f"{path}.{name}")
    elif isinstance(tree, list):
        for i, own in enumerate(tree):
            yield from values(own, f"{path}[{i}]")
    elif tree is not None:
        yield path, tree if isinstance(tree, str) else float(tree)


def f1(pairs: Iterable[tuple[Any, Any]]) -> float:
    """F1 of the exact fields over all (answer, truth) pairs."""
    right = found = wanted = 0
    for answer, truth in pairs:
        ours, theirs = set(values(answer)), set(values(truth))
        right, found, wanted = right + len(ours & theirs), found + len(ours), wanted + len(theirs)
    return round(2 * right / max(1, found + wanted), 4)


def ungrounded(content: str, transcript: str) -> list[tuple[str, str | float]]:
    """Values that are not in the transcript: strings as whole words, numbers as numbers."""
    known = {float(number.value) for number in numbers(transcript, decimal_mark(transcript))}
    text = " ".join(transcript.split())

    def stands(value: str | float) -> bool:
        if isinstance(value, float):
            return value in known
        return bool(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text)) or (
            not re.search(r"\w", value) and value in text
        )

    return [(path, value) for path, value in values(json.loads(content)) if not stands(value)]


def grid(otsl: str) -> list[list[str]]:
    """Cells of a table, place by place; merged ones repeat their text."""
    table = parse_table(otsl)
    places: dict[tuple[int, int], str] = {}
    for r, row in enumerate(table.rows):
        for cell in row:
            for down in range(cell.rowspan):
                for across in range(cell.colspan):
                    places[r + down, cell.column + across] = cell.text
    return [[places.get((r, c), "") for c in range(table.width)] for r in range(len(table.rows))]


def cells_right(outcome: Outcome) -> tuple[int, int]:
    """Places of the truth whose text was read exactly, and places of the larger of both tables."""
    read, truth = grid(outcome.content), outcome.document.truth
    ours = {(r, c): text for r, row in enumerate(read) for c, text in enumerate(row)}
    theirs = {(r, c): text for r, row in enumerate(truth) for c, text in enumerate(row)}
    return sum(ours.get(place) == text for place, text in theirs.items()), len(ours | theirs)


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    objects = [outcome for outcome in outcomes if outcome.document.mode != "table"]
    tables = [outcome for outcome in outcomes if outcome.document.mode == "table"]
    valid = [outcome for outcome in objects if outcome.valid]
    perfect = [
        (Form(parse(SCHEMAS[outcome.document.mode]), outcome.document.transcript), outcome.document)
        for outcome in objects
        if outcome.document.transcript is not None
    ]
    scored = ("receipt", "invoice")
    for mode in COUNTS:
        own = [outcome for outcome in valid if outcome.document.mode == mode]
        if own:
            print(f"{mode}: f1 {f1((json.loads(o.content), o.document.truth) for o in own)} on {len(own)}")
            show_worst(own)
    places = [cells_right(outcome) for outcome in tables]
    loose = [(o.content, o.transcript) for o in valid]
    loose += [(form.content(), document.transcript or "") for form, document in perfect]
    return {
        "f1_transcript": f1(
            (json.loads(form.content()), document.truth) for form, document in perfect if document.mode in scored
        ),
        "f1_end_to_end": f1(
            (json.loads(o.content) if o.valid else {}, o.document.truth) for o in objects if o.document.mode in scored
        ),
        "table_cell_accuracy": round(sum(r for r, _ in places) / max(1, sum(n for _, n in places)), 4),
        "invalid_json": len(objects) - len(valid),
        "ungrounded": sum(len(ungrounded(content, transcript)) for content, transcript in loose),
        "documents": len(outcomes),
    }


def show_worst(outcomes: Sequence[Outcome]) -> None:
    def wrong(outcome: Outcome) -> set[tuple[str, str | float]]:
        return set(values(json.loads(outcome.content))) ^ set(values(outcome.document.truth))

    missed = Counter(re.sub(r"\[\d+\]", "[]", path) for outcome in outcomes for path, _ in wrong(outcome))
    print("  wrong or missing:", dict(missed.most_common(8)))
    for outcome in sorted(outcomes, key=lambda outcome: -len(wrong(outcome)))[:WORST]:
        print(f"  {len(wrong(outcome))} in {outcome.transcript!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--documents", type=Path, metavar="DIR", help="images with their truth, in place of rendered ones"
    )
    parser.add_argument("--model", type=Path, default=CHECKPOINT, help="a checkpoint folder")
    arguments = parser.parse_args()
    documents = in_folder(arguments.documents) if arguments.documents else rendered()
    engine = start(arguments.model)
    outcomes = asyncio.run(ask_all(engine, documents))
    engine.shutdown(grace=10)
    print(json.dumps(report(outcomes)))


if __name__ == "__main__":
    main()
