#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Makes the images of the README from real runs: docs/images/page.png of the page in Chromium, and
docs/images/command.svg of the command, animated.

It needs a running server: scripts/serve & scripts/readme_images.py. VLLM_URL names one elsewhere.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

from scripts.recording import Recording

ROOT = Path(__file__).resolve().parent.parent
DATA, IMAGES = ROOT / "tests" / "data", ROOT / "docs" / "images"
URL = os.environ.get("VLLM_URL", "http://127.0.0.1:8001").rstrip("/")
SECONDS = 120
COLOURS = 128  # enough for a page of text
SIZE = ViewportSize(width=1280, height=860)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="?", choices=["page", "command"], help="one of them; by default both")
    only = parser.parse_args().only
    if only != "command":
        page(IMAGES / "page.png")
    if only != "page":
        (IMAGES / "command.svg").write_text(command())


def page(target: Path) -> None:
    """The page with the sample page, one of its blocks lit."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        opened = browser.new_page(locale="en-GB", viewport=SIZE)
        opened.goto(URL)
        opened.set_input_files("#files", DATA / "test_page.png")
        opened.wait_for_selector("#state:text-is('done')", timeout=SECONDS * 1000)
        opened.hover("[data-block='1:4'] rect")
        opened.screenshot(path=target)
        browser.close()
    Image.open(target).quantize(COLOURS).save(target, optimize=True)


def command() -> str:
    """A folder is read, stopped, and read on; then doctor."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        fill(Path("scans"))
        program = [sys.executable, "-m", "cli.main"]
        os.environ |= {"PYTHONPATH": str(ROOT), "VLLM_URL": URL}
        reading = ["ocr", "scans", "-r", "-o", "texts", "-j", "2"]
        line = "paddleocr-vl " + " ".join(reading)
        recording = Recording()
        recording.run(line, [*program, *reading], stop=lambda: len(list(Path("texts").rglob("*.md"))) >= 4)
        recording.run(line, [*program, *reading])
        recording.run("paddleocr-vl doctor", [*program, "doctor"])
        return recording.svg()


def fill(folder: Path) -> None:
    """Documents of several kinds, one of them broken."""
    receipts = folder / "receipts"
    receipts.mkdir(parents=True)
    for name in ("page", "table", "document", "form"):
        shutil.copy(DATA / f"test_{name}.png", folder / f"{name}.png")
    pages = [Image.open(DATA / f"test_{name}.png").convert("RGB") for name in ("document", "invoice", "receipt")]
    pages[0].save(folder / "letters.pdf", save_all=True, append_images=pages[1:])
    for number, kind in enumerate(("jpg", "tiff", "webp", "png"), start=1):
        pages[number % 2 + 1].save(receipts / f"2026-{number:02}.{kind}")
    (folder / "torn.pdf").write_bytes(b"%PDF-1.7\nnothing follows")


if __name__ == "__main__":
    main()
