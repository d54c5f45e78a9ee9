"""Steps of a stream for those who show how far it is: pages that begin, blocks that are read."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.engine import Engine
from tests.checkpoints import write_script
from tests.documents import detections, finds, page
from tests.engines import running_engine
from tests.http.asking import chunks, refused
from tests.http.documents import document, file_part
from tests.http.served import client_of
from tests.payloads import user

PROGRESS = {"ocr": {"progress": True, "page_images": True}}
SMALL = {"max_pixels": 28 * 28 * 16}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(write_script(tmp_path_factory.mktemp("scripted") / "model", "One", " two.")) as engine:
        yield engine


@pytest.fixture
def client(scripted: Engine) -> Iterator[TestClient]:
    with client_of(scripted) as client:
        yield client


def steps(client: TestClient, **fields: Any) -> list[dict[str, Any]]:
    """The reports of all chunks but the last, which has the answer's."""
    messages = user(file_part(document("PDF", [page("a", "b"), page("c", "d")])))
    choices = [chunk["choices"][0] for chunk in chunks(client, messages=messages, max_tokens=9, **fields)]
    assert choices[-1]["ocr"]["mode"]
    return [choice["ocr"] for choice in choices[:-1] if "ocr" in choice]


def size_of(uri: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))).size


def test_a_document_tells_of_each_page_with_its_image_and_of_each_block(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, detections(["text", "text"]))
    told = steps(client, mode="document", mm_processor_kwargs=SMALL, **PROGRESS)
    begun = [step for step in told if step["page"] is not None]
    assert [step["page"]["page"] for step in begun] == [1, 2]
    for step in begun:
        page, blocks = step["progress"]["page"], len(step["blocks"])
        ours = [one["progress"] for one in told if one["progress"]["page"] == page]
        assert ours == [{"page": page, "pages": 2, "block": read, "blocks": blocks} for read in range(blocks + 1)]
    assert all(size_of(step["page"]["image"])[0] <= step["page"]["width"] for step in begun)


def test_pages_that_are_read_as_one_image_are_told_as_they_begin(client: TestClient) -> None:
    told = steps(client, mode="markdown", layout=False, mm_processor_kwargs=SMALL, ocr={"progress": True})
    assert [(step["progress"]["page"], step["progress"]["blocks"]) for step in told] == [(1, 0), (2, 0)]
    assert [step["page"]["image"] for step in told] == [None, None]


def test_progress_is_for_the_stream_of_one_answer(client: TestClient) -> None:
    assert refused(client, ocr={"progress": True}) == "ocr.progress"
    assert refused(client, stream=True, n=2, ocr={"progress": True}) == "ocr.progress"
    assert refused(client, stream=True, ocr={"page_images": True}) == "ocr.page_images"
