"""The scores of the modes, on given outcomes and on a folder of a user's own documents."""

import asyncio
import json
from pathlib import Path
from shutil import copy

import pytest
from PIL import Image

from scripts.create_test_image import SAMPLES
from training.eval_modes import CHECKPOINT, ask_all, documents_in
from training.evaluate import start_engine
from training.score_modes import Document, Outcome, cell_grid, correct_cells, f1, report, ungrounded

DATA = Path(__file__).parents[1] / "data"
PIXEL = Image.new("RGB", (1, 1))


def test_a_field_counts_only_with_the_right_path_and_value() -> None:
    truth = {"total": 2.5, "date": None, "items": [{"name": "Tea"}]}
    assert f1([({"total": 2.50, "items": [{"name": "Tea"}]}, truth)]) == 1
    assert f1([({"total": 2.51, "items": [{"name": "Tea"}]}, truth)]) == 0.5
    assert f1([({}, truth)]) == 0


def test_a_value_that_is_not_in_the_transcript_is_ungrounded() -> None:
    page = "Green tea 1.234,50\nTotal 1.234,50"
    content = json.dumps({"a": "Green tea", "b": 1234.5, "c": "Gree", "d": 99, "e": None})
    assert [path for path, _ in ungrounded(content, page)] == [".c", ".d"]


def test_a_name_over_several_lines_is_grounded_if_each_has_a_part_of_it() -> None:
    page = "Walnut bread 1 10.65\nwith nuts\nDroids 4 27.60\nTotal 38.25"
    names = [
        "Walnut bread with nuts",
        "with nuts Droids",
        "Walnut bread Droids",
        "bread Walnut",
        "with nuts Walnut bread",
    ]
    found = ungrounded(json.dumps(names), page)
    assert [name for _, name in found] == ["Walnut bread Droids", "bread Walnut", "with nuts Walnut bread"]


def test_a_merged_cell_counts_at_each_of_its_positions() -> None:
    assert cell_grid("<fcel>a<lcel><nl><fcel>b<fcel>c<nl><ucel><ecel><nl>") == [["a", "a"], ["b", "c"], ["b", ""]]


def test_surplus_cells_count_as_errors_like_wrong_ones() -> None:
    outcome = Outcome(
        Document(mode="table", image=PIXEL, truth=[["a", "b"]], transcript=None), "<fcel>a<fcel>x<fcel>y<nl>", ""
    )
    assert correct_cells(outcome) == (1, 3)


def test_an_answer_that_is_not_an_object_counts_as_invalid_and_scores_nothing() -> None:
    document = Document(mode="receipt", image=PIXEL, truth={"total": 1.0}, transcript=None)
    found = report([Outcome(document, '{"total": 1', "")])
    assert (found["invalid_json"], found["f1_end_to_end"], found["documents"]) == (1, 0, 1)


def test_a_folder_of_images_with_their_truth_is_read_and_scored(tmp_path: Path) -> None:
    for name in ("receipt", "table"):
        copy(DATA / f"test_{name}.png", tmp_path)
    receipt = {"mode": "receipt", "total": 13.75, "tax": 1.25, "merchant": "Corner Bakery"}
    (tmp_path / "test_receipt.json").write_text(json.dumps(receipt))
    table = {"mode": "table", "cells": [list(row) for row in SAMPLES["table"]]}
    (tmp_path / "test_table.json").write_text(json.dumps(table))
    engine = start_engine(CHECKPOINT)
    try:
        found = report(asyncio.run(ask_all(engine, documents_in(tmp_path))))
    finally:
        engine.shutdown(grace=10)
    assert (found["table_cell_accuracy"], found["invalid_json"], found["ungrounded"]) == (1.0, 0, 0)
    assert found["f1_end_to_end"] > 0.25  # the truth names three of the receipt's dozen fields


@pytest.mark.parametrize("content", ["{}", '{"mode": "letter"}', '{"mode": "receipt"}'])
def test_an_error_names_the_truth_that_lacks_a_mode_or_an_image(tmp_path: Path, content: str) -> None:
    (tmp_path / "one.json").write_text(content)
    with pytest.raises(SystemExit, match=r"one\.json: needs an image"):
        documents_in(tmp_path)


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no NAME\.json"):
        documents_in(tmp_path)
