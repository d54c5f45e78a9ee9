"""Mixed traffic of the soak test: valid, invalid, second questions, and clients that leave."""

import base64
import io
import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from benchmarks.children import ROOT
from images.decoding import FORMATS
from modes.registry import OFFICIAL

CHAT = "/v1/chat/completions"


SAMPLES = [ROOT / "tests" / "data" / f"test_{name}.png" for name in ("document", "form", "invoice", "receipt", "table")]


WORDS = (
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


SEEN = 8  # recent images for second questions


MAX_PIXELS = 900_000  # pixels of an image


BODY_BYTES = 2 * 2**20  # bytes that our own server accepts


@dataclass
class Request:
    """One request of the soak test, and the answer that it should get."""

    kind: str
    content: bytes
    path: str = CHAT
    expected: Sequence[int] = (200,)
    streamed: bool = False
    leaves_after: float | None = None  # seconds


class Traffic:
    """Requests at random: the same for the same seed, in an order that depends on the server's speed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._pages = [Image.open(sample).convert("RGB") for sample in SAMPLES]
        self._seen: deque[str] = deque(maxlen=SEEN)
        self._kinds: Sequence[tuple[int, Callable[[], Request]]] = (
            (30, self._reading),
            (8, self._second_question),
            (6, self._document),
            (8, self._structured),
            (6, self._several),
            (4, self._text),
            (16, self._leaving),
            (18, self._bad),
            (4, self._aside),
        )

    def next(self) -> Request:
        weights, kinds = zip(*self._kinds, strict=True)
        return self._rng.choices(kinds, weights)[0]()

    def _image(self) -> Image.Image:
        """A piece of a sample in any size, mostly small; rarely the same twice."""
        page = self._rng.choice(self._pages)
        scale = self._rng.uniform(0.1, 1.6) ** 2
        left, top = self._rng.randrange(page.width // 2), self._rng.randrange(page.height // 2)
        piece = page.crop((left, top, page.width, page.height))
        scale = min(scale, (MAX_PIXELS / (piece.width * piece.height)) ** 0.5)
        return piece.resize((max(3, round(piece.width * scale)), max(3, round(piece.height * scale))))

    def _part(self, image: Image.Image) -> dict[str, Any]:
        kind = self._rng.choice(FORMATS)
        address = uri(encoded(image, kind), f"image/{kind.lower()}")
        self._seen.append(address)
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
        return self._rng.choice([*OFFICIAL, *WORDS])

    def _reading(self) -> Request:
        return self._chat("reading", self._prompt(), self._part(self._image()))

    def _second_question(self) -> Request:
        if not self._seen:
            return self._reading()
        part = {"type": "image_url", "image_url": {"url": self._rng.choice(self._seen)}}
        return self._chat("second question", self._prompt(), part)

    def _document(self) -> Request:
        kind = self._rng.choice(("PDF", "TIFF"))
        first, *others = (self._image() for _ in range(self._rng.randint(1, 2)))
        data = encoded(first, kind, save_all=True, append_images=others)
        if kind == "TIFF":
            part = {"type": "image_url", "image_url": {"url": uri(data, "image/tiff")}}
        else:
            part = {"type": "file", "file": {"filename": "it.pdf", "file_data": uri(data, "application/pdf")}}
        return self._chat("document", self._prompt(), part, max_tokens=30)

    def _structured(self) -> Request:
        structure = self._rng.choice(STRUCTURES)
        return self._chat("structured", "Read this", self._part(self._image()), **structure)

    def _several(self) -> Request:
        fields = {"n": 2, "temperature": 0.8, "logprobs": True, "top_logprobs": 3, "ocr": {"words": True}}
        return self._chat("several", "OCR:", self._part(self._image()), seed=self._rng.randrange(100), **fields)

    def _text(self) -> Request:
        return self._chat("text", "on and on " * self._rng.randint(1, 300), mode="raw")

    def _leaving(self) -> Request:
        request = self._rng.choice((self._reading, self._document, self._several, self._structured))()
        request.kind, request.leaves_after = "leaving", self._rng.expovariate(3)
        return request

    def _bad(self) -> Request:
        image = encoded(self._image(), "PNG")
        cut = uri(image[: self._rng.randrange(len(image) // 2)], "image/png")
        fine = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "mode": "raw"}
        broken = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": cut}}]}]}
        kind, content, expected = self._rng.choice(
            (
                ("invalid JSON", json.dumps(fine).encode()[: self._rng.randint(1, 40)], (400,)),
                ("broken image", json.dumps(broken).encode(), (400,)),
                ("too large", b"[" + b" " * (BODY_BYTES + 2**20), (413, 400)),
                ("unknown field", json.dumps(fine | {f"unknown_{self._rng.randrange(10**9)}": 1}).encode(), (200,)),
                ("wrong type", json.dumps(fine | {"temperature": "warm"}).encode(), (400,)),
                ("unknown model", json.dumps(fine | {"model": f"gpt-{self._rng.randrange(10**9)}"}).encode(), (404,)),
                ("private address", json.dumps(broken).replace(cut, "http://127.0.0.1:9/x.png").encode(), (400,)),
            )
        )
        return Request(kind, content, expected=expected)

    def _aside(self) -> Request:
        content = json.dumps({"prompt": "on and on"}).encode()
        return self._rng.choice(
            (
                Request("tokenize", content, "/tokenize"),
                Request("metrics", b"", "/metrics"),
                Request("health", b"", "/health"),
                Request("unknown path", b"", f"/unknown/{self._rng.randrange(10**9)}", (404,)),
            )
        )


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
