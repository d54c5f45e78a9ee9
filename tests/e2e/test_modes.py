"""Each mode through a real server, whole and streamed, on the sample images that the embedded checkpoint reads."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from modes.charts import ChartFinisher
from modes.finisher import Finisher
from modes.markdown import FormulaFinisher, MarkdownFinisher
from modes.spotting import SpottingFinisher
from tests.e2e.servers import HANG_SECONDS, ROOT, Server

DATA = ROOT / "tests" / "data"
MAX_TOKENS = 300

RECEIPT = {
    "merchant": "Corner Bakery",
    "date": "2025-03-14",
    "currency": "$",
    "subtotal": 12.5,
    "tax": 1.25,
    "total": 13.75,
    "items": [{"name": "Walnut bread", "qty": 2, "price": 9.0}, {"name": "Apple cake", "qty": 1, "price": 3.5}],
}
INVOICE = {
    "vendor": "Mill Supply",
    "customer": "Anna Carter",
    "invoice_number": "2041",
    "date": "14/03/2025",
    "due_date": "14/04/2025",
    "currency": "$",
    "subtotal": 96.0,
    "tax": 9.6,
    "total": 105.6,
    "line_items": [{"description": "Oak plank", "quantity": 4, "unit_price": None, "amount": 96.0}],
}
FORM = {
    "fields": [
        {"label": "Name", "value": "Anna Carter"},
        {"label": "City", "value": "Brighton"},
        {"label": "Phone", "value": "555-201-0147"},
        {"label": "Email", "value": None},
    ]
}
TABLE = "| Tree | Height | Count |\n| --- | --- | --- |\n| Oak | 21.5 | 14 |\n| Birch | 17.0 | 8 |"


def body(sample: str, words: str, **fields: Any) -> dict[str, Any]:
    image = base64.b64encode((DATA / f"test_{sample}.png").read_bytes()).decode()
    content = [
        {"type": "text", "text": words},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
    ]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS} | fields


def choice(server: Server, sample: str, words: str, **fields: Any) -> dict[str, Any]:
    answer = requests.post(
        f"{server.url}/v1/chat/completions", json=body(sample, words, **fields), timeout=HANG_SECONDS
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["choices"][0]
    return found


def whole(server: Server, sample: str, words: str, **fields: Any) -> str:
    content: str = choice(server, sample, words, **fields)["message"]["content"]
    return content


def streamed(server: Server, sample: str, words: str, **fields: Any) -> list[str]:
    """The pieces of text of a stream."""
    asked = body(sample, words, stream=True, **fields)
    with requests.post(f"{server.url}/v1/chat/completions", json=asked, stream=True, timeout=HANG_SECONDS) as answer:
        lines = [line for line in answer.iter_lines(decode_unicode=True) if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "") for line in lines]


@pytest.mark.parametrize(
    ("sample", "words", "expected"),
    [
        ("receipt", "Extract receipt information as JSON", RECEIPT),
        ("invoice", "Extract the invoice as JSON", INVOICE),
        ("form", "Which fields does this form have?", FORM),
    ],
)
def test_words_ask_for_an_object_and_get_it(server: Server, sample: str, words: str, expected: dict[str, Any]) -> None:
    answered = choice(server, sample, words)
    assert json.loads(answered["message"]["content"]) == expected
    assert answered["ocr"]["mode"] == sample
    assert json.loads("".join(streamed(server, sample, words))) == expected


def test_a_receipts_values_name_their_lines_and_its_sums_add_up(server: Server) -> None:
    report = choice(server, "receipt", "receipt")["ocr"]
    (total,) = [field for field in report["fields"] if field["path"] == "total"]
    assert (total["value"], total["line"]) == (13.75, "Total $13.75")
    assert total["confidence"] > 0.5
    assert [check["holds"] for check in report["checks"]] == [True, True]


def test_a_callers_own_schema_is_filled_from_the_page(server: Server) -> None:
    own = {"type": "object", "properties": {"total": {"type": "number"}, "bakery": {"type": ["string", "null"]}}}
    asked = {"type": "json_schema", "json_schema": {"name": "own", "schema": own}}
    found = json.loads(whole(server, "receipt", "read this", response_format=asked, grounded=True))
    assert found["total"] == 13.75
    assert found["bakery"] is None or found["bakery"] in (DATA / "test_receipt.txt").read_text()


def test_a_table_comes_as_markdown_row_by_row(server: Server) -> None:
    assert whole(server, "table", "the table as markdown") == TABLE
    pieces = [piece for piece in streamed(server, "table", "the table as markdown") if piece]
    assert "".join(pieces) == TABLE
    assert len(pieces) == 3  # the first row with the rule under it


def test_a_tables_official_prompt_gets_otsl(server: Server) -> None:
    raw = whole(server, "table", "Table Recognition:")
    assert raw.startswith("<fcel>Tree<fcel>Height<fcel>Count<nl>")


def test_other_words_get_markdown(server: Server) -> None:
    text = (DATA / "test_receipt.txt").read_text()
    assert whole(server, "receipt", "read this") == "".join(streamed(server, "receipt", "read this")) == text


@pytest.mark.parametrize(
    ("mode", "official", "finisher"),
    [
        ("formula", "Formula Recognition:", FormulaFinisher),
        ("chart", "Chart Recognition:", ChartFinisher),
        ("seal", "Seal Recognition:", MarkdownFinisher),
        ("spotting", "Spotting:", lambda: SpottingFinisher(261, 172)),
    ],
)
def test_modes_that_the_embedded_checkpoint_never_learned_finish_any_output(
    server: Server, mode: str, official: str, finisher: Callable[[], Finisher]
) -> None:
    raw = whole(server, "document", official, skip_special_tokens=False)
    own = finisher()
    expected = own.push(raw) + own.end()
    assert whole(server, "document", "", mode=mode) == expected
    assert "".join(streamed(server, "document", "", mode=mode)) == expected


def test_raw_mode_sends_the_users_words_unchanged(server: Server) -> None:
    assert whole(server, "document", "OCR:", mode="raw") == (DATA / "test_document.txt").read_text()


def test_the_log_has_the_mode_of_a_request_and_the_memory_plan(server: Server) -> None:
    """Bug: log records of the project's own packages were lost."""
    choice(server, "table", "the table")
    log = server.log.read_text()
    assert " mode=table " in log
    assert "Memory: weights" in log
