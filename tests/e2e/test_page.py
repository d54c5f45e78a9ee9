"""The page for people in a real Chromium: what is dropped is read, shown beside its page, and saved."""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from api.app import create_app
from api.keys import Keys
from api.serving import Serving
from engine.engine import Engine
from images.loading import ImageLimits
from tests.checkpoints import write_script
from tests.e2e.browser import MILLISECONDS, chromium, drop, opened, wire_bytes
from tests.e2e.sample import IMAGE
from tests.e2e.servers import ROOT, Server, wait_until
from tests.engines import running_engine
from tests.http.sockets import served
from tests.keys import ALICE
from tests.printed import Sheet

PAGE = ROOT / "tests" / "data" / "test_page.png"
BLOCKED = "Executing inline event handler"  # said even of text that is only parsed
MAX_BYTES = 500_000  # over the wire
HOSTILE = (
    "<table><tr><td><img src=x onerror=document.title='gone'><script>document.title='gone'</script></td>",
    "<td><a href=\"javascript:document.title='gone'\">a link</a><iframe src=//example.org></iframe></td></tr></table>",
    "\n\n![far](https://example.org/seen.png)<form action=//example.org><button>Send</button></form>",
    "\n\n$\\href{javascript:alert(1)}{x}$ and $a^2$",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def page_of(engine: Engine, browser: Browser, keys: Keys | None = None, faults: Sequence[str] = ()) -> Iterator[Page]:
    app = create_app(max_request_bytes=2**22, keys=keys, page=True)
    app.state.serving = Serving(engine=engine, model="tests/scripted", limits=ImageLimits())
    with served(engine, app) as url, opened(browser, url, faults=faults) as page:
        yield page


REMEMBER_STATES = """() => {
    window.states = []
    const state = document.querySelector("#state")
    const remember = () => states.push(state.textContent)
    new MutationObserver(remember).observe(state, {childList: true, characterData: true, subtree: true})
}"""  # a look at the page from time to time would miss those that last for an instant


def sheet(*lines: str) -> Image.Image:
    made = Sheet(640, 400)
    for place, line in enumerate(lines):
        made.line(40, 40 + 80 * place, line, size=22)
    return made.image


def ends(page: Page, state: str) -> None:
    expect(page.locator("#state")).to_have_text(state, timeout=MILLISECONDS)


def test_a_pdf_that_is_dropped_is_read_block_by_block_and_saved(
    server: Server, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "two pages.pdf"
    first, second = sheet("The first page", "Apples are red."), sheet("The second page", "Plums are blue.")
    first.save(file, save_all=True, append_images=[second], resolution=100)
    with opened(browser, server.url) as page:
        expect(page.locator("#server")).to_contain_text("cpu", timeout=MILLISECONDS)
        page.evaluate(REMEMBER_STATES)
        drop(page, file, "application/pdf")
        expect(page.locator("#sheet g").first).to_be_visible(timeout=MILLISECONDS)
        ends(page, "done")
        states: list[str] = page.evaluate("states")
        assert any(re.match("page . of 2, block", state) for state in states), states  # streamed, before the end
        view = page.locator("#view")
        expect(view).to_contain_text("Apples are red.")
        expect(view).to_contain_text("Plums are blue.")
        expect(page.locator("#page-number")).to_have_text("Page 2 of 2")

        page.locator("#sheet g").last.hover()
        expect(view.locator(".lit")).to_contain_text("Plums are blue.")
        page.click("#previous")
        page.locator("#sheet g").last.focus()  # the keyboard reaches blocks as well
        expect(view.locator(".lit")).to_contain_text("Apples are red.")

        with page.expect_download() as saved:
            page.click("#save-json")
        facts = json.loads(saved.value.path().read_text())
        assert {block["page"] for block in facts["ocr"]["blocks"]} == {1, 2}
        with page.expect_download() as saved:
            page.click("#save-zip")
        assert saved.value.suggested_filename == "two pages.zip"
        names = set(zipfile.ZipFile(saved.value.path()).namelist())
        assert names == {"two pages.md", "two pages.json", "pages/page-1.jpg", "pages/page-2.jpg"}
        with page.expect_download() as saved:
            page.click("#save-md")
        assert saved.value.path().read_text() == facts["content"] + "\n"


def test_a_start_tells_where_the_page_is_and_what_runs(server: Server) -> None:
    log = server.log.read_text()
    for fact in (
        f"The page is at {server.url}/",
        "MODEL: paddleocr-vl-tiny",
        "LAYOUT: segmentation",
        "ready in",
        ": cpu, ",
        "4 slots of",
    ):
        assert fact in log


def test_hostile_html_in_a_table_neither_runs_nor_asks_another_server(browser: Browser, tmp_path: Path) -> None:
    with (
        running_engine(write_script(tmp_path / "model", *HOSTILE)) as engine,
        page_of(engine, browser, faults=[BLOCKED]) as page,
    ):
        page.select_option("#mode", "markdown")
        drop(page, IMAGE, "image/png")
        ends(page, "done")
        view = page.locator("#view")
        expect(view.locator("td").last).to_have_text("a link")
        assert view.locator("img, script, iframe, form, button, a[href]").count() == 0
        expect(view.locator(".katex")).to_have_count(2)
        assert page.title() == "PaddleOCR-VL"
        page.click("#tab-source")
        expect(view).to_contain_text("onerror=document.title='gone'")


def test_stopping_ends_the_answer_on_the_server_and_keeps_its_text(server: Server, browser: Browser) -> None:
    with opened(browser, server.url) as page:
        drop(page, PAGE, "image/png")
        expect(page.locator("#view")).to_contain_text("Old Orchard", timeout=MILLISECONDS)
        page.click("#stop")
        ends(page, "stopped")
        expect(page.locator("#view")).to_contain_text("Old Orchard")
        wait_until(lambda: httpx.get(f"{server.url}/health").json()["queue"]["running"] == 0)


def test_the_page_asks_for_a_key_and_words_errors_as_the_api_does(
    browser: Browser, engine: Engine, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    keys = Keys(f"alice:{ALICE}")
    with page_of(engine, browser, keys, faults=["401", "400"]) as page:
        page.fill("#key", ALICE)
        page.click("#key-save")
        expect(page.locator("#server")).to_contain_text("tests/scripted")
        drop(page, broken, "image/png")
        ends(page, "failed")
        expect(page.locator("#error")).to_contain_text("not an image in a supported format")
        page.click("#request-open")
        expect(page.locator("#request-curl")).to_contain_text("$API_KEY")
        assert ALICE not in page.content()


def test_the_page_is_small_over_the_wire(browser: Browser, engine: Engine) -> None:
    app = create_app(max_request_bytes=2**22, page=True)
    app.state.serving = Serving(engine=engine, model="tests/scripted", limits=ImageLimits())
    with served(engine, app) as url:
        assert wire_bytes(browser, url) < MAX_BYTES
