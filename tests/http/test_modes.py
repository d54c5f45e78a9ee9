"""Modes end to end in this process: the model's text and the content made of it, whole and streamed."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.testclient import TestClient

from modes.form import Form
from tests.checkpoints import write_script
from tests.engines import running_engine
from tests.http.asking import chunks, post, text
from tests.http.served import client_of
from tests.payloads import image_part, user
from tests.prompts import noise_image

IMAGE = image_part(noise_image(200, 100))


def asking(words: str, *images: dict[str, Any]) -> list[dict[str, Any]]:
    return user({"type": "text", "text": words}, *images)


class Writes(Protocol):
    def __call__(self, *pieces: str) -> TestClient: ...


@pytest.fixture
def writes(tmp_path: Path) -> Iterator[Writes]:
    """A server whose model writes these pieces."""
    with ExitStack() as stack:

        def start(*pieces: str) -> TestClient:
            folder = write_script(tmp_path / str(len(list(tmp_path.iterdir()))), *pieces)
            engine = stack.enter_context(running_engine(folder, max_model_len=1024))
            return stack.enter_context(client_of(engine))

        yield start


def ask(client: TestClient, words: str, **fields: Any) -> dict[str, Any]:
    return post(client, **({"messages": asking(words, IMAGE), "max_tokens": 200} | fields))


def streamed(client: TestClient, words: str, **fields: Any) -> list[str]:
    """The pieces of text of a stream."""
    found = chunks(client, **({"messages": asking(words, IMAGE), "max_tokens": 200} | fields))
    return [delta for chunk in found if (delta := chunk["choices"][0]["delta"].get("content"))]


def report(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["choices"][0]["ocr"]
    return found


# --- text -----------------------------------------------------------------------------------------------------------

MARKDOWN = ("Let \\", "( x ", "\\) be", " 1.\n", "<fc", "el>a|b", "<fcel> ", "c<nl>")
IN_MARKDOWN = "Let $x$ be 1.\n\n| a\\|b | c |\n| --- | --- |"


def test_other_words_get_markdown_with_dollars_and_pipe_tables(writes: Writes) -> None:
    client = writes(*MARKDOWN)
    assert text(ask(client, "read this")) == "".join(streamed(client, "read this")) == IN_MARKDOWN


@pytest.mark.parametrize("fields", [{"words": "OCR:"}, {"words": "any words at all", "mode": "raw"}])
def test_an_official_prompt_and_raw_mode_get_what_the_model_wrote(writes: Writes, fields: dict[str, Any]) -> None:
    client = writes(*MARKDOWN)
    assert text(ask(client, **fields)) == "".join(streamed(client, **fields)) == "".join(MARKDOWN)


def test_a_repeated_tail_is_cut_and_a_stream_says_how_much_to_keep(writes: Writes) -> None:
    client = writes("Let ", "\\( x \\) ", "be ", "\\( x \\) ")
    looped = {"repetition_detection": {"min_count": 3}}
    whole = text(ask(client, "read", **looped))
    assert whole == "Let $x$ be "
    found = chunks(client, messages=asking("read", IMAGE), max_tokens=200, **looped)
    sent = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found)
    assert sent[: found[-1]["choices"][0]["ocr"]["keep_chars"]] == whole != sent


# --- tables, formulas, charts, places --------------------------------------------------------------------------------

TABLE = ("<fcel>Na", "me", "<fcel> Pri", "ce<n", "l>", "<fcel>Tea", "<fcel>2", "<nl>\n")


def test_a_table_is_a_pipe_table_whose_rows_stream_as_they_are_complete(writes: Writes) -> None:
    client = writes(*TABLE)
    expected = "| Name | Price |\n| --- | --- |\n| Tea | 2 |"
    assert text(ask(client, "the table, please")) == expected
    pieces = streamed(client, "the table, please")
    assert "".join(pieces) == expected
    assert len(pieces) == 2


@pytest.mark.parametrize(
    ("table_format", "begins"), [("auto", "<table>"), ("html", "<table>"), ("markdown", "| Name |"), ("otsl", "<fcel>")]
)
def test_the_format_of_a_table_can_be_chosen(writes: Writes, table_format: str, begins: str) -> None:
    client = writes("<fcel>Name", "<lcel><nl>", "<fcel>a", "<fcel>b", "<nl>\n")
    assert text(ask(client, "the table", table_format=table_format)).startswith(begins)
    assert text(ask(client, "Table Recognition:", table_format=table_format)).startswith(begins)


def test_a_formula_is_put_between_dollars(writes: Writes) -> None:
    client = writes("\\[", "E=", "mc^2", "\\]")
    assert text(ask(client, "the formula")) == "".join(streamed(client, "the formula")) == "$$E=mc^2$$"


def test_a_chart_becomes_a_table(writes: Writes) -> None:
    client = writes("Year", " | ", "Sales\n", "2024", " |", " 7")
    expected = "| Year | Sales |\n| --- | --- |\n| 2024 | 7 |"
    assert text(ask(client, "the chart")) == "".join(streamed(client, "the chart")) == expected


def test_spotting_gives_lines_with_their_corners_in_pixels_of_the_image(writes: Writes) -> None:
    client = writes("Total", *(f"<|LOC_{place}|>" for place in (100, 200, 900, 201, 901, 500, 101, 501)), "\n")
    expected = [{"text": "Total", "points": [[20, 20], [180, 20], [180, 50], [20, 50]]}]
    assert json.loads(text(ask(client, "x", mode="spotting"))) == expected
    assert json.loads("".join(streamed(client, "x", mode="spotting"))) == expected


# --- extraction -----------------------------------------------------------------------------------------------------

RECEIPT = (
    "Corner Cafe",
    "\nDate: 2026-03-04",
    "\n2 Tea",
    " 5.00",
    "\nCake 3.50",
    "\nSubtotal 8.50",
    "\nTax 0.85",
    "\nTOTAL $9.35",
)
OF_RECEIPT = {
    "merchant": "Corner Cafe",
    "date": "2026-03-04",
    "currency": "$",
    "subtotal": 8.5,
    "tax": 0.85,
    "total": 9.35,
    "items": [{"name": "Tea", "qty": 2, "price": 5.0}, {"name": "Cake", "qty": None, "price": 3.5}],
}  # fmt: skip


def test_a_receipt_becomes_one_object_whole_and_streamed(writes: Writes) -> None:
    client = writes(*RECEIPT)
    assert json.loads(text(ask(client, "Extract receipt information as JSON"))) == OF_RECEIPT
    assert json.loads("".join(streamed(client, "Extract receipt information as JSON"))) == OF_RECEIPT


def test_an_object_is_streamed_value_by_value(writes: Writes) -> None:
    pieces = streamed(writes(*RECEIPT), "receipt")
    assert pieces[0] == '{"merchant": "Corner Cafe"'
    assert len(pieces) > len(OF_RECEIPT)


def test_what_the_page_decides_is_streamed_before_the_model_is_asked(writes: Writes) -> None:
    pieces = streamed(writes("Shop", "\nTotal 1.00", "\nTotal 2.00", "\nTea 1.00"), "receipt")
    assert json.loads("".join(pieces))["total"] in (1, 2)
    assert '"total": ' not in "".join(pieces[:2])


def test_each_value_has_its_source_and_confidence(writes: Writes) -> None:
    found = {field["path"]: field for field in report(ask(writes(*RECEIPT), "receipt"))["fields"]}
    assert (found["total"]["value"], found["total"]["line"]) == (9.35, "TOTAL $9.35")
    assert 0 < found["total"]["confidence"] <= 1
    nothing: dict[str, Any] = {
        "value": None,
        "normalized": None,
        "status": "ok",
        "candidates": [],
        "confidence": None,
        "line": None,
    }
    assert found["items[1].qty"] == {"path": "items[1].qty"} | nothing


def test_sums_are_checked_and_not_corrected(writes: Writes) -> None:
    checks = report(ask(writes(*RECEIPT[:-1], "\nTOTAL $9.53"), "receipt"))["checks"]
    assert checks == [
        {"rule": "items = subtotal", "left": 8.5, "right": 8.5, "holds": True},
        {"rule": "subtotal + tax = total", "left": 9.35, "right": 9.53, "holds": False},
    ]


def test_an_invoice_and_a_form_have_schemas_of_their_own(writes: Writes) -> None:
    client = writes("Name: Ann", "\nEmail:", "\nInvoice No. 17")
    assert json.loads(text(ask(client, "form")))["fields"][:2] == [
        {"label": "Name", "value": "Ann"},
        {"label": "Email", "value": None},
    ]
    assert json.loads(text(ask(client, "invoice")))["invoice_number"] == "17"


def test_among_several_candidates_the_model_chooses_one_that_is_on_the_page(writes: Writes) -> None:
    body = ask(writes("Shop", "\nTotal 1.00", "\nTotal 2.00"), "receipt")
    chosen = json.loads(text(body))["total"]
    assert chosen in (1, 2)
    (total,) = [field for field in report(body)["fields"] if field["path"] == "total"]
    assert total["line"] == f"Total {chosen:.2f}"
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] > 0  # the page was not read a second time


def test_a_choice_that_was_cut_off_leaves_the_likeliest_as_a_guess(tmp_path: Path) -> None:
    """Its half JSON ended the stream without an error."""
    folder = write_script(tmp_path / "m", "Shop", "\nTotal 1.00", "\nTotal 2.00", "\n2026-03-04", "\n2026-03-05")
    with running_engine(folder, max_model_len=112) as engine, client_of(engine) as client:
        body = ask(client, "receipt")
        (total,) = [field for field in report(body)["fields"] if field["path"] == "total"]
        assert (total["value"], total["confidence"]) == (2, 0)
        assert json.loads("".join(streamed(client, "receipt")))["total"] == 2


def test_an_unexpected_failure_ends_a_stream_with_an_error(writes: Writes, monkeypatch: pytest.MonkeyPatch) -> None:
    client = writes("Shop")
    monkeypatch.setattr(Form, "content", lambda _: 1 / 0)
    found = chunks(client, messages=asking("receipt", IMAGE), max_tokens=200)
    assert found[-1]["error"]["type"] == "server_error"


def schema(**properties: Any) -> dict[str, Any]:
    own = {"type": "object", "properties": properties}
    return {"type": "json_schema", "json_schema": {"name": "own", "schema": own}}


def test_a_schema_of_the_request_overrides_the_modes_own(writes: Writes) -> None:
    asked = schema(total={"type": "number"}, vat_amount={"type": "number"}, shop_name={"type": ["string", "null"]})
    found = json.loads(text(ask(writes(*RECEIPT), "receipt", response_format=asked)))
    assert (found["total"], found["vat_amount"]) == (9.35, 0.85)
    assert found["shop_name"] is None or found["shop_name"] in "".join(RECEIPT)


def test_a_system_message_may_name_its_own_shape(writes: Writes) -> None:
    system = {"role": "system", "content": 'Answer with {"sum_total": 0, "date": "YYYY-MM-DD", "total": 0}.'}
    messages = [system, *asking("this receipt", IMAGE)]
    found = json.loads(text(post(writes(*RECEIPT), messages=messages, max_tokens=200)))
    assert list(found) == ["sum_total", "date", "total"]
    assert (found["date"], found["total"]) == ("2026-03-04", 9.35)


def test_any_schema_is_grounded_on_demand(writes: Writes) -> None:
    asked = schema(who={"type": "string"}, lines={"type": "array", "items": {"type": "string"}, "maxItems": 2})
    found = json.loads(text(ask(writes(*RECEIPT), "read", response_format=asked, grounded=True)))
    page = "".join(RECEIPT)
    assert all(value is None or value in page for value in [found["who"], *found["lines"]])


def test_without_grounding_the_model_writes_the_modes_object_itself(writes: Writes) -> None:
    body = ask(writes(*RECEIPT), "receipt", grounded=False, max_tokens=300)
    assert report(body)["fields"] is None
    assert body["choices"][0]["message"]["content"].startswith('{"merchant":')


def test_other_structures_are_not_filled_from_the_page(writes: Writes) -> None:
    client = writes(*RECEIPT)
    assert text(ask(client, "a receipt or an invoice?", guided_choice=["receipt", "invoice"])) in ("receipt", "invoice")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mode": "letter"}, "mode"),
    ({"mode": "table", "messages": [{"role": "user", "content": "no image"}]}, "mode"),
    ({"table_format": "html"}, "table_format"),
    ({"grounded": True}, "grounded"),
    ({"grounded": True, "mode": "table", "response_format": schema(a={"type": "string"})}, "grounded"),
    ({"mode": "receipt", "guided_regex": "a+"}, "guided_regex"),
    ({"mode": "receipt", "response_format": schema(a={"type": "string", "not": {}})}, "response_format"),
    ({"mode": "receipt", "guided_json": "{"}, "guided_json"),
    ({"mode": "receipt", "guided_json": "[" * 100_000}, "guided_json"),
    ({"table_format": "html", "mode": "table", "guided_regex": "a+"}, "table_format"),
    ({"mode": "spotting", "messages": asking("x", IMAGE, IMAGE)}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_conflicting_fields_are_refused_by_name(client: TestClient, fields: dict[str, Any], param: str) -> None:
    answer = client.post("/v1/chat/completions", json={"messages": asking("read", IMAGE)} | fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
