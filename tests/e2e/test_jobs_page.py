"""The page of the OCR API in a real Chromium: documents that are dropped become jobs, are watched, read and saved."""

import re
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.main import Parts, ocr_app
from jobs.settings import load_job_settings
from tests.e2e.browser import MILLISECONDS, chromium, drop, opened, wire_bytes
from tests.e2e.servers import ROOT
from tests.http.sockets import listening
from tests.keys import ALICE
from tests.ocr_service import Service
from tests.printed import Sheet

PAGE = ROOT / "tests" / "data" / "test_page.png"
MAX_BYTES = 500_000  # over the wire


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def address(api: Service) -> str:
    return f"http://127.0.0.1:{api.port}/"


def row_of(page: Page, name: str) -> Locator:
    return page.locator("#rows tr").filter(has_text=name)


def has(page: Page, name: str, status: str) -> Locator:
    """The row of a document, once it has this status."""
    row = row_of(page, name)
    expect(row.locator("td").first).to_contain_text(status, timeout=MILLISECONDS)
    return row


def test_a_document_that_is_dropped_is_read_looked_at_and_saved(api: Service, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "two pages.pdf"
    sheets = [Sheet(640, 400), Sheet(640, 400)]
    sheets[0].pen.rectangle((60, 160, 420, 360), outline=0, width=2)
    sheets[0].pen.ellipse((100, 200, 200, 300), outline=0, width=3)
    for number, sheet in enumerate(sheets, 1):
        sheet.line(40, 60, f"This is page {number}.", size=22)
    sheets[0].image.save(file, save_all=True, append_images=[sheets[1].image], resolution=100)
    with opened(browser, address(api)) as page:
        for wanted in ("searchable PDF", "ZIP"):
            page.get_by_role("checkbox", name=wanted).check()
        drop(page, file, "application/pdf")
        row = has(page, "two pages.pdf", "done")
        expect(row).to_contain_text("2 of 2")
        with page.expect_download() as saved:
            row.get_by_role("button", name="Download PDF").click()
        assert saved.value.suggested_filename == "two pages.pdf"
        assert "This is page 2." in pypdf.PdfReader(saved.value.path()).pages[1].extract_text()
        row.get_by_role("button", name="two pages.pdf").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#view")).to_contain_text("This is page 1.")
        expect(page.locator("#view img")).to_have_js_property("complete", True)
        assert page.locator("#view img").evaluate("image => image.naturalWidth") > 100
        page.keyboard.press("Escape")
        page.select_option("#language", "zh")
        expect(row.locator("td").first).to_have_text("完成")


def test_a_job_is_cancelled_and_tried_again_and_a_failure_says_why(
    api: Service, browser: Browser, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.pdf"
    torn.write_bytes(b"%PDF-1.7\nnothing follows")
    with opened(browser, address(api)) as page:
        drop(page, PAGE, "image/png")
        row_of(page, PAGE.name).get_by_role("button", name="Cancel").click()
        has(page, PAGE.name, "cancelled").get_by_role("button", name="Try again").click()
        row_of(page, PAGE.name).get_by_role("button", name="Cancel").click()
        has(page, PAGE.name, "cancelled")
        drop(page, torn, "application/pdf")
        expect(has(page, "torn.pdf", "failed").locator(".why")).to_have_text(re.compile("PDF"))
        page.select_option("#status", "failed")
        expect(row_of(page, PAGE.name)).to_have_count(0)
        expect(row_of(page, "torn.pdf")).to_have_count(1)


def test_the_page_asks_for_a_key_and_is_small(browser: Browser, tmp_path: Path) -> None:
    parts = Parts(load_job_settings({"JOBS_FOLDER": str(tmp_path), "API_KEYS": f"alice:{ALICE}"}))
    with listening(ocr_app(parts, None)) as url:
        assert wire_bytes(browser, url) < MAX_BYTES
        with opened(browser, url, faults=["401"]) as page:
            page.fill("#key", ALICE)
            page.click("#key-save")
            expect(page.locator("#none")).to_have_text("There are no jobs.")
            expect(page.locator("#server")).to_have_text("0 waiting, 0 being read")
    parts.close()
