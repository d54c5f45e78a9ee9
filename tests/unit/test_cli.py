"""What the command sends for a file, and where its results go."""

import io
from pathlib import Path, PurePosixPath

import pillow_heif
import pypdfium2
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.documents import opened, pages_in
from cli.errors import UnreadableFileError, UsageError
from cli.formats import Result, Written
from cli.main import app
from cli.output import Outputs, places
from cli.server import part_of
from cli.sources import Source, sources
from cli.wishes import Answer
from images import heic

TABLE = "# A *title*\n\n| Tree | Fruit |\n| --- | --- |\n| Pear | green |\n\n<script>alert(1)</script>"


def saved(format_: str, pages: int = 1) -> bytes:
    buffer = io.BytesIO()
    first, *rest = [Image.new("RGB", (20 + page, 20), "white") for page in range(pages)]
    first.save(buffer, format_, save_all=True, append_images=rest) if pages > 1 else first.save(buffer, format_)
    return buffer.getvalue()


def test_a_pdf_is_sent_as_a_file_with_its_name() -> None:
    """Bug: PDFs were refused although the server reads them."""
    part = part_of(opened("scan.pdf", saved("PDF")))
    assert (part["type"], part["file"]["filename"]) == ("file", "scan.pdf")
    assert part["file"]["file_data"].startswith("data:application/pdf;base64,")


def test_an_image_is_sent_under_its_own_type_whatever_its_name() -> None:
    assert part_of(opened("scan.jpg", saved("PNG")))["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_photograph_in_heic_is_sent_as_png_or_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 32), "red")).save(buffer)
    assert opened("IMG_1.HEIC", buffer.getvalue()).mime == "image/png"
    monkeypatch.setattr(heic, "can_read", lambda: False)  # as without the extra
    document = opened("IMG_1.HEIC", buffer.getvalue())
    assert (document.mime, document.data) == ("image/heic", buffer.getvalue())
    with pytest.raises(UnreadableFileError, match="page 2 does not exist"):
        opened("IMG_1.HEIC", buffer.getvalue(), [2])


@pytest.mark.parametrize("format_", ["PDF", "TIFF"])
def test_only_the_pages_that_are_asked_for_are_sent(format_: str) -> None:
    document = opened("scan", saved(format_, pages=5), pages_in("2-3,5"))
    assert document.pages == 3
    assert opened("again", document.data).pages == 3
    with pytest.raises(UnreadableFileError, match="page 6 does not exist: there are 5"):
        opened("scan", saved(format_, pages=5), [6])


@pytest.mark.parametrize("text", ["0", "3-1", "a", "1,,2", ""])
def test_pages_that_are_none_are_named(text: str) -> None:
    with pytest.raises(UsageError, match="such as 1-3,7"):
        pages_in(text)


@pytest.mark.parametrize("data", [b"notes", b"", b"%PDF-1.7 broken", saved("PNG")[:40]])
def test_any_other_file_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFileError):
        opened("notes.txt", data)


def test_a_tree_keeps_its_form_and_no_result_replaces_another(tmp_path: Path) -> None:
    for name in ("a/scan.pdf", "a/scan.PNG", "b.tiff", ".hidden/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = sources([str(tmp_path)], recursive=True)
    assert [str(place) for place in places(found)] == ["a/scan.PNG", "a/scan.pdf", "b"]
    twice = [Source(name, PurePosixPath("scan.pdf")) for name in ("one", "two")]
    assert [str(place) for place in places(twice)] == ["scan.pdf", "scan.pdf-2"]


def test_a_document_is_done_only_with_the_same_content_wishes_and_file(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, (".md",), "wishes")
    place, digest = PurePosixPath("a/scan"), outputs.digest(b"data")
    outputs.write(place, digest, {".md": b"text"})
    with (tmp_path / ".paddleocr-vl.jsonl").open("a") as done:
        done.write('{"place": "half')  # a process that was killed
    again = Outputs(tmp_path, (".md",), "wishes")
    assert again.is_done(place, again.digest(b"data"))
    assert not again.is_done(place, again.digest(b"other"))
    assert not again.is_done(place, Outputs(tmp_path, (".md",), "others").digest(b"data"))
    (tmp_path / "a/scan.md").unlink()
    assert not again.is_done(place, digest)


def test_formats_show_tables_and_run_no_script() -> None:
    result = Result(opened("a.png", saved("PNG")), Answer(content=TABLE))
    assert Written("txt", "none").text(result) == "A title\n\nTree\tFruit\nPear\tgreen\n\nalert(1)\n"
    page = Written("html", "none").files(result, "a")[".html"].decode()
    assert "<td>Pear</td>" in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(("typed", "offered"), [
    ("", {"ocr", "extract", "jobs", "doctor", "serve", "import"}),
    ("jobs ", {"submit", "list", "show", "get", "cancel", "retry"}),
    ("jobs get --format ", {"markdown", "json", "text", "zip", "pdf"}),
])  # fmt: skip
def test_a_shell_completes_commands_and_values(typed: str, offered: set[str]) -> None:
    words = f"paddleocr-vl {typed}"
    asked = {"_PADDLEOCR_VL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = CliRunner().invoke(app, prog_name="paddleocr-vl", env=asked)
    assert set(done.output.split()) == offered


def test_a_searchable_pdf_has_the_words_at_their_place() -> None:
    block = {"page": 1, "label": "text", "box": [20, 10, 120, 30], "parts": None, "text": [0, 10], "raw": {"text": ""}}
    answer = Answer(
        content="# 你好 there",
        ocr={
            "pages": [{"page": 1, "width": 200, "height": 100}],
            "blocks": [block],
        },
    )
    made = Written("pdf", "none").files(Result(opened("a.png", saved("PNG")), answer), "a")[".pdf"]
    with pypdfium2.PdfDocument(made) as pdf:
        page = pdf[0]
        text = page.get_textpage()
        width, height = page.get_size()
        assert text.get_text_range().split() == ["你好", "there"]
        left, bottom, _, _ = text.get_charbox(0)
        assert left / width == pytest.approx(0.1, abs=0.02)
        assert 0.6 < bottom / height < 0.9
