"""The sample page, its words, and questions about it."""

import base64
from typing import Any

from rapidfuzz.distance import Levenshtein

from tests.e2e.servers import ROOT

IMAGE = ROOT / "tests" / "data" / "test_document.png"
TEXT = IMAGE.with_suffix(".txt").read_text()
URI = f"data:image/png;base64,{base64.b64encode(IMAGE.read_bytes()).decode()}"
MODEL = "PaddlePaddle/PaddleOCR-VL"
MAX_ERRORS = 0.05  # share of the characters, at other sizes than the image's own: the embedded checkpoint is small
IMAGE_PART: Any = {"type": "image_url", "image_url": {"url": URI}}


def messages(prompt: str = "OCR:") -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, IMAGE_PART]}]


def assert_nearly_read(text: str | None) -> None:
    assert text is not None
    assert Levenshtein.distance(text, TEXT) <= MAX_ERRORS * len(TEXT), text
