"""A real Chromium on the page for people. It must run nothing that its policy forbids, and ask no other server."""

import base64
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MILLISECONDS = 60_000  # for an answer that only a hang delays as long

DROP = """([element, name, type, data]) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    element.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, *, faults: Sequence[str] = ()) -> Iterator[Page]:
    """The page at `url`. What it complains of, besides `faults`, fails the test at the end."""
    complaints: list[str] = []
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if is_foreign(request.url, url) else None)
    page.goto(url)
    yield page
    context.close()
    unexpected = [complaint for complaint in complaints if not any(fault in complaint for fault in faults)]
    assert unexpected == [], unexpected


def wire_bytes(browser: Browser, url: str) -> int:
    """The bytes of the page and its files."""
    page = browser.new_page()
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    page.goto(url, wait_until="networkidle")
    page.close()
    assert len(sizes) > 10
    return sum(sizes)


def is_foreign(address: str, url: str) -> bool:
    return address.startswith("http") and urlsplit(address).netloc != urlsplit(url).netloc


def drop(page: Page, file: Path, mime: str) -> None:
    """Drop a file on the page, as a file manager does."""
    data = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(DROP, [page.query_selector("#drop"), file.name, mime, data])
