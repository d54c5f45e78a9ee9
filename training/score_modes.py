"""Scores of the modes' answers against the truth: exact fields, exact table cells, values that are not on the page."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from modes.form import Form
from modes.labels import Labels
from modes.page import read_page
from modes.schemas import SCHEMAS, parse
from modes.tables import parse as parse_table
from training.render_documents import KINDS

SCORED = ("receipt", "invoice")  # the modes whose fields count in f1
WORST_SHOWN = 3  # documents printed for each mode


@dataclass(frozen=True)
class Document:
    """An image with the mode to ask for and the answer expected."""

    mode: str
    image: Image.Image
    truth: Any  # the object, or a table's cells
    transcript: str | None  # None where it is unknown, as for a user's own documents


@dataclass(frozen=True)
class Outcome:
    """The answer to one document."""

    document: Document
    content: str
    transcript: str  # as the model read it
    fields: list[dict[str, Any]] = field(default_factory=list)  # as `ocr.fields`

    @property
    def valid(self) -> bool:
        return is_object(self.content)


CONFIDENT = 0.9


def confidences(outcomes: Iterable[Outcome]) -> list[tuple[float, bool]]:
    """The confidence of every value that is on the page, and whether the value is right."""
    found = []
    for outcome in outcomes:
        truth = dict(values(outcome.document.truth)) if isinstance(outcome.document.truth, dict) else {}
        for own in outcome.fields:
            if own["value"] is not None and own["confidence"] is not None:
                value = own["value"] if isinstance(own["value"], str) else float(own["value"])
                found.append((own["confidence"], truth.get(f".{own['path']}") == value))
    return found


def is_object(content: str) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except json.JSONDecodeError:
        return False


def values(tree: Any, path: str = "") -> Iterator[tuple[str, str | float]]:
    """Every field that has a value, as (path, value)."""
    if isinstance(tree, dict):
        for name, child in tree.items():
            yield from values(child, f"{path}.{name}")
    elif isinstance(tree, list):
        for i, child in enumerate(tree):
            yield from values(child, f"{path}[{i}]")
    elif tree is not None:
        yield path, tree if isinstance(tree, str) else float(tree)


def f1(pairs: Iterable[tuple[Any, Any]]) -> float:
    """F1 of the exact fields over all (answer, truth) pairs together."""
    right = found = wanted = 0
    for answer, truth in pairs:
        actual, expected = set(values(answer)), set(values(truth))
        right, found, wanted = right + len(actual & expected), found + len(actual), wanted + len(expected)
    return round(2 * right / max(1, found + wanted), 4)


def ungrounded(content: str, transcript: str) -> list[tuple[str, str | float]]:
    """Values that do not occur in the transcript: strings as whole words, numbers as numbers.

    A string over several lines, such as an item's name, has one run of words on each of them, in their order.
    """
    page = read_page(transcript, Labels({}))
    known = {abs(float(value)) for line in page.lines for own in line.numbers for value in (own.value, *own.others)}
    text = " ".join(page.views.shown.split())
    lines = [" ".join(line.split()) for line in page.views.shown.split("\n") if line.strip()]

    def occurs(value: str | float) -> bool:
        if isinstance(value, float):
            return abs(value) in known
        return has_words(text, value) or any(is_over_lines(value.split(), lines[i:]) for i in range(len(lines)))

    return [(path, value) for path, value in values(json.loads(content)) if not occurs(value)]


def has_words(text: str, words: str) -> bool:
    """Whether a text has a run of whole words; marks alone need no edges."""
    worded = re.search(r"\w", words) is not None
    return bool(re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text)) if worded else words in text


def is_over_lines(words: Sequence[str], lines: Sequence[str]) -> bool:
    """Whether words are runs of a line and of the lines below it, one of each."""
    if not words:
        return True
    ends = (end for end in range(len(words), 0, -1) if lines and has_words(lines[0], " ".join(words[:end])))
    return any(is_over_lines(words[end:], lines[1:]) for end in ends)


def cell_grid(otsl: str) -> list[list[str]]:
    """The texts of a table by grid position; a merged cell's text is at each of its positions."""
    table = parse_table(otsl)
    texts: dict[tuple[int, int], str] = {}
    for r, row in enumerate(table.rows):
        for cell in row:
            for down in range(cell.rowspan):
                for across in range(cell.colspan):
                    texts[r + down, cell.column + across] = cell.text
    return [[texts.get((r, c), "") for c in range(table.width)] for r in range(len(table.rows))]


def correct_cells(outcome: Outcome) -> tuple[int, int]:
    """Number of the truth's grid positions whose text is exact, and number of positions in either table."""
    answer, truth = cell_grid(outcome.content), outcome.document.truth
    actual = {(r, c): text for r, row in enumerate(answer) for c, text in enumerate(row)}
    expected = {(r, c): text for r, row in enumerate(truth) for c, text in enumerate(row)}
    return sum(actual.get(position) == text for position, text in expected.items()), len(actual | expected)


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All scores; prints those of each mode with its worst documents."""
    objects = [outcome for outcome in outcomes if outcome.document.mode != "table"]
    tables = [outcome for outcome in outcomes if outcome.document.mode == "table"]
    valid = [outcome for outcome in objects if outcome.valid]
    forms = [
        (Form(parse(SCHEMAS[outcome.document.mode]), outcome.document.transcript), outcome.document)
        for outcome in objects
        if outcome.document.transcript is not None
    ]
    for mode in KINDS:
        own = [outcome for outcome in valid if outcome.document.mode == mode]
        if own:
            print(f"{mode}: f1 {f1((json.loads(o.content), o.document.truth) for o in own)} on {len(own)}")
            show_worst(own)
    sure = [right for confidence, right in confidences(objects) if confidence >= CONFIDENT]
    cells = [correct_cells(outcome) for outcome in tables]
    grounds = [(o.content, o.transcript) for o in valid]
    grounds += [(form.content(), document.transcript or "") for form, document in forms]
    return {
        "f1_transcript": f1(
            (json.loads(form.content()), document.truth) for form, document in forms if document.mode in SCORED
        ),
        "f1_end_to_end": f1(
            (json.loads(o.content) if o.valid else {}, o.document.truth) for o in objects if o.document.mode in SCORED
        ),
        "table_cell_accuracy": round(sum(right for right, _ in cells) / max(1, sum(total for _, total in cells)), 4),
        "invalid_json": len(objects) - len(valid),
        "ungrounded": sum(len(ungrounded(content, transcript)) for content, transcript in grounds),
        "documents": len(outcomes),
        "confident": len(sure),
        "confident_right": round(sum(sure) / max(1, len(sure)), 4),
    }


def show_worst(outcomes: Sequence[Outcome]) -> None:
    """Print the fields that fail most often and the documents with the most failures."""

    def wrong(outcome: Outcome) -> set[tuple[str, str | float]]:
        return set(values(json.loads(outcome.content))) ^ set(values(outcome.document.truth))

    missed = Counter(re.sub(r"\[\d+\]", "[]", path) for outcome in outcomes for path, _ in wrong(outcome))
    print("  wrong or missing:", dict(missed.most_common(8)))
    for outcome in sorted(outcomes, key=lambda outcome: -len(wrong(outcome)))[:WORST_SHOWN]:
        print(f"  {len(wrong(outcome))} in {outcome.transcript!r}")
