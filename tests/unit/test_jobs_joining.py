"""Pages that were read one by one are joined as those of one document."""

import base64
import io
import json
from typing import Any

from PIL import Image

from jobs.formats import FORMATS
from jobs.job import JobOptions
from jobs.joining import joined
from jobs.store import Store
from tests.jobs import job

WIDE = [100, 0, 900, 100]


def block(order: int, label: str, text: str, **raw: Any) -> dict[str, Any]:
    top = 200 * order
    return {
        **{"order": order, "label": label, "box": [WIDE[0], top, WIDE[2], top + WIDE[3]], "parts": None},
        **{"confidence": 0.9, "cut": None, "error": None},
        "raw": {"text": text, "read": True, "image": None, "figures": {}} | raw,
    }


def page(number: int, *blocks: dict[str, Any]) -> dict[str, Any]:
    facts = {"page": number, "width": 1000, "height": 1400, "angle": 0, "error": None, "layout": True}
    return facts | {"confidence": 0.9, "fields": None, "checks": None, "blocks": list(blocks)}


def extracted(number: int, content: str) -> dict[str, Any]:
    return page(number) | {"blocks": None, "content": content, "fields": [{"path": "total"}]}


def test_a_sentence_that_goes_on_over_the_page_is_one_paragraph() -> None:
    long = "This is a sentence that fills its line and then some more of the column until it reaches the"
    pages = [page(1, block(1, "text", long)), page(2, block(1, "text", "next page. It ends here."))]
    document = joined(pages, JobOptions())
    assert document.markdown == f"{long} next page. It ends here."
    assert [one["page"] for one in document.blocks] == [1, 2]


def test_a_table_that_goes_on_over_the_page_is_one_table() -> None:
    head = "<fcel>Tree<fcel>Boxes<nl>"
    pages = [
        page(1, block(1, "table", f"{head}<fcel>Apple<fcel>41<nl>")),
        page(2, block(1, "table", f"{head}<fcel>Pear<fcel>26<nl>")),
    ]
    document = joined(pages, JobOptions())
    assert document.markdown == "| Tree | Boxes |\n| --- | --- |\n| Apple | 41 |\n| Pear | 26 |"
    first, second = (one["text"] for one in document.blocks)
    assert first == second == [0, len(document.markdown)]


def test_pages_that_do_not_follow_each_other_are_not_joined() -> None:
    long = "This is a sentence that fills its line and then some more of the column until it reaches the"
    pages = [page(1, block(1, "text", long)), page(3, block(1, "text", "Another one. It ends here."))]
    assert joined(pages, JobOptions(pages="1,3")).markdown == f"{long}\n\n---\n\nAnother one. It ends here."


def test_levels_of_headings_are_those_of_the_whole_document() -> None:
    pages = [
        page(1, block(1, "paragraph_title", "1 First"), block(2, "paragraph_title", "1.1 Part")),
        page(2, block(1, "paragraph_title", "1.2 Part"), block(2, "paragraph_title", "2 Second")),
    ]
    lines = [line for line in joined(pages, JobOptions()).markdown.splitlines() if line.startswith("#")]
    levels = {line.lstrip("# "): line.index(" ") for line in lines}
    assert levels["1 First"] == levels["2 Second"] == levels["1.1 Part"] - 1 == levels["1.2 Part"] - 1


def test_figures_are_kept_by_the_names_that_the_markdown_has() -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(data, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    pages = [page(number, block(1, "image", "", read=False, image=uri)) for number in (1, 2)]
    document = joined(pages, JobOptions(images="link"))
    assert list(document.images) == ["page-1-figure-1.png", "page-2-figure-1.png"]
    assert all(f"]({name})" in document.markdown for name in document.images)
    assert Image.open(io.BytesIO(document.images["page-2-figure-1.png"])).size == (8, 6)


def test_what_is_extracted_from_several_pages_is_a_list() -> None:
    document = joined([extracted(1, '{"total": 1}'), extracted(2, '{"total": 2}')], JobOptions(mode="receipt"))
    assert json.loads(document.markdown) == [{"total": 1}, {"total": 2}]
    assert [one["content"] for one in document.pages] == ['{"total": 1}', '{"total": 2}']


def test_answers_that_are_texts_have_a_rule_between_them() -> None:
    document = joined([extracted(1, "$$a$$"), extracted(2, "$$b$$")], JobOptions(mode="formula"))
    assert document.markdown == "$$a$$\n\n---\n\n$$b$$"


def test_the_json_of_a_result_has_its_pages_and_blocks() -> None:
    one = job()
    document = joined([page(1, block(1, "text", "Hello."))], JobOptions())
    result = json.loads(FORMATS["json"].make(one, document, Store("memory://formats")))
    assert result["markdown"] == "Hello."
    assert result["pages"] == [
        {"page": 1, "width": 1000, "height": 1400, "angle": 0, "error": None, "layout": True, "confidence": 0.9}
    ]
    (shown,) = result["blocks"]
    assert (shown["page"], shown["content"], shown["text"], "raw" in shown) == (1, "Hello.", [0, 6], False)
