#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""The exam of whole-page reading: pages set by LibreOffice, Chromium and groff, read by a server that this starts.

    training/eval_documents.py                    200 pages, the embedded checkpoint and layout
    training/eval_documents.py --model TAG --layout TAG    others, of the model store
    training/eval_documents.py --pages 60         fewer pages: the first of the same
    training/eval_documents.py --documents DIR    pages of a folder, NAME.png and NAME.json as --render writes them
    training/eval_documents.py --render DIR       only the pages and their truth
    training/eval_documents.py --keep DIR         also keeps pages, truths and answers

Words, most fonts, templates and all three renderers are held out of training. tesseract reads the same pages beside the
server, one thread a page. Formulas count as blocks, and not as text: neither the embedded checkpoint nor tesseract
reads them. The last line is JSON: rates over all pages, and as `layout_share` the time of layout and cutting, measured
in this process, over that of whole pages, which the server reads with nothing else to do; null where others are
chosen.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from benchmarks.child_processes import ROOT, server
from benchmarks.layout_seconds import layout_seconds
from models.paddleocr_vl.images import ImageSettings
from training.exam_pages import PROGRAMS, ExamPage, load_pages, render_pages, require_renderers, save_pages
from training.exam_readers import MAX_SECONDS, read_all, read_page, with_tesseract
from training.score_documents import PageAnswer, page_scores, score

EMBEDDED = ROOT / "models" / "tiny"
PAGES = 200
BARS = {
    "cer": 0.05,
    "words_lost": 0.005,
    "heading_f1": 0.90,
    "order_tau": 0.98,
    "table_cells": 0.90,
    "block_f1": 0.85,
}
AT_MOST = ("cer", "words_lost")
WORST_SHOWN = 5
TIMED = 6  # pages that are read one after another for `layout_share`


@contextlib.contextmanager
def serving(options: argparse.Namespace) -> Iterator[str]:
    """The URL of a server with the checkpoints that were asked for. Raises ChildError if it does not start."""
    chosen = {"MODEL": options.model, "LAYOUT": options.layout}
    environment = {name: value for name, value in chosen.items() if value}
    with tempfile.TemporaryDirectory() as folder:
        log = (options.keep or Path(folder)) / "server.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with server(["-m", "bentoml", "serve"], "/readyz", log, environment) as (url, _):
            yield url


def layout_share(url: str, pages: Sequence[ExamPage]) -> float:
    """Seconds of layout and cutting over seconds of whole pages, read one after another."""
    with httpx.Client(base_url=url, timeout=MAX_SECONDS) as client:
        whole = [read_page(client, page).seconds for page in pages]
    limits = ImageSettings.read(EMBEDDED).block_limits
    return round(sum(layout_seconds(None, [page.image for page in pages], limits)) / sum(whole), 4)


def report(answers: Sequence[PageAnswer]) -> None:
    """Print the measures by renderer and by template, and the worst pages."""
    for key in ("renderer", "template", "columns"):
        for value in sorted({answer.truth[key] for answer in answers}):
            chosen = [answer for answer in answers if answer.truth[key] == value]
            print(f"{key} {value}, {len(chosen)} pages: {json.dumps(score(chosen))}")

    def errors(answer: PageAnswer) -> float:
        part, whole = page_scores(answer)["cer"]
        return part / max(1, whole)

    for answer in sorted(answers, key=errors, reverse=True)[:WORST_SHOWN]:
        rates = {name: f"{part:g}/{whole:g}" for name, (part, whole) in page_scores(answer).items()}
        print(f"worst: {answer.name}, {answer.truth['renderer']} {answer.truth['template']}: {json.dumps(rates)}")


def missed(rates: dict[str, float]) -> list[str]:
    """The bars that are not reached, with the figure measured."""
    return [
        f"{name} {rates[name]} (bar {bar})"
        for name, bar in BARS.items()
        if (rates[name] > bar if name in AT_MOST else rates[name] < bar)
    ]


def keep(answers: Sequence[PageAnswer], folder: Path) -> None:
    for answer in answers:
        (folder / f"{answer.name}.md").write_text(answer.content)
        (folder / f"{answer.name}.blocks.txt").write_text("\n".join(map(json.dumps, answer.blocks)))
        if answer.tesseract is not None:
            (folder / f"{answer.name}.tesseract.txt").write_text(answer.tesseract)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--documents", type=Path, metavar="DIR")
    parser.add_argument("--render", type=Path, metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--model", help="as MODEL is set; default: the embedded checkpoint")
    parser.add_argument("--layout", help="as LAYOUT is set; default: the embedded checkpoint")
    options = parser.parse_args()
    require_renderers(["tesseract"] if options.documents else [*PROGRAMS, "tesseract"])
    pages = load_pages(options.documents)[: options.pages] if options.documents else render_pages(options.pages)
    if options.render:
        save_pages(pages, options.render)
        return
    began = time.monotonic()
    with serving(options) as url:
        answers = read_all(url, pages)
        seconds = time.monotonic() - began
        share = None if options.model or options.layout else layout_share(url, pages[:TIMED])
    answers = with_tesseract(answers, pages)
    if options.keep:
        save_pages(pages, options.keep)
        keep(answers, options.keep)
    report(answers)
    rates = score(answers)
    print("missed:", "; ".join(missed(rates)) or "none")
    print(json.dumps(rates | {"layout_share": share, "pages": len(pages), "seconds": round(seconds)}))


if __name__ == "__main__":
    main()
