"""/layout-parsing and /restructure-pages, in PaddleX's shapes, over a real engine with boxes that are given."""

import base64
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.engine import Engine
from models.detection import Detection
from tests.documents import detections, finds, page
from tests.http.documents import document
from tests.http.served import client_of

LABELS = ["doc_title", "text", "image", "number"]


@pytest.fixture
def parsing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server whose layout network finds the blocks of `LABELS` on every page."""
    return served(engine, monkeypatch, detections(LABELS))


def served(engine: Engine, patch: pytest.MonkeyPatch, found: list[Detection]) -> TestClient:
    finds(patch, found)
    labels = ("text", "image", "number", "doc_title")
    known = SimpleNamespace(model_type="pp_doclayout_v3", labels=labels, orients=False, unwarps=False)
    patch.setattr(Engine, "layout", known, raising=False)
    return client_of(engine)


def encoded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PAGE = encoded(page("One", "Two", "Three", "4"))


def asked(client: TestClient, **fields: Any) -> dict[str, Any]:
    fields = {"file": PAGE, "fileType": 1, "maxNewTokens": 4, "visualize": False} | fields
    response = client.post("/layout-parsing", json=fields)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    assert (body["errorCode"], body["errorMsg"]) == (0, "Success")
    result: dict[str, Any] = body["result"]
    return result


def refused(client: TestClient, path: str = "/layout-parsing", **fields: Any) -> str:
    fields = fields if path != "/layout-parsing" else {"file": PAGE} | fields
    response = client.post(path, json=fields)
    body = response.json()
    assert response.status_code == body["errorCode"] == 422, response.text
    assert set(body) == {"logId", "errorCode", "errorMsg"}
    return str(body["errorMsg"])


def test_blocks_come_in_order_with_their_boxes(parsing: TestClient) -> None:
    (page,) = asked(parsing)["layoutParsingResults"]
    rows = page["prunedResult"]["parsing_res_list"]
    assert [row["block_label"] for row in rows] == LABELS
    assert [row["block_order"] for row in rows] == [1, 2, None, None]
    assert rows[0]["block_bbox"] == [60, 60, 560, 110]
    assert [bool(row["block_content"]) for row in rows] == [True, True, False, True]
    boxes = page["prunedResult"]["layout_det_res"]["boxes"]
    assert [box["cls_id"] for box in boxes] == [3, 0, 1, 2]


def test_markdown_has_titles_texts_and_images_and_leaves_out_page_numbers(parsing: TestClient) -> None:
    (page,) = asked(parsing)["layoutParsingResults"]
    title, text, *_ = (row["block_content"] for row in page["prunedResult"]["parsing_res_list"])
    name = "imgs/img_in_image_box_60_300_560_350.jpg"
    image = f'<div style="text-align: center;"><img src="{name}" alt="Image" width="62%" /></div>\n'
    assert page["markdown"]["text"] == f"# {title}\n\n{text}\n\n{image}"
    assert Image.open(io.BytesIO(base64.b64decode(page["markdown"]["images"][name]))).size == (500, 50)


def test_images_of_a_document_have_names_that_tell_the_page(parsing: TestClient) -> None:
    """Bug of PaddleX: images of several pages have one name and overwrite each other."""
    file = document("PDF", [page("One", "Two", "Three", "4")] * 2)
    pages = asked(parsing, file=file, fileType=0)["layoutParsingResults"]
    names = [name for one in pages for name in one["markdown"]["images"]]
    assert len(set(names)) == len(pages) == 2
    assert "page_2" in names[1]


def test_a_pdf_tells_the_sizes_of_its_pages(parsing: TestClient) -> None:
    info = asked(parsing, file=document("PDF", [page("One", "Two", "Three", "4")] * 2), fileType=0)["dataInfo"]
    assert (info["type"], info["numPages"], len(info["pages"])) == ("pdf", 2, 2)


def test_an_image_tells_its_size(parsing: TestClient) -> None:
    assert asked(parsing)["dataInfo"] == {"type": "image", "width": 800, "height": 1000}


def test_pages_are_drawn_with_their_boxes_by_default(parsing: TestClient) -> None:
    (page,) = asked(parsing, visualize=None)["layoutParsingResults"]
    shown, plain = (
        Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        for data in (page["outputImages"]["layout_det_res"], page["inputImage"])
    )
    assert shown.size == plain.size == (800, 1000)
    assert shown.getpixel((300, 60)) != plain.getpixel((300, 60))


def test_a_page_without_layout_is_read_under_the_prompt_of_its_label(parsing: TestClient) -> None:
    fields = {"useLayoutDetection": False, "promptLabel": "table", "maxPixels": 100_000}
    (page,) = asked(parsing, **fields)["layoutParsingResults"]
    (row,) = page["prunedResult"]["parsing_res_list"]
    assert (row["block_label"], row["block_bbox"]) == ("table", [0, 0, 800, 1000])
    assert "layout_det_res" not in page["prunedResult"]


def test_charts_are_read_where_the_request_wants_them(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    client = served(engine, monkeypatch, detections(["chart"]))
    file = encoded(page("Chart"))
    kept, read = (
        asked(client, file=file, useChartRecognition=wanted)["layoutParsingResults"][0] for wanted in (False, True)
    )
    assert kept["prunedResult"]["parsing_res_list"][0]["block_content"] == ""
    assert read["prunedResult"]["parsing_res_list"][0]["block_content"] != ""


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("layoutThreshold", 2, "layoutThreshold"),
        ("layoutThreshold", {"text": 2}, "layoutThreshold"),
        ("layoutUnclipRatio", 0, "layoutUnclipRatio"),
        ("layoutMergeBboxesMode", "huge", "layoutMergeBboxesMode"),
        ("topP", 0, "topP"),
        ("outputFormats", ["docx"], "'docx' cannot be made here"),
        ("vlmExtraArgs", {"other": 1}, "'other' is not known"),
        ("promptLabel", "ocr", "needs useLayoutDetection: false"),
        ("useDocOrientationClassify", True, "ORIENTATION"),
        ("useDocUnwarping", True, "UNWARPING"),
        ("fileType", 0, "fileType 0 says a PDF; the file is an image"),
        ("file", "%%", "base64"),
        ("maxPixels", 10, "minPixels"),
    ],
)
def test_a_field_that_cannot_be_is_named(parsing: TestClient, field: str, value: Any, said: str) -> None:
    fields = {field: value} | ({"minPixels": 20} if field == "maxPixels" else {})
    assert said in refused(parsing, **fields)


def test_the_log_id_of_a_request_comes_back_with_errors_too(parsing: TestClient) -> None:
    answers = [
        parsing.post("/layout-parsing", json={"file": PAGE, "maxNewTokens": 1, "logId": "mine"}),
        parsing.post("/layout-parsing", json={"file": PAGE, "topP": 0, "logId": "mine"}),
    ]
    assert [answer.json()["logId"] for answer in answers] == ["mine", "mine"]


def test_null_means_the_default(parsing: TestClient) -> None:
    fields = ("layoutNms", "mergeLayoutBlocks", "useChartRecognition", "vlmExtraArgs", "mergeTables", "layoutShapeMode")
    assert asked(parsing, **dict.fromkeys(fields)) == asked(parsing)


# --- /restructure-pages -----------------------------------------------------------------------------------------------

TABLES = [
    "<table><tr><td>Name</td><td>Price</td></tr><tr><td>Tea</td><td>1</td></tr></table>",
    "<table><tr><td>Name</td><td>Price</td></tr><tr><td>Milk</td><td>2</td></tr></table>",
]


def sent(*rows: tuple[str, str]) -> dict[str, Any]:
    """A page as /layout-parsing answers it, of blocks with label and content."""
    blocks = [
        {"block_label": label, "block_content": content, "block_bbox": [0, 40 * i, 400, 40 * i + 30]}
        for i, (label, content) in enumerate(rows)
    ]
    settings = {"use_layout_detection": True, "use_doc_preprocessor": False, "markdown_ignore_labels": ["number"]}
    return {
        "prunedResult": {"width": 800, "height": 1000, "model_settings": settings, "parsing_res_list": blocks},
        "markdownImages": None,
    }


def restructured(client: TestClient, *pages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    response = client.post("/restructure-pages", json={"pages": list(pages)} | fields)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["result"]["layoutParsingResults"]
    return results


def test_a_table_over_two_pages_is_joined(parsing: TestClient) -> None:
    pages = [sent(("table", TABLES[0]), ("number", "1")), sent(("table", TABLES[1]), ("text", "After"))]
    first, second = restructured(parsing, *pages, prettifyMarkdown=False)
    assert "Tea" in first["markdown"]["text"]
    assert "Milk" in first["markdown"]["text"]
    assert second["markdown"]["text"].strip() == "After"


def test_pages_can_be_put_together(parsing: TestClient) -> None:
    pages = [sent(("doc_title", "Title"), ("number", "1")), sent(("text", "After"))]
    (one,) = restructured(parsing, *pages, concatenatePages=True)
    assert one["markdown"]["text"] == "# Title\n\nAfter"
    assert one["prunedResult"]["page_count"] == 2


def test_headings_are_levelled_over_the_document(parsing: TestClient) -> None:
    (one,) = restructured(parsing, sent(("paragraph_title", "1 Aims"), ("paragraph_title", "1.1 Means")))
    assert one["markdown"]["text"] == "## 1 Aims\n\n### 1.1 Means"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ({"prunedResult": {}}, "pages.0.prunedResult"),
        ({"prunedResult": {"width": 800, "parsing_res_list": [{}]}}, "pages.0.prunedResult.parsing_res_list.0"),
        ({}, "pages.0.prunedResult is missing"),
    ],
)
def test_a_page_that_is_none_is_named(parsing: TestClient, page: dict[str, Any], said: str) -> None:
    assert said in refused(parsing, "/restructure-pages", pages=[page])


def damaged(**fields: Any) -> dict[str, Any]:
    """A page whose block, or whose result where a field is the result's, has other fields."""
    page = sent(("paragraph_title", "1 Aims"))
    result = page["prunedResult"]
    for name, value in fields.items():
        (result["parsing_res_list"][0] if name.startswith("block_") else result)[name] = value
    return page


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("block_bbox", [0, 0, float("inf"), 1], "block_bbox of four numbers"),
        ("block_bbox", [0, 0, 10**400, 1], "block_bbox of four numbers"),
        ("block_bbox", "0123", "block_bbox of four numbers"),
        ("block_content", None, "block_content as text"),
        ("block_extra", None, ""),
        ("width", True, "parsing_res_list and width"),
        ("width", 10**400, "parsing_res_list and width"),
        ("model_settings", [], "model_settings must be an object"),
        ("model_settings", {"markdown_ignore_labels": None}, "markdown_ignore_labels"),
        ("other", float("nan"), "NaN"),
        ("other", "\ud800", "surrogate"),
    ],
)
def test_a_damaged_page_is_refused(parsing: TestClient, field: str, value: Any, said: str) -> None:
    """Bug: these were answered with 500."""
    body = json.dumps({"pages": [damaged(**{field: value})]})
    response = parsing.post("/restructure-pages", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, said in response.json()["errorMsg"]) == (422 if said else 200, True), response.text


