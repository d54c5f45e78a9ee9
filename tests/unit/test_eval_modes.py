"""How the modes are judged, and that a folder of a user's own documents can be."""

import asyncio
import json
from pathlib import Path
from shutil import copy

import pytest
from PIL import Image

from scripts.create_test_image import SAMPLES
from training.eval_modes import (
    CHECKPOINT,
    Document,
    Outcome,
    ask_all,
    cells_right,
    f1,
    grid,
    in_folder,
    report,
    ungrounded,
)
from training.evaluate import start

DATA = Path(__file__).parents[1] / "data"
PIXEL = Image.new("RGB", (1, 1))


def test_a_field_counts_with_its_place_and_its_value() -> None:
    truth = {"total": 2.5, "date": None, "items": [{"name": "Tea"}]}
    assert f1([({"total": 2.50, "items": [{"name": "Tea"}]}, truth)]) == 1
    assert f1([({"total": 2.51, "items": [{"name": "Tea"}]}, truth)]) == 0.5
    assert f1([({}, truth)]) == 0


def test_a_value_that_is_not_in_the_transcript_is_seen() -> None:
    page = "Green tea 1.234,50\nTotal 1.234,50"
    content = json.dumps({"a": "Green tea", "b": 1234.5, "c": "Gree", "d": 99, "e": None})
    assert [path for path, _ in ungrounded(content, page)] == [".c", ".d"]


def test_a_merged_cell_counts_in_each_of_its_places() -> None:
    assert grid("<fcel>a<lcel><nl><fcel>b<fcel>c<nl><ucel><ecel><nl>") == [["a", "a"], ["b", "c"], ["b", ""]]


def test_cells_too_many_count_as_well_as_wrong_ones() -> None:
    outcome = Outcome(Document("table", PIXEL, [["a", "b"]], None), "<fcel>a<fcel>x<fcel>y<nl>", "")
    assert cells_right(outcome) == (1, 3)


def test_what_is_no_object_counts_as_invalid_and_not_at_all_as_read() -> None:
    found = report([Outcome(Document("receipt", PIXEL, {"total": 1.0}, None), '{"total": 1', "")])
    assert (found["invalid_json"], found["f1_end_to_end"], found["documents"]) == (1, 0, 1)


def test_a_folder_of_images_with_their_truth_is_read_and_judged(tmp_path: Path) -> None:
    for name in ("receipt", "table"):
        copy(DATA / f"test_{name}.png", tmp_path)
    receipt = {"mode": "receipt", "total": 13.75, "tax": 1.25, "merchant": "Corner Bakery"}
    (tmp_path / "test_receipt.json").write_text(json.dumps(receipt))
    table = {"mode": "table", "cells": [list(row) for row in SAMPLES["table"]]}
    (tmp_path / "test_table.json").write_text(json.dumps(table))
    engine = start(CHECKPOINT)
    try:
        found = report(asyncio.run(ask_all(engine, in_folder(tmp_path))))
    finally:
        engine.shutdown(grace=10)
    assert (found["table_cell_accuracy"], found["invalid_json"], found["ungrounded"]) == (1.0, 0, 0)
    assert found["f1_end_to_end"] > 0.25  # the truth names three of the receipt's dozen fields


@pytest.mark.parametrize("content", ["{}", '{"mode": "letter"}', '{"mode": "receipt"}'])
def test_a_truth_without_a_mode_or_an_image_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "one.json").write_text(content)
    with pytest.raises(SystemExit, match=r"one\.json: needs an image"):
        in_folder(tmp_path)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no NAME\.json"):
        in_folder(tmp_path)
