"""PDF and TIFF: each page is a prompt of its own, and the answer joins them."""

import base64
import io
import threading
from pathlib import Path

import pytest
from PIL import Image
from PIL.TiffImagePlugin import STRIPOFFSETS, TiffImageFile
from starlette.testclient import TestClient

from engine.engine import Engine
from tests.engines import running_engine
from tests.http.asking import chunks, post, refused, text
from tests.http.documents import PAGES, document, file_part
from tests.http.served import LIMITS, client_of
from tests.payloads import chat, image_part, user

SEPARATOR = "\n\n---\n\n"
SMALL = {"max_pixels": 28 * 28 * 16}


def test_every_page_is_read_and_the_answer_joins_them(client: TestClient) -> None:
    body = post(client, messages=user(file_part(document("TIFF"))), max_tokens=8)
    alone = [post(client, messages=user(image_part(page)), max_tokens=8) for page in PAGES]
    assert text(body) == SEPARATOR.join(map(text, alone))
    for count in ("prompt_tokens", "completion_tokens"):
        assert body["usage"][count] == sum(one["usage"][count] for one in alone)


def test_a_pdf_is_streamed_page_by_page(client: TestClient) -> None:
    asked = {"messages": user(file_part(document("PDF"))), "mm_processor_kwargs": SMALL, "max_tokens": 8}
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(client, **asked)]
    assert pieces.count(SEPARATOR) == len(PAGES) - 1
    assert "".join(pieces) == text(post(client, **asked))


def test_a_document_in_the_place_of_an_image_is_read_as_well(client: TestClient) -> None:
    part = {"type": "image_url", "image_url": {"url": document("TIFF", PAGES[:2])}}
    assert text(post(client, messages=user(part), max_tokens=8)).count(SEPARATOR) == 1


def test_one_page_that_is_cut_makes_the_whole_answer_length(client: TestClient) -> None:
    body = post(client, messages=user(file_part(document("TIFF", PAGES[:2]))), max_tokens=2)
    assert body["choices"][0]["finish_reason"] == "length"


def test_a_loop_on_one_page_does_not_cost_the_others(client: TestClient) -> None:
    token = client.post("/tokenize", json={"prompt": "x"}).json()["tokens"][-1]
    messages = user(file_part(document("TIFF", PAGES[:2])))
    body = post(client, messages=messages, logit_bias={str(token): 100}, max_tokens=100)
    assert text(body) == f"x{SEPARATOR}x"
    assert body["choices"][0]["stop_reason"] == "repetition"


def test_more_pages_than_the_limit_are_refused(client: TestClient) -> None:
    many = document("TIFF", PAGES + PAGES[:1])
    assert refused(client, messages=user(file_part(many))) == "messages.0.content.0.file.file_data"


def test_a_file_by_its_id_is_refused(client: TestClient) -> None:
    file = {"file_id": "file-1", "file_data": "data:,"}
    assert refused(client, messages=user({"type": "file", "file": file})) == "messages.0.content.0.file.file_id"


def test_several_pages_have_no_structure(client: TestClient) -> None:
    asked = {"response_format": {"type": "json_object"}}
    assert refused(client, messages=user(file_part(document("TIFF"))), **asked) == "response_format"


@pytest.mark.parametrize("stream", [False, True])
def test_a_page_that_turns_out_damaged_is_named(client: TestClient, stream: bool) -> None:
    """Its data is cut off after the first page; only decoding shows it."""
    buffer = io.BytesIO()
    noise = [Image.effect_noise((56, 56), 90).convert("RGB") for _ in range(2)]
    noise[0].save(buffer, "TIFF", save_all=True, append_images=noise[1:])
    data = buffer.getvalue()
    with TiffImageFile(io.BytesIO(data)) as image:
        image.seek(1)
        place = image.tag_v2[STRIPOFFSETS][0]
    broken = data[:place] + data[place + 5000 :]
    part = file_part(f"data:image/tiff;base64,{base64.b64encode(broken).decode()}")
    answer = client.post("/v1/chat/completions", json={"messages": user(part), "max_tokens": 3, "stream": stream})
    assert "damaged" in answer.text or "not an image" in answer.text
    assert answer.status_code == 400 or stream


def test_a_document_goes_on_where_the_queue_is_full(engine: Engine) -> None:
    """Its later pages wait for a place instead of failing the answer."""
    client = client_of(engine, LIMITS)
    whole = text(post(client, messages=user(file_part(document("TIFF"))), max_tokens=8, n=3))
    assert whole.count(SEPARATOR) == len(PAGES) - 1


def test_a_document_under_way_is_read_to_its_end_while_the_server_drains(checkpoint: Path) -> None:
    """Its later pages came to an engine that accepted nothing any more."""
    with running_engine(checkpoint) as engine, client_of(engine) as client:
        assert engine.core is not None
        first, draining = engine.core.step, threading.Event()

        def step() -> None:
            if engine.stats().running and not draining.is_set():
                draining.set()
                engine.loop.state = "draining"
            first()

        engine.core.step = step  # type: ignore[method-assign]
        body = post(client, messages=user(file_part(document("TIFF"))), max_tokens=4)
        assert draining.is_set()
        assert text(body).count(SEPARATOR) == len(PAGES) - 1
        assert client.post("/v1/chat/completions", json=chat()).status_code == 503
