"""Mixed traffic for the soak: requests of every kind, valid and invalid, reproducible by seed."""

import base64
import io
import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from images.decoding import FORMATS
from modes.registry import OFFICIAL

CHAT = "/v1/chat/completions"
DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
SAMPLES = [DATA / f"test_{name}.png" for name in ("document", "form", "invoice", "receipt", "table")]
PROMPTS = (
    *("Read this", "Extract the table", "Extract the receipt as JSON", "Extract the invoice", "List the form fields"),
    *("Give me the formula", "Describe the chart", "Read the seal", "Bounding boxes of all lines", ""),
)
SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "date": {"type": "string", "maxLength": 12}},
    "required": ["total", "date"],
}
STRUCTURES: Sequence[dict[str, Any]] = (
    {"response_format": {"type": "json_schema", "json_schema": {"name": "own", "schema": SCHEMA}}, "grounded": False},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "own", "schema": SCHEMA}}, "mode": "raw"},
    {"guided_regex": "[A-Z]{3,8}", "mode": "raw"},
    {"structured_outputs": {"choice": ["yes", "no"]}, "mode": "raw"},
)
RECENT_IMAGES = 8  # candidates for second questions
MAX_PIXELS = 900_000  # the maximum of an image
MAX_BODY_BYTES = 2 * 2**20  # the maximum that the soak's own server accepts


@dataclass
class Request:
    """One HTTP request, and the status codes that count as an answer to it."""

    kind: str
    content: bytes
    path: str = CHAT
    expected: Sequence[int] = (200,)
    streamed: bool = False
    leaves_after: float | None = None  # seconds until the client disconnects


class Traffic:
    """An endless series of requests: the same for the same seed, in an order that depends on the server's speed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._pages = [Image.open(sample).convert("RGB") for sample in SAMPLES]
        self._recent: deque[str] = deque(maxlen=RECENT_IMAGES)  # data URIs
        self._kinds: Sequence[tuple[int, Callable[[], Request]]] = (
            (30, self._reading),
            (8, self._second_question),
            (6, self._document),
            (8, self._structured),
            (6, self._several),
            (4, self._text),
            (16, self._leaving),
            (18, self._invalid),
            (4, self._other_route),
        )

    def next(self) -> Request:
        weights, kinds = zip(*self._kinds, strict=True)
        return self._rng.choices(kinds, weights)[0]()

    def _image(self) -> Image.Image:
        """A crop of a sample at a random size, mostly small; hardly ever the same twice."""
        page = self._rng.choice(self._pages)
        scale = self._rng.uniform(0.1, 1.6) ** 2
        left, top = self._rng.randrange(page.width // 2), self._rng.randrange(page.height // 2)
        piece = page.crop((left, top, page.width, page.height))
        scale = min(scale, (MAX_PIXELS / (piece.width * piece.height)) ** 0.5)
        return piece.resize((max(3, round(piece.width * scale)), max(3, round(piece.height * scale))))

    def _part(self, image: Image.Image) -> dict[str, Any]:
        format_ = self._rng.choice(FORMATS)
        address = data_uri(encoded(image, format_), f"image/{format_.lower()}")
        self._recent.append(address)
        return {"type": "image_url", "image_url": {"url": address}}

    def _chat(self, kind: str, prompt: str, *parts: dict[str, Any], **fields: Any) -> Request:
        text = [{"type": "text", "text": prompt}] if prompt else []
        streamed = self._rng.random() < 0.5
        body = {
            "messages": [{"role": "user", "content": [*parts, *text]}],
            "max_tokens": self._rng.randint(1, 60),
            "stream": streamed,
        }
        return Request(kind, json.dumps(body | fields).encode(), streamed=streamed)

    def _prompt(self) -> str:
        return self._rng.choice([*OFFICIAL, *PROMPTS])

    def _reading(self) -> Request:
        return self._chat("reading", self._prompt(), self._part(self._image()))

    def _second_question(self) -> Request:
        if not self._recent:
            return self._reading()
        part = {"type": "image_url", "image_url": {"url": self._rng.choice(self._recent)}}
        return self._chat("second question", self._prompt(), part)

    def _document(self) -> Request:
        format_ = self._rng.choice(("PDF", "TIFF"))
        first, *others = (self._image() for _ in range(self._rng.randint(1, 2)))
        data = encoded(first, format_, save_all=True, append_images=others)
        if format_ == "TIFF":
            part = {"type": "image_url", "image_url": {"url": data_uri(data, "image/tiff")}}
        else:
            part = {"type": "file", "file": {"filename": "it.pdf", "file_data": data_uri(data, "application/pdf")}}
        return self._chat("document", self._prompt(), part, max_tokens=30)

    def _structured(self) -> Request:
        structure = self._rng.choice(STRUCTURES)
        return self._chat("structured", "Read this", self._part(self._image()), **structure)

    def _several(self) -> Request:
        """Several choices with log probabilities."""
        fields = {"n": 2, "temperature": 0.8, "logprobs": True, "top_logprobs": 3, "ocr": {"words": True}}
        return self._chat("several", "OCR:", self._part(self._image()), seed=self._rng.randrange(100), **fields)

    def _text(self) -> Request:
        return self._chat("text", "on and on " * self._rng.randint(1, 300), mode="raw")

    def _leaving(self) -> Request:
        request = self._rng.choice((self._reading, self._document, self._several, self._structured))()
        request.kind, request.leaves_after = "leaving", self._rng.expovariate(3)
        return request

    def _invalid(self) -> Request:
        image = encoded(self._image(), "PNG")
        cut = data_uri(image[: self._rng.randrange(len(image) // 2)], "image/png")
        fine = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "mode": "raw"}
        broken = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": cut}}]}]}
        kind, content, expected = self._rng.choice(
            (
                ("invalid JSON", json.dumps(fine).encode()[: self._rng.randint(1, 40)], (400,)),
                ("broken image", json.dumps(broken).encode(), (400,)),
                ("too large", b"[" + b" " * (MAX_BODY_BYTES + 2**20), (413, 400)),
                ("unknown field", json.dumps(fine | {f"unknown_{self._rng.randrange(10**9)}": 1}).encode(), (200,)),
                ("wrong type", json.dumps(fine | {"temperature": "warm"}).encode(), (400,)),
                ("unknown model", json.dumps(fine | {"model": f"gpt-{self._rng.randrange(10**9)}"}).encode(), (404,)),
                ("private address", json.dumps(broken).replace(cut, "http://127.0.0.1:9/x.png").encode(), (400,)),
            )
        )
        return Request(kind, content, expected=expected)

    def _other_route(self) -> Request:
        content = json.dumps({"prompt": "on and on"}).encode()
        return self._rng.choice(
            (
                Request("tokenize", content, "/tokenize"),
                Request("metrics", b"", "/metrics"),
                Request("health", b"", "/health"),
                Request(
                    kind="unknown path",
                    content=b"",
                    path=f"/unknown/{self._rng.randrange(10**9)}",
                    expected=(404,),
                ),
            )
        )


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
