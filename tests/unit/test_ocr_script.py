"""What the command line client sends for a file."""

import base64
from pathlib import Path

import pytest
from PIL import Image

from scripts.ocr import UnreadableFileError, part_of


def test_a_pdf_is_sent_as_a_file_with_its_name(tmp_path: Path) -> None:
    """Bug: PDFs were refused although the server reads them."""
    file = tmp_path / "scan.pdf"
    Image.new("RGB", (20, 20)).save(file)
    part = part_of(file)
    assert (part["type"], part["file"]["filename"]) == ("file", "scan.pdf")
    header, data = part["file"]["file_data"].split(",")
    assert (header, base64.b64decode(data)) == ("data:application/pdf;base64", file.read_bytes())


def test_an_image_is_sent_under_its_own_type_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "scan.jpg"
    Image.new("RGB", (20, 20)).save(file, "PNG")
    assert part_of(file)["image_url"]["url"].startswith("data:image/png;base64,")


def test_any_other_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("notes")
    with pytest.raises(UnreadableFileError, match="neither an image nor a PDF"):
        part_of(file)
