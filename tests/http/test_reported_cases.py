"""Requests and images on which servers went wrong, by people's reports, read by the embedded checkpoint."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from models.checkpoint import EMBEDDED
from tests.engines import running_engine
from tests.http.served import client_of
from tests.payloads import image_part, user
from tests.unit.test_hard_transcripts import agrees

FOLDER = Path(__file__).parents[1] / "data" / "cases"
CASES = {case["name"]: case for case in map(json.loads, (FOLDER / "cases.jsonl").read_text().splitlines())}
REQUESTS = [name for name, case in CASES.items() if "request" in case]
IMAGES = [name for name, case in CASES.items() if "image" in case]


@pytest.fixture(scope="module")
def reader() -> Iterator[TestClient]:
    with running_engine(EMBEDDED, max_model_len=4096, segments=True) as engine, client_of(engine) as client:
        yield client


def choice_of(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_of_a_report_is_answered(reader: TestClient, name: str) -> None:
    content = choice_of(reader, json.loads((FOLDER / CASES[name]["request"]).read_text()))["message"]["content"]
    expected = CASES[name]["expected"]
    assert content == expected.get("text", content)
    assert "object" not in expected or json.loads(content) == expected["object"]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_of_a_report_is_read_right(reader: TestClient, name: str) -> None:
    case = CASES[name]
    part = image_part(Image.open(FOLDER / case["image"]))
    choice = choice_of(reader, {"messages": user(part), "mode": case["schema"]})
    assert agrees(case["expected"], json.loads(choice["message"]["content"])), choice


@pytest.mark.parametrize(
    ("mode", "angle"),
    [("receipt", 0), ("receipt", 90), ("receipt", 180), ("markdown", 0), ("markdown", 180), ("document", 270)],
)
def test_an_image_on_its_side_or_head_is_said_to_be(reader: TestClient, mode: str, angle: int) -> None:
    image = Image.open(FOLDER.parent / "test_receipt.png").convert("RGB").rotate(angle, expand=True)
    warnings = choice_of(reader, {"messages": user(image_part(image)), "mode": mode})["ocr"]["warnings"]
    assert [warning for warning in warnings if "on its side or head" in warning] == warnings
    assert bool(warnings) == (angle != 0)