@pytest.mark.parametrize("depth", [300, 900, 5000, 200_000])
@pytest.mark.parametrize("path", ["/layout-parsing", "/restructure-pages"])
def test_a_body_that_is_nested_too_deeply_gets_an_answer_in_the_same_shape(
    parsing: TestClient, path: str, depth: int
) -> None:
    """Bug: 500, or an error in OpenAI's shape."""
    page = json.dumps({"pages": [damaged(other="HERE")]}).replace('"HERE"', "[" * depth + "]" * depth)
    response = parsing.post(path, content=page, headers={"content-type": "application/json"})
    assert response.status_code in (200, 413, 422)
    assert "errorCode" in response.json()


@pytest.mark.parametrize("threshold", [{"1": 0.95}, {"image": 0.95}])
def test_a_label_is_named_by_itself_or_by_its_number(parsing: TestClient, threshold: dict[str, float]) -> None:
    (page,) = asked(parsing, layoutThreshold=threshold)["layoutParsingResults"]
    labels = [box["label"] for box in page["prunedResult"]["layout_det_res"]["boxes"]]
    assert labels == ["doc_title", "text", "number"]


def test_ink_that_no_box_covers_is_read_at_its_place(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: what the network missed was lost without a word."""
    found = [one for one in detections(LABELS) if one.label != "text"]
    (page,) = asked(served(engine, monkeypatch, found))["layoutParsingResults"]
    rows = page["prunedResult"]["parsing_res_list"]
    assert [rows[place]["block_label"] for place in (0, 2, 3)] == ["doc_title", "image", "number"]
    left, top, right, bottom = rows[1]["block_bbox"]
    assert 60 <= left < right <= 560
    assert 180 <= top < bottom <= 230


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("layoutThreshold", {"texts": 0.5}, "'texts' is no label of the layout model; it has text, image"),
        ("layoutThreshold", {"4": 0.5}, "'4' is no label"),
        ("layoutUnclipRatio", {"9" * 5000: [1, 2]}, "is no label"),
        ("layoutMergeBboxesMode", {"0": "large", "text": "small"}, "has 'text' twice"),
    ],
)
def test_labels_that_the_network_does_not_have_are_refused(
    parsing: TestClient, field: str, value: Any, said: str
) -> None:
    assert said in refused(parsing, **{field: value})


def test_an_image_that_comes_back_keeps_its_name(parsing: TestClient) -> None:
    name = "imgs/page_2_img_in_image_box_0_0_400_30.jpg"
    page = sent(("image", "")) | {"markdownImages": {"imgs/other.jpg": "", name: "abc"}}
    (one,) = restructured(parsing, page)
    assert f'src="{name}"' in one["markdown"]["text"]
