#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Measures extraction from perfect transcripts of receipts and invoices in six languages and ten styles of numbers.

    training/eval_extraction.py                 300 documents
    training/eval_extraction.py --show 20       and the 20 worst

No model takes part. A field counts as right when path and value exactly match the truth (numbers as numbers). unmarked
is the share of values that are wrong and not marked as doubtful, among all values given. The last line is JSON.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from modes.form import Form
from modes.schemas import SCHEMAS, parse
from training.render_paper import Paper, papers
from training.score_modes import f1, values

SEED = 7300
COUNT = 300


def plain(tree: Any) -> Any:
    """A truth with floats for decimals."""
    if isinstance(tree, dict):
        return {name: plain(own) for name, own in tree.items()}
    if isinstance(tree, list):
        return [plain(own) for own in tree]
    return float(tree) if isinstance(tree, Decimal) else tree


class Result:
    """What extraction made of one paper."""

    def __init__(self, paper: Paper) -> None:
        form = Form(parse(SCHEMAS[paper.mode]), paper.text)
        self.paper = paper
        self.answer, self.truth = json.loads(form.content()), plain(paper.truth)
        self.given = set(values(self.answer))
        self.wrong = self.given - set(values(self.truth))
        self.missing = set(values(self.truth)) - self.given
        doubtful = {f".{field.path}" for field in form.fields() if field.doubtful}
        self.unmarked = {(path, value) for path, value in self.wrong if path not in doubtful}


def report(results: Sequence[Result]) -> dict[str, Any]:
    """All scores; prints them by language and style of numbers."""
    for part in ("language", "style", "mode"):
        groups = defaultdict(list)
        for result in results:
            groups[getattr(result.paper, part)].append((result.answer, result.truth))
        print(f"f1 by {part}:", {name: f1(pairs) for name, pairs in groups.items()})
    given = sum(len(result.given) for result in results)
    return {
        "documents": len(results),
        "f1": f1((result.answer, result.truth) for result in results),
        "wrong": sum(len(result.wrong) for result in results),
        "unmarked": sum(len(result.unmarked) for result in results),
        "unmarked_share": round(sum(len(result.unmarked) for result in results) / max(1, given), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the N worst documents")
    arguments = parser.parse_args()
    results = [Result(paper) for paper in papers(arguments.count, arguments.seed)]
    worst = sorted(results, key=lambda result: (-len(result.unmarked), -len(result.missing)))
    for result in worst[: arguments.show]:
        print(f"{result.paper.mode} {result.paper.language} {result.paper.style!r}\n{result.paper.text}")
        print("  unmarked:", sorted(result.unmarked, key=str), "\n  missing:", sorted(result.missing, key=str))
    print(json.dumps(report(results)))


if __name__ == "__main__":
    main()
