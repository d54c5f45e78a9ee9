"""The main job: real clients, a real server, a real image, the embedded checkpoint."""

import asyncio
import base64
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
import requests
from openai.types.chat import ChatCompletionChunk
from PIL import Image
from pydantic import BaseModel

from tests.e2e.sample import IMAGE, IMAGE_PART, MODEL, TEXT, assert_nearly_read, messages
from tests.e2e.servers import HANG_SECONDS, ROOT, Server


def stream(server: Server, **options: Any) -> list[ChatCompletionChunk]:
    return list(server.client().chat.completions.create(model=MODEL, messages=messages(), stream=True, **options))


def test_the_setup_guides_client_prints_the_words_in_the_image(server: Server) -> None:
    image_b64 = base64.b64encode(IMAGE.read_bytes()).decode()
    response = requests.post(
        f"{server.url}/v1/chat/completions",
        json={
            "model": "PaddlePaddle/PaddleOCR-VL",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Extract all text from this image as markdown"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image_b64}"}},
                    ],
                }
            ],
            "max_tokens": 2048,
        },
        timeout=HANG_SECONDS,
    )
    assert response.json()["choices"][0]["message"]["content"] == TEXT


def test_openais_client_reads_the_image(server: Server) -> None:
    completion = server.client().chat.completions.create(model=MODEL, messages=messages())
    text = completion.choices[0].message.content
    assert text == TEXT
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == "paddleocr-vl-tiny"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == len(text) + 1  # one a character, and the end


def test_openais_client_streams_the_text(server: Server) -> None:
    chunks = stream(server, stream_options={"include_usage": True})
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == TEXT
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


def test_paddleocrs_client_gets_the_raw_text_of_an_official_prompt(server: Server) -> None:
    """The request is that of paddleocr 3.7 with vl_rec_backend="vllm-server"."""
    body = {
        "model": "PaddleOCR-VL-1.6-0.9B",
        "messages": [{"role": "user", "content": [IMAGE_PART, {"type": "text", "text": "OCR:"}]}],
        "max_completion_tokens": 4096,
        "temperature": 0,
        "skip_special_tokens": True,
        "mm_processor_kwargs": {"min_pixels": 112896, "max_pixels": 1003520},
    }
    headers = {"authorization": "Bearer null"}
    answer = requests.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=HANG_SECONDS).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["content"].count("\n") == TEXT.count("\n")
    assert answer["usage"]["prompt_tokens"] > 112896 // 28**2


def test_openais_async_client_reads_and_streams(server: Server) -> None:
    async def read() -> tuple[str | None, str]:
        options: dict[str, Any] = {"model": MODEL, "messages": messages()}
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="null", timeout=HANG_SECONDS, _strict_response_validation=True
        ) as client:
            whole = await client.chat.completions.create(**options)
            chunks = [chunk async for chunk in await client.chat.completions.create(stream=True, **options)]
        return whole.choices[0].message.content, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    whole, streamed = asyncio.run(read())
    assert whole == TEXT
    assert streamed == whole


def test_openais_client_parses_several_answers_with_logprobs(server: Server) -> None:
    completion = server.client().chat.completions.create(
        model=MODEL, messages=messages(), n=2, logprobs=True, top_logprobs=2, temperature=0.1, seed=1
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    for choice in completion.choices:
        assert choice.logprobs is not None
        entries = choice.logprobs.content or []
        assert "".join(entry.token for entry in entries) == choice.message.content
        assert all(len(entry.top_logprobs) == 2 for entry in entries)


def test_openais_client_gets_the_schema_it_asks_for(server: Server) -> None:
    class Receipt(BaseModel):
        currency: Literal["USD", "EUR"]
        paid: bool

    completion = server.client().chat.completions.parse(model=MODEL, messages=messages(), response_format=Receipt)
    assert isinstance(completion.choices[0].message.parsed, Receipt)


def test_a_doubtful_line_can_be_told_from_a_sure_one(server: Server) -> None:
    completion = server.client().chat.completions.create(
        model=MODEL, messages=messages(), extra_body={"ocr": {"words": True}}
    )
    report = (completion.choices[0].model_extra or {})["ocr"]
    assert report["mode"] == "ocr"
    assert 0.5 < report["confidence"] <= 1
    assert "\n".join(line["text"] for line in report["lines"]) == completion.choices[0].message.content


def test_openais_client_reads_a_pdf_page_by_page(server: Server) -> None:
    """Pages are drawn large; the embedded checkpoint reads small ones."""
    buffer = io.BytesIO()
    with Image.open(IMAGE) as image:
        page = image.convert("RGB")
    page.save(buffer, "PDF", save_all=True, append_images=[page.copy()])
    data = f"data:application/pdf;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    part: Any = {"type": "file", "file": {"filename": "scan.pdf", "file_data": data}}
    completion = server.client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": [part]}],
        extra_body={"mm_processor_kwargs": {"max_pixels": 112896}, "layout": False},
    )
    first, second = (completion.choices[0].message.content or "").split("\n\n---\n\n")
    assert first == second
    assert_nearly_read(first)


