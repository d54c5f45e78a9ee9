"""The sample document, within what the embedded checkpoint can read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.create_test_image import MARGIN, TEXT, TITLE, draw, main

DATA = Path(__file__).parents[1] / "data"


def test_the_picture_is_no_wider_than_the_embedded_checkpoint_reads() -> None:
    assert draw().width <= 440


def test_the_text_has_a_title_a_date_a_price_and_at_most_six_lines() -> None:
    assert TITLE == "Test Document"
    assert "March 14, 2025" in TEXT
    assert "Total: $42.50" in TEXT
    assert len(TEXT.splitlines()) <= 6


def test_nothing_is_cut_at_the_edges() -> None:
    ink = np.asarray(draw().convert("L")) < 128
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert rows[0] >= MARGIN
    assert columns[0] >= MARGIN
    assert rows[-1] < ink.shape[0] - MARGIN
    assert columns[-1] < ink.shape[1] - MARGIN


def test_the_stored_sample_is_what_the_script_draws() -> None:
    with Image.open(DATA / "test_document.png") as stored:
        assert np.array_equal(np.asarray(stored.convert("RGB")), np.asarray(draw()))
    assert (DATA / "test_document.txt").read_text() == TEXT


def test_the_picture_is_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sample.png"
    assert main([str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as image:
        assert image.format == "PNG"


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "absent" / "sample.png"
    assert main([str(out)]) == 1
    assert f"{out} cannot be written" in capsys.readouterr().err
