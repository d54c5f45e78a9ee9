"""The rules of `layout/` and those of PaddleX, installed in .venv-clients, on the same thousand random pages."""

import hashlib
import json
import os
import subprocess
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layout.blocks import FORMULA, FORMULA_OVERLAP, MAX_STACK_ASPECT, SECTION, Block, blocks_of, stack, without_overlaps
from layout.boxes import RULES, select
from layout.crops import crop
from layout.figures import held
from layout.options import LayoutOptions
from layout.tasks import IMAGES, task_of
from models.detection import Box, Detection
from tests.e2e.random_pages import LABELS, outline, random_page
from tests.e2e.servers import ROOT

PAGES = 1000
SECONDS_TO_RUN = 300  # fifteen on an idle machine
PIPELINES = {"PaddleOCR-VL": "pp_doclayout_v2", "PaddleOCR-VL-1.6": "pp_doclayout_v3"}


class Pages:
    """Each page before and after each step, by our rules and by PaddleX's, whose steps begin with what ours made."""

    def __init__(self, folder: Path) -> None:
        self.pipelines = [list(PIPELINES)[seed % 2] for seed in range(PAGES)]
        drawn = [random_page(seed) for seed in range(PAGES)]
        self.sizes, self.detections = zip(*drawn, strict=True)
        self.selected = [
            select(found, size, RULES[PIPELINES[name]], LayoutOptions())
            for name, size, found in zip(self.pipelines, self.sizes, self.detections, strict=True)
        ]
        self.found = [
            [
                replace(one, polygon=outline(one.box, seed) if seed % 3 == 0 else None)
                for one in page
                if one.label != SECTION
            ]
            for seed, page in enumerate(self.selected)
        ]
        self.kept = [without_overlaps(found) for found in self.found]
        results = self._run(folder)
        self.theirs: list[dict[str, list[Any]]] = results.pop("pages")
        self.reading: dict[str, dict[str, Any]] = results

    def _run(self, folder: Path) -> dict[str, Any]:
        python = ROOT / ".venv-clients" / "bin" / "python"
        assert python.exists(), "scripts/setup_clients makes what this test needs"
        pages = [
            {
                "pipeline": self.pipelines[i],
                "size": self.sizes[i],
                "rows": [[LABELS.index(one.label), one.score, *one.box, one.order] for one in self.detections[i]],
                "found": [as_paddlex(one) for one in self.found[i]],
                "kept": [as_paddlex(one) for one in self.kept[i]],
            }
            for i in range(PAGES)
        ]
        task = folder / "pages.json"
        task.write_text(json.dumps({"labels": LABELS, "pages": pages}))
        programs = ROOT / "tests" / "e2e" / "clients"
        environment = os.environ | {"HOME": str(folder), "PYTHONPATH": str(programs)}
        line = [python, programs / "layout_with_paddlex.py", task]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=SECONDS_TO_RUN)
        assert done.returncode == 0, done.stderr
        results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return results


def as_paddlex(one: Detection) -> dict[str, Any]:
    polygon = {"polygon_points": one.polygon} if one.polygon else {}
    return {"label": one.label, "coordinate": list(map(int, one.box)), **polygon}


def row(one: Detection) -> list[Any]:
    return [one.label, *one.box]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("layout"))


def saved(ours: list[Detection], theirs: list[Any]) -> list[Detection]:
    """The boxes that only our rules keep. Fails if there is another difference."""
    more = [one for one in ours if row(one) not in theirs]
    assert [row(one) for one in ours if one not in more] == theirs
    return more


def test_the_same_boxes_are_selected_but_for_those_that_contain_each_other(pages: Pages) -> None:
    swallow = RULES["pp_doclayout_v3"].merge
    differing = 0
    for ours, page, found in zip(pages.selected, pages.theirs, pages.detections, strict=True):
        more = saved(ours, page["selected"])
        for one in more:
            others = [other.box for other in found if other.label in swallow and other.order != one.order]
            whole = next(other.box for other in found if other.order == one.order)
            assert one.label in swallow
            assert any(rounded(whole).inside(rounded(box)) and rounded(box).inside(rounded(whole)) for box in others)
        differing += bool(more)
    assert 0 < differing < PAGES / 20


def rounded(box: Box) -> Box:
    return Box(*map(round, box))


def test_the_same_overlaps_are_filtered_but_for_formulas_in_pairs_and_thin_boxes(pages: Pages) -> None:
    differing = 0
    for ours, page, found in zip(pages.kept, pages.theirs, pages.found, strict=True):
        more = saved(ours, page["filtered"])
        for one in more:
            others = [other for other in found if other is not one]
            thin = [other for other in others if min(other.box.width, other.box.height) < 6]
            pairs = [other for other in others if {one.label, other.label} == {FORMULA}]
            assert any(one.box.overlap(other.box) > FORMULA_OVERLAP for other in thin + pairs)
        differing += bool(more)
    assert 0 < differing < PAGES / 20


@cache
def pixels(size: tuple[int, int]) -> Image.Image:
    rows, columns = np.indices(size[::-1])
    return Image.fromarray(np.stack([rows * 7 + columns * 13] * 3, axis=-1).astype(np.uint8))


def test_the_same_texts_are_stacked_to_the_pixel_and_only_tall_ones_keep_their_order(pages: Pages) -> None:
    differing = stacks = 0
    for kept, page, size in zip(pages.kept, pages.theirs, pages.sizes, strict=True):
        plain = [replace(one, polygon=None) for one in kept]
        ours = []
        for block in stack(plain):
            image = crop(pixels(size), replace(block, task=None), max_aspect=1000)
            digests = [hashlib.sha1(image.tobytes()).hexdigest(), *[None] * (len(block.parts) - 1)]
            ours += [[*row(part), digest] for part, digest in zip(block.parts, digests, strict=True)]
            stacks += len(block.parts) > 1
        if ours != page["merged"]:
            differing += 1
            assert sorted(ours, key=str) == sorted(page["merged"], key=str)
            texts = [one.box for one in kept if one.label == "text"]
            assert sum(box.height for box in texts) >= MAX_STACK_ASPECT * min(box.width for box in texts)
    assert stacks > PAGES / 20
    assert 0 < differing < PAGES / 50


@pytest.mark.parametrize(("reading", "read"), [("default", ()), ("all", IMAGES)])
def test_blocks_of_each_label_go_to_the_model_alike(pages: Pages, reading: str, read: Collection[str]) -> None:
    page = Image.new("RGB", (60, 50), "white")
    page.paste("black", (10, 10, 40, 20))
    ours = {}
    for label in (*LABELS, "spotting"):
        task = task_of(label, read)
        block = Block((Detection(label, 1.0, Box(0, 0, 60, 50), 0),), task=task)
        if task:
            ours[label] = [task.prompt, list(task.bounds), list(crop(page, block, max_aspect=200).size)]
    assert ours == pages.reading[reading]


def test_every_page_ends_as_blocks(pages: Pages) -> None:
    for selected in pages.selected:
        blocks = blocks_of(selected, LayoutOptions())
        parts = [part for block in blocks for part in block.parts]
        in_tables = [part for part in without_overlaps(selected) if part not in parts]
        assert len(parts) + len(in_tables) == len(without_overlaps(selected))
        tables = [block.parts[0] for block in blocks if block.label == "table"]
        assert all(any(held(part, table) for table in tables) for part in in_tables)
