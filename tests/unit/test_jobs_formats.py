"""Formats of a result that are archives."""

import io
import re
import zipfile
from pathlib import Path

from jobs.document import Document
from jobs.formats import FORMATS
from jobs.http.requests import SubmitRequest
from jobs.job import Job, JobOptions, Source
from jobs.store import Store

JOB = Job(id="job_1", owner="", client="", source=Source(), options=JobOptions(), created_at=0)
DOCUMENT = Document(
    mode="document",
    markdown="# Title\n\n![](page-1-image-1.png)\n",
    pages=[],
    blocks=[],
    images={"page-1-image-1.png": b"\x89PNG image"},
)


def test_the_zip_holds_the_markdown_and_what_it_links_to(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(FORMATS["zip"].make(JOB, DOCUMENT, Store(str(tmp_path))))) as archive:
        assert archive.testzip() is None
        markdown = archive.read("document.md").decode()
        assert markdown == DOCUMENT.markdown
        assert [archive.read(link) for link in re.findall(r"!\[\]\((.*?)\)", markdown)] == [b"\x89PNG image"]


def test_one_document_gives_one_zip_byte_by_byte(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert FORMATS["zip"].make(JOB, DOCUMENT, store) == FORMATS["zip"].make(JOB, DOCUMENT, store)


def test_a_zip_has_images_unless_the_request_says_otherwise() -> None:
    assert SubmitRequest(formats=["zip"]).options().images == "link"
    assert SubmitRequest(formats=["zip"], images="none").options().images == "none"
    assert SubmitRequest(formats=["markdown"]).options().images == "none"
