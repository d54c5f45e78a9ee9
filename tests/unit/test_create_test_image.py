"""The sample images: drawn within the limits of what the embedded checkpoint can read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.create_test_image import CELL_PADDING, MARGIN, SAMPLES, draw, main, text_of

DATA = Path(__file__).parents[1] / "data"

every_sample = pytest.mark.parametrize("sample", SAMPLES)


@every_sample
def test_the_image_is_no_wider_than_the_embedded_checkpoint_reads(sample: str) -> None:
    assert draw(sample).width <= 440


def test_the_document_has_a_title_a_date_a_price_and_at_most_six_lines() -> None:
    text = text_of("document")
    assert text.startswith("Test Document\n")
    assert "March 14, 2025" in text
    assert "Total: $42.50" in text
    assert len(text.splitlines()) <= 6


@every_sample
def test_nothing_is_cut_at_the_edges(sample: str) -> None:
    ink = np.asarray(draw(sample).convert("L")) < 128
    margin = MARGIN - CELL_PADDING if sample == "table" else MARGIN
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert rows[0] >= margin
    assert columns[0] >= margin
    assert rows[-1] < ink.shape[0] - margin
    assert columns[-1] < ink.shape[1] - margin


@pytest.mark.parametrize("sample", ["receipt", "invoice"])
def test_strings_of_a_line_are_clearly_separated(sample: str) -> None:
    """The widest gap in the ink of the first item's line is wide enough to separate two strings."""
    row = next(i for i, row in enumerate(SAMPLES[sample]) if len(row) > 1)
    image = np.asarray(draw(sample).convert("L"))
    line = image[MARGIN + 28 * row : MARGIN + 28 * (row + 1)] < 128
    columns = np.flatnonzero(line.any(axis=0))
    assert np.diff(columns).max() >= 14


@every_sample
def test_the_stored_sample_is_what_the_script_draws(sample: str) -> None:
    stored = DATA / f"test_{sample}.png"
    with Image.open(stored) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(draw(sample)))
    assert stored.with_suffix(".txt").read_text() == text_of(sample)


def test_the_image_is_written_to_the_requested_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sample.png"
    assert main([str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as image:
        assert image.format == "PNG"


def test_an_error_names_the_file_whose_folder_does_not_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "absent" / "sample.png"
    assert main([str(out)]) == 1
    assert f"{out} cannot be written" in capsys.readouterr().err
