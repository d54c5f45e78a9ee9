"""PaddleX's Markdown and joined pages as `layout/paddlex/` makes them and as PaddleX, in .venv-clients, does."""

import json
import os
import random
import subprocess
from typing import Any

import pytest

from layout.paddlex.markdown import IGNORED, Style, markdown
from layout.paddlex.parsed import ParsedBlock, blocks_as_json
from layout.paddlex.restructuring import restructure
from tests.e2e.servers import ROOT

DOCUMENTS = 200
SECONDS_TO_RUN = 300  # ten on an idle machine
WIDTH = 800
LABELS = (
    *("abstract", "algorithm", "aside_text", "chart", "content", "display_formula", "doc_title", "figure_title"),
    *("footer", "footer_image", "footnote", "formula_number", "header", "header_image", "image", "inline_formula"),
    *("number", "paragraph_title", "reference", "reference_content", "seal", "table", "text", "vertical_text"),
    *("vision_footnote", "ocr", "spotting"),
)
TITLES = (
    *(
        "1 Introduction",
        "1.1 Aims",
        "1.1.2 Means.",
        "2. Results",
        "(3) Third",
        "IV. Fourth",
        "A. Appendix",
        "b) Second",
    ),
    *(
        "References",
        "Abstract",
        "第一章 绪论",
        "一、背景",
        "（二）方法",
        "Plain title",
        "Long ti-\ntle over\ntwo lines",
        "Method:",
    ),
)
TEXTS = (
    "Some words.",
    "One\ntwo\n\nthree",
    "Abstract This is",
    "References\n[1] One",
    "a | b\n1 | 2",
    "$$x^2$$",
    "(1)",
    "# 5",
)


def table(chance: random.Random, columns: int, header: str) -> str:
    """HTML of a table, perhaps with merged cells, whose first rows have the words of `header`."""
    rows = "".join(
        f"<tr>{''.join(f'<td>{header}{c}</td>' for c in range(columns))}</tr>" for _ in range(chance.randint(0, 2))
    )
    for row in range(chance.randint(2, 4)):
        cells = f'<td colspan="2">a{row}</td>' if chance.random() < 0.2 else f"<td>a{row} &amp; b</td><td></td>"
        rows += f"<tr>{cells}{''.join(f'<td>{row}{c}</td>' for c in range(columns - 2))}</tr>"
    return f"<table>{rows}</table>"


def block(chance: random.Random, label: str, columns: int) -> dict[str, Any]:
    """A block of a page as PaddleX's JSON has it."""
    left, top = chance.randint(0, 20), chance.randint(0, 900)
    wide = chance.choice((300, 305, 310, 400))
    content = {"paragraph_title": chance.choice(TITLES), "table": table(chance, columns, chance.choice("hH"))}
    row = {
        "block_label": label,
        "block_bbox": [left, top, left + wide, top + chance.choice((20, 22, 30, 41, 60))],
        "block_content": content.get(label) or chance.choice(TEXTS + TITLES),
    }
    if label in ("image", "chart", "seal", "header_image"):
        row["image"] = f"imgs/img_in_{label}_box_{'_'.join(map(str, row['block_bbox']))}.jpg"
    return row


