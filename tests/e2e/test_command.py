"""The command, with a real server and a real OCR API: folders with broken files in them, schemas, jobs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from tests.e2e.servers import HANG_SECONDS, ROOT, Server, wait_until
from tests.ocr_service import Service
from tests.printed import Sheet

BROKEN = {
    "broken/half.png": "the image is damaged",
    "broken/notes.pdf": "neither an image nor a PDF",
    "torn.pdf": "opened",
}


def sheet(text: str) -> Image.Image:
    made = Sheet(360, 120)
    made.line(20, 40, text, size=22)
    return made.image


def mixed_folder(folder: Path) -> set[str]:
    """Files that can be read, by their places, beside those of `BROKEN`."""
    for below in ("a", "a/b", "broken"):
        (folder / below).mkdir(parents=True)
    pillow_heif.register_heif_opener()
    formats = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF", "heic": "HEIF"}
    places = set()
    for number, (suffix, format_) in enumerate(2 * [*formats.items()]):
        place = f"{('', 'a/', 'a/b/')[number % 3]}image-{number}"
        sheet(f"Image number {number}.").save(folder / f"{place}.{suffix}", format_)
        places.add(place)
    first, *rest = [sheet(f"Page {page}.") for page in (1, 2, 3)]
    first.save(folder / "a" / "pages.pdf", save_all=True, append_images=rest, resolution=100)
    whole = (folder / "image-0.png").read_bytes()
    (folder / "broken/half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "broken/notes.pdf").write_text("no PDF")
    (folder / "torn.pdf").write_bytes(b"%PDF-1.7\nnothing follows")
    return places | {"a/pages"}


def command(*arguments: str | Path, **environment: str) -> "subprocess.Popen[str]":
    """A process that heeds SIGINT, even where tests run in the background of a shell, which lets them ignore it."""
    line = [sys.executable, "-m", "cli.main", *map(str, arguments)]
    return subprocess.Popen(
        line,
        cwd=ROOT,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    """Exit code, output, and what was said beside it."""
    process = command(*arguments, **environment)
    printed, said = process.communicate(timeout=HANG_SECONDS)
    return process.returncode, printed, said


def asked(*arguments: str | Path) -> tuple[int, str, str]:
    """The same of the command in this process, which has its libraries."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_folder_that_is_stopped_and_started_again_is_read_once_and_its_failures_are_told(
    server: Server, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    places = mixed_folder(source)
    arguments = ("ocr", source, "-r", "-o", out, "-j", "2", "--mode", "document")

    first = command(*arguments, VLLM_URL=server.url)
    wait_until(lambda: first.poll() is not None or len(list(out.rglob("*.md"))) >= 2)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=HANG_SECONDS)
    assert first.returncode == 130, said
    assert "The same command goes on from here." in said
    before = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert not [name for name in before if name.endswith(".part")]
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*.md")}
    assert 2 <= len(times) < len(places)

    code, _, said = ended(*arguments, VLLM_URL=server.url)
    assert code == 1, said
    assert f"{len(places) - len(times)} documents read" in said
    assert f"{len(times)} done before, {len(BROKEN)} failed" in said
    for name, why in BROKEN.items():
        assert why in next(line for line in said.splitlines() if name in line)
    assert {str(file.relative_to(out).with_suffix("")) for file in out.rglob("*.md")} == places
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())
    text = (out / "a/pages.md").read_text()
    assert [number for number in (1, 2, 3) if f"Page {number}" in text] == [1, 2, 3]


def test_without_a_server_it_says_what_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet("Hello").save(tmp_path / "a.png")
    nowhere = "http://127.0.0.1:9"
    for name in ("VLLM_URL", "OCR_API_URL"):
        monkeypatch.setenv(name, nowhere)
    code, _, said = asked("ocr", tmp_path / "a.png", "-o", tmp_path)
    assert (code, f"No server answers at {nowhere}. Start one with scripts/serve" in said) == (1, True)
    code, _, said = asked("jobs", "submit", tmp_path / "a.png")
    assert (code, f"No OCR API answers at {nowhere}. Start one with scripts/ocr_api" in said) == (1, True)


def test_a_schema_is_filled_from_a_document_into_a_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_URL", server.url)
    receipt = ROOT / "tests" / "data" / "test_receipt.png"
    assert asked("extract", receipt, "--schema", "receipt", "-o", tmp_path)[0] == 0
    found = json.loads((tmp_path / "test_receipt.json").read_text())
    assert (found["object"]["merchant"], found["object"]["total"]) == ("Corner Bakery", 13.75)
    assert next(field["status"] for field in found["fields"] if field["path"] == "total") == "ok"
    assert all(check["holds"] for check in found["checks"])


def test_documents_are_left_as_jobs_and_fetched(api: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_API_URL", f"http://127.0.0.1:{api.port}")
    sheet("Hello from a job.").save(tmp_path / "good.png")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing follows")
    code, printed, said = ended("jobs", "submit", tmp_path, "-f", "text", "-f", "pdf", "--wait")
    assert (code, "1 done, 0 failed" in said, "broken.pdf: this PDF cannot be opened" in said) == (1, True, True)
    ((job, name),) = [line.split() for line in printed.splitlines()]
    assert Path(name).name == "good.png"
    _, printed, _ = asked("jobs", "list", "--status", "done", "-n", "1")
    assert printed.split()[:3] + printed.split()[5:] == [job, "done", "1/1", "good.png"]
    assert asked("jobs", "get", job)[:2] == (0, "Hello from a job.\n")
    assert asked("jobs", "get", job, "-f", "pdf", "-o", tmp_path)[0] == 0
    assert (tmp_path / "good.pdf").read_bytes().startswith(b"%PDF-")
    code, _, said = asked("jobs", "retry", job)
    assert (code, "409: the job is done" in said) == (1, True)
    code, _, said = asked("jobs", "show", "job_0")
    assert (code, "404: There is no job job_0" in said) == (1, True)
