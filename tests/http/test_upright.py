"""Images of any mode that are turned upright before they are read, as an orientation network says."""

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.engine import Engine
from tests.checkpoints import write_script
from tests.engines import running_engine
from tests.http.asking import choice, chunks, refused
from tests.http.documents import document, file_part
from tests.http.served import client_of
from tests.layouts import say, write_orientation_checkpoint
from tests.payloads import image_part, user
from tests.prompts import noise_image

IMAGE = noise_image(84, 56)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose network says of every image that it is to be turned by 90 degrees."""
    folder = tmp_path_factory.mktemp("upright")
    network = write_orientation_checkpoint(folder / "orientation")
    script = write_script(folder / "model", "Total", " 5.00")
    with running_engine(script, orientation=network, segments=True) as engine:
        say(engine, 90)
        yield engine


@pytest.fixture
def client(reader: Engine) -> Iterator[TestClient]:
    with client_of(reader) as client:
        yield client


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Image.Image]:
    """The images that prompts are made of."""
    images: list[Image.Image] = []
    submit = Engine.submit_all

    async def spied(self: Engine, messages: Any, own: Any, *others: Any) -> Any:
        images.extend(own)
        return await submit(self, messages, own, *others)

    monkeypatch.setattr(Engine, "submit_all", spied)
    return images


def asked(words: str, **fields: Any) -> dict[str, Any]:
    return {"messages": user({"type": "text", "text": words}, image_part(IMAGE)), "max_tokens": 20} | fields


@pytest.mark.parametrize("words", ["read", "OCR:", "the receipt", "the table", "spotting"])
def test_an_image_of_any_mode_is_read_upright(client: TestClient, seen: list[Image.Image], words: str) -> None:
    report = choice(client, **asked(words, upright=True))["ocr"]
    assert [(page["width"], page["height"], page["angle"]) for page in report["pages"]] == [(56, 84, 90)]
    assert {image.tobytes() for image in seen} == {IMAGE.transpose(Image.Transpose.ROTATE_90).tobytes()}
    assert chunks(client, **asked(words, upright=True))[-1]["choices"][0]["ocr"]["pages"] == report["pages"]


def test_the_question_about_a_transcript_shows_the_image_upright_too(
    client: TestClient, seen: list[Image.Image]
) -> None:
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "own", "schema": schema}}
    choice(client, **asked("the receipt", upright=True, response_format=wanted))
    assert len(seen) == 2
    assert seen[0].tobytes() == seen[1].tobytes() == IMAGE.transpose(Image.Transpose.ROTATE_90).tobytes()


def test_each_page_of_a_pdf_is_turned(client: TestClient) -> None:
    messages = user({"type": "text", "text": "the receipt"}, file_part(document("PDF")))
    pages = choice(client, messages=messages, max_tokens=20, upright=True)["ocr"]["pages"]
    assert [(page["page"], page["angle"]) for page in pages] == [(1, 90), (2, 90), (3, 90), (4, 90)]


def test_unasked_an_image_stays_as_it_is(client: TestClient, seen: list[Image.Image]) -> None:
    assert choice(client, **asked("the receipt"))["ocr"]["pages"] is None
    assert seen[0].tobytes() == IMAGE.tobytes()


def test_a_document_is_turned_too(client: TestClient) -> None:
    report = choice(client, **asked("read", upright=True, layout=True))["ocr"]
    assert (report["layout"], report["pages"][0]["angle"]) == (True, 90)


@pytest.mark.parametrize("fields", [{"unwarp": True}, {"upright": True, "mode": "raw"}])
def test_what_cannot_be_done_is_refused_by_name(client: TestClient, fields: dict[str, Any]) -> None:
    assert refused(client, **asked("read", **fields)) == next(iter(fields))


def test_without_an_image_there_is_nothing_to_turn(client: TestClient) -> None:
    assert refused(client, messages=user({"type": "text", "text": "Hello"}), upright=True) == "upright"
