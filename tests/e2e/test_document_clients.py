"""Clients that send whole documents, against a real server with its embedded checkpoint and a real page."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from rapidfuzz.fuzz import partial_ratio

from scripts.sample_page import CAPTION, COLUMNS, TABLE, TITLE
from tests.e2e.servers import HANG_SECONDS, ROOT, Server
from tests.e2e.test_foreign_clients import PROGRAMS, run

PAGE = ROOT / "tests" / "data" / "test_page.png"
TEXTS = [TITLE, *(text for column in COLUMNS for _, text in column if text), CAPTION]
NEARLY = 75  # least share of a text that is right, in per cent: the embedded checkpoint is small


def assert_read(markdown: str) -> None:
    """Every text of the page is there."""
    flat = " ".join(re.sub(r"<[^>]*>|[|]", " ", markdown).split())
    for text in [*TEXTS, *(" ".join(row) for row in TABLE)]:
        assert partial_ratio(text, flat) >= NEARLY, (text, markdown)


@pytest.fixture(scope="module")
def by_mistral(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What mistralai and LiteLLM got for the page."""
    folder = tmp_path_factory.mktemp("mistral")
    program = PROGRAMS / "read_document_with_mistral.py"
    answers: dict[str, Any] = json.loads(run(folder, "python", program, PAGE, f"{server.url}/v1"))
    return answers


def test_mistrals_client_reads_the_page(by_mistral: dict[str, Any]) -> None:
    (page,) = by_mistral["mistral"]["pages"]
    tables = "\n".join(table["content"] for table in page["tables"])
    assert_read(f"{page['markdown']}\n{tables}")
    assert page["dimensions"]["width"] == 1000
    assert page["confidence_scores"]["word_confidence_scores"]
    assert set(json.loads(by_mistral["mistral"]["document_annotation"])) == {"date"}


def test_mistrals_client_reads_an_image(by_mistral: dict[str, Any]) -> None:
    assert_read(by_mistral["image"]["pages"][0]["markdown"])


def test_litellms_ocr_reads_the_page(by_mistral: dict[str, Any]) -> None:
    assert_read(by_mistral["litellm"]["pages"][0]["markdown"])


def layout_parsed(server: Server, headers: dict[str, str], **fields: Any) -> list[dict[str, Any]]:
    file = base64.b64encode(PAGE.read_bytes()).decode()
    response = httpx.post(
        f"{server.url}/layout-parsing", json={"file": file} | fields, headers=headers, timeout=HANG_SECONDS
    )
    response.raise_for_status()
    pages: list[dict[str, Any]] = response.json()["result"]["layoutParsingResults"]
    return pages


def test_the_example_client_of_paddlexs_documentation_reads_the_page(server: Server, tmp_path: Path) -> None:
    (page,) = layout_parsed(server, {}, fileType=1)
    assert_read(page["markdown"]["text"])
    assert page["prunedResult"]["parsing_res_list"]
    for name, image in [*page["markdown"]["images"].items(), *page["outputImages"].items()]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(image))


def test_what_open_webuis_loader_sends_is_read(server: Server) -> None:
    """Source: open_webui 0.12.4, retrieval/loaders/paddleocr_vl.py."""
    fields = {"useDocOrientationClassify": False, "useDocUnwarping": False, "useChartRecognition": False}
    (page,) = layout_parsed(server, {"Authorization": "token none"}, fileType=1, **fields)
    assert_read(page["markdown"]["text"])


def test_what_ragflows_parser_sends_is_read(server: Server) -> None:
    """Source: ragflow, deepdoc/parser/paddleocr_parser.py; it asks first whether anything answers."""
    assert httpx.get(f"{server.url}/layout-parsing", timeout=HANG_SECONDS).status_code == 405
    unset = (
        *("useLayoutDetection", "useChartRecognition", "useSealRecognition", "useOcrForImageBlock", "layoutThreshold"),
        *("layoutNms", "layoutUnclipRatio", "layoutMergeBboxesMode", "layoutShapeMode", "promptLabel", "temperature"),
        *("repetitionPenalty", "topP", "minPixels", "maxPixels", "maxNewTokens", "markdownIgnoreLabels"),
        *("vlmExtraArgs", "mergeTables", "relevelTitles"),
    )
    fields = {"formatBlockContent": True, "mergeLayoutBlocks": False, "showFormulaNumber": True, "visualize": False}
    headers = {"Client-Platform": "ragflow"}
    (page,) = layout_parsed(server, headers, fileType=1, **dict.fromkeys(unset), **fields)
    rows = page["prunedResult"]["parsing_res_list"]
    assert_read("\n".join(row["block_content"] for row in rows))
    assert all(len(row["block_bbox"]) == 4 for row in rows)
