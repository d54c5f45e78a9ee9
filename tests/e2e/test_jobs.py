"""Documents as jobs with the real server and its embedded checkpoint: what comes out is what the server itself says."""

import base64
import io
import json
import re
import zipfile
from pathlib import Path

import pypdf
from PIL import Image

from tests.e2e.servers import Server
from tests.ocr_service import Service

DATA = Path(__file__).resolve().parents[1] / "data"


def test_pages_read_one_by_one_make_the_document_that_the_server_makes_of_the_whole(
    server: Server, api: Service
) -> None:
    document = two_pages()
    job = api.submit(document, formats="markdown,json,text")
    assert api.wait(job)["status"] == "done"
    markdown = api.result(job).decode()
    assert markdown == whole_answer(server, document)
    assert "\n\n---\n\n" in markdown
    result = json.loads(api.result(job, "json"))
    titles = [block for block in result["blocks"] if block["label"] == "doc_title"]
    assert [block["page"] for block in titles] == [1, 2]
    start, end = titles[1]["text"]
    assert markdown[start:end].lstrip("# ") == titles[1]["content"] == "A Year in the Old Orchard"
    assert "Apple\tred\t41" in api.result(job, "text").decode()


def test_a_receipt_becomes_its_json(api: Service) -> None:
    job = api.submit((DATA / "test_receipt.png").read_bytes(), mode="receipt")
    assert api.wait(job)["status"] == "done"
    assert json.loads(api.result(job))["total"] == 13.75


def test_a_page_can_be_had_alone(api: Service) -> None:
    job = api.submit(two_pages(), pages="2")
    assert api.wait(job)["pages"] == {"total": 1, "done": 1}
    page = api.get(f"/v1/jobs/{job}/pages/2").json()
    assert page["markdown"] == api.result(job).decode()
    assert api.get(f"/v1/jobs/{job}/pages/1").status_code == 404


def test_a_pdf_becomes_a_searchable_one_and_a_zip_with_its_figures(api: Service) -> None:
    job = api.submit(two_pages(), formats="pdf,zip")
    assert api.wait(job)["status"] == "done"
    pages = pypdf.PdfReader(io.BytesIO(api.result(job, "pdf"))).pages
    assert len(pages) == 2
    with zipfile.ZipFile(io.BytesIO(api.result(job, "zip"))) as archive:
        markdown = archive.read("document.md").decode()
        assert set(archive.namelist()) == {"document.md", *re.findall(r"[\w-]+\.png", markdown)}
    for page in pages:
        text = " ".join(page.extract_text().split())
        assert "A Year in the Old Orchard" in text
        assert "Apple red 41" in text
    assert "A Year in the Old Orchard" in markdown


def two_pages() -> bytes:
    """A PDF of the sample page, twice."""
    page = Image.open(DATA / "test_page.png").convert("RGB")
    data = io.BytesIO()
    page.save(data, "PDF", save_all=True, append_images=[page])
    return data.getvalue()


def whole_answer(server: Server, document: bytes) -> str:
    uri = f"data:application/pdf;base64,{base64.b64encode(document).decode()}"
    part = {"type": "file", "file": {"filename": "two.pdf", "file_data": uri}}
    answer = server.client().chat.completions.create(
        model="PaddlePaddle/PaddleOCR-VL",
        messages=[{"role": "user", "content": [part]}],  # type: ignore[list-item,misc]
        extra_body={"mode": "document"},
    )
    return str(answer.choices[0].message.content)