@pytest.fixture(scope="module")
def file_server() -> Iterator[int]:
    """The port of an ordinary web server with the image."""
    handler = partial(QuietHandler, directory=str(IMAGE.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as images:
        threading.Thread(target=images.serve_forever).start()
        yield images.server_port
        images.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def read_address(server: Server, url: str) -> str | None:
    part: Any = {"type": "image_url", "image_url": {"url": url}}
    completion = server.client().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [part]}])
    return completion.choices[0].message.content


def test_an_image_on_a_host_that_the_operator_allows_is_fetched(server: Server, file_server: int) -> None:
    assert read_address(server, f"http://localhost:{file_server}/{IMAGE.name}") == TEXT


def test_an_image_on_a_private_address_is_not(server: Server, file_server: int) -> None:
    with pytest.raises(openai.BadRequestError, match="not a public address"):
        read_address(server, f"http://127.0.0.1:{file_server}/{IMAGE.name}")


def test_every_answer_has_a_request_id(server: Server) -> None:
    completion = server.client().chat.completions.create(
        model=MODEL, messages=messages(), max_tokens=1, extra_headers={"x-request-id": "mine"}
    )
    assert completion._request_id == "mine"


def test_text_alone_is_answered(server: Server) -> None:
    completion = server.client().chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "test"}], max_tokens=5
    )
    assert completion.usage is not None
    assert completion.usage.completion_tokens <= 5


def test_more_requests_than_slots_are_all_read(server: Server) -> None:
    def read(_: int) -> str | None:
        completion = server.client().chat.completions.create(model=MODEL, messages=messages())
        return completion.choices[0].message.content

    with ThreadPoolExecutor(12) as pool:
        texts = set(pool.map(read, range(12)))
    assert len(texts) == 1, "neighbours in the batch changed an answer"
    assert texts.pop() == TEXT


def test_models_are_listed_and_retrieved(server: Server) -> None:
    client = server.client()
    assert [model.id for model in client.models.list()] == ["paddleocr-vl-tiny", "our-ocr"]
    assert client.models.retrieve("paddleocr-vl-tiny").owned_by == "paddleocr"


def test_errors_have_openais_classes(server: Server) -> None:
    client = server.client()
    with pytest.raises(openai.NotFoundError, match="paddleocr-vl-tiny"):
        client.chat.completions.create(model="gpt-4", messages=messages())
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=messages(), temperature=3)
    assert refused.value.param == "temperature"


def test_health_names_the_embedded_checkpoint(server: Server) -> None:
    body = requests.get(f"{server.url}/health", timeout=HANG_SECONDS).json()
    assert (body["status"], body["model_loaded"], body["model"]) == ("healthy", True, "paddleocr-vl-tiny")


def test_the_command_line_client_prints_and_writes_the_text(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "scripts/ocr.py", str(IMAGE)]
    environment = os.environ | {"VLLM_URL": server.url}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == TEXT
    subprocess.run([*command, "-o", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert (tmp_path / "test_document.md").read_text().strip() == TEXT