def document(seed: int) -> dict[str, Any]:
    """Pages of random blocks, many of which begin or end with a table, and random settings."""
    chance = random.Random(seed)
    columns = chance.randint(2, 4)
    pages = []
    for _ in range(chance.randint(1, 4)):
        labels = chance.choices(LABELS, [8 if label in ("paragraph_title", "text") else 1 for label in LABELS], k=6)
        labels = [
            *chance.choices(["header", "number", "table", "table"], k=2),
            *labels,
            "table",
            chance.choice(IGNORED),
        ]
        pages.append([block(chance, label, columns) for label in labels])
    settings = {
        "use_layout_detection": chance.random() < 0.8,
        "use_chart_recognition": chance.random() < 0.5,
        "use_seal_recognition": chance.random() < 0.5,
        "use_ocr_for_image_block": chance.random() < 0.5,
        "markdown_ignore_labels": chance.choice((list(IGNORED), [], ["text"])),
    }
    style = {"pretty": chance.random() < 0.5, "show_formula_number": chance.random() < 0.5}
    wishes = {"merge_tables": chance.random() < 0.8, "relevel_titles": chance.random() < 0.8}
    return {"pages": pages, "width": WIDTH, "settings": settings, "style": style, "restructure": wishes}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each document with what PaddleX makes of it."""
    folder = tmp_path_factory.mktemp("style")
    python = ROOT / ".venv-clients" / "bin" / "python"
    assert python.exists(), "scripts/setup_clients makes what this test needs"
    documents = [document(seed) for seed in range(DOCUMENTS)]
    (folder / "documents.json").write_text(json.dumps(documents))
    programs = ROOT / "tests" / "e2e" / "clients"
    line = [python, programs / "style_with_paddlex.py", folder / "documents.json"]
    environment = os.environ | {"HOME": str(folder), "PYTHONPATH": str(programs)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=SECONDS_TO_RUN)
    assert done.returncode == 0, done.stderr
    return list(zip(documents, json.loads(done.stdout.splitlines()[-1]), strict=True))


def blocks(page: list[dict[str, Any]]) -> list[ParsedBlock]:
    return [
        ParsedBlock(
            label=row["block_label"], bbox=row["block_bbox"], content=row["block_content"], image=row.get("image")
        )
        for row in page
    ]


def style_of(document: dict[str, Any]) -> Style:
    settings = document["settings"]
    return Style(
        pretty=document["style"]["pretty"],
        formula_numbers=document["style"]["show_formula_number"],
        ignored=settings["markdown_ignore_labels"],
        layout=settings["use_layout_detection"],
        charts=settings["use_chart_recognition"],
        seals=settings["use_seal_recognition"],
        image_texts=settings["use_ocr_for_image_block"],
    )


Answered = list[tuple[dict[str, Any], dict[str, Any]]]


def test_markdown_of_the_same_blocks_is_the_same(answered: Answered) -> None:
    for document, theirs in answered:
        for page, expected in zip(document["pages"], theirs["markdown"], strict=True):
            assert markdown(blocks(page), WIDTH, style_of(document)) == expected


def test_json_of_the_same_blocks_is_the_same(answered: Answered) -> None:
    for document, theirs in answered:
        for page, expected in zip(document["pages"], theirs["rows"], strict=True):
            assert blocks_as_json(blocks(page), document["settings"]["markdown_ignore_labels"]) == expected


def joined(document: dict[str, Any]) -> list[list[ParsedBlock]]:
    pages = [blocks(page) for page in document["pages"]]
    for one in (one for page in pages for one in page):
        one.content = one.content.removeprefix("# ")  # as PaddleX takes blocks that come as JSON
    restructure(pages, **document["restructure"])
    return pages


def test_joined_pages_are_the_same_but_for_tables_that_lose_their_last_row(answered: Answered) -> None:
    gone = differing = 0
    for document, theirs in answered:
        for page, expected in zip(joined(document), theirs["joined"], strict=True):
            for one, other in zip(page, expected, strict=True):
                ids = (one.label, one.title_level, one.global_block_id, one.global_group_id)
                assert ids == tuple(
                    other[name] for name in ("block_label", "title_level", "global_block_id", "global_group_id")
                )
                if one.content != other["block_content"]:
                    differing += 1
                    *rows, last = other["block_content"].removesuffix("</table>").split("<tr>")
                    assert one.content.startswith("<tr>".join([*rows, last]))
                    assert one.content.count("<tr>") == len(rows) + 1
                gone += one.label == "table" and not one.content
    assert gone > DOCUMENTS / 10
    assert 0 < differing < DOCUMENTS / 20
