"""Valid inputs for the fuzzer to damage: images, documents, addresses, request bodies, schemas and grammars."""

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from modes.schemas import SCHEMAS

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
# Pillow's format, mode and options for saving.
ENCODINGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(("PNG", mode, {}) for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "I;16")), ("JPEG", "RGB", {"quality": 60}),
    ("JPEG", "RGB", {"progressive": True}), ("JPEG", "L", {}), ("JPEG", "CMYK", {}), ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}), ("BMP", "RGB", {}), ("BMP", "P", {}), ("GIF", "P", {}),
    *(("TIFF", mode, {}) for mode in ("RGB", "L", "P", "1", "RGBA", "CMYK", "I;16")),
    *(("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
    ("TIFF", "1", {"compression": "group4"}),
)  # fmt: skip
URLS = (
    "http://127.0.0.1:8080/page.png?x=1#y", "https://user@images.example/a b/%20?q=ü", "http://[::1]:80/",
    "file:///srv/media/page.png", "https://bücher.example./..//x?y[]=z", "http://0x7f.1/", "data:image/png;base64,AAAA",
)  # fmt: skip
GRAMMARS = (
    ("regex", r"[A-Z]{2}-[0-9]{3}(\.[0-9]+)?"), ("regex", r"(?:yes|no|maybe) \w+"),
    ("choice", '["red", "green", "日本"]'), ("grammar", 'start: "a" b+\nb: /[0-9]+/ | "(" b ")"'),
    ("grammar", 'root ::= "x" ("," root)?'),
)  # fmt: skip


def sample_images() -> list[bytes]:
    """Sample pages at a quarter of their size in every encoding, still and animated."""
    files = []
    for name in ("document", "table", "receipt"):
        source = Image.open(DATA / f"test_{name}.png").convert("RGB")
        small = source.resize((source.width // 4, source.height // 4))
        files += [
            encoded((small.convert("L") if mode in ("LA", "I;16") else small).convert(mode), format_, options)
            for format_, mode, options in ENCODINGS
        ]
        files += [encoded(small, format_, {"save_all": True, "append_images": [small.rotate(90)] * 2})
                  for format_ in ("TIFF", "GIF", "WEBP", "PNG")]  # fmt: skip
    return files


def sample_documents() -> list[bytes]:
    """PDFs: one with text, the others with images."""
    page = Image.open(DATA / "test_receipt.png").convert("RGB").resize((100, 200))
    text = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>>>endobj\n"
        b"4 0 obj<</Length 44>>stream\nBT /F 18 Tf 10 40 Td (Total 42.00) Tj ET\nendstream endobj\n"
        b"5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    variants: list[dict[str, Any]] = [{}, {"resolution": 30}, {"save_all": True, "append_images": [page.rotate(90)]}]
    return [text, *(encoded(page, "PDF", options) for options in variants), encoded(page.convert("1"), "PDF", {})]


def encoded(image: Image.Image, format_: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def data_uri(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def sample_addresses(images: list[bytes]) -> list[bytes]:
    return [url.encode() for url in (*URLS, *map(data_uri, images[:20]))]


def sample_requests(image: bytes) -> list[Any]:
    """Bodies of chat completion requests."""
    url = data_uri(image[:300])
    part = {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    text = {"type": "text", "text": "Extract the receipt as JSON"}
    schema = {"name": "receipt", "schema": SCHEMAS["receipt"], "strict": True}
    return [
        {"model": "PaddleOCR-VL", "messages": [{"role": "user", "content": [part, {"type": "text", "text": "OCR:"}]}],
         "max_completion_tokens": 4096, "temperature": 0, "skip_special_tokens": True,
         "mm_processor_kwargs": {"min_pixels": 112896, "max_pixels": 1003520}},
        {"messages": [{"role": "system", "content": '{"total": 0, "items": [{"name": "string"}]}'},
                      {"role": "user", "content": [text, part]}], "stream": True,
         "stream_options": {"include_usage": True}, "grounded": True},
        {"messages": [{"role": "user", "content": [text, part]}], "n": 2, "seed": 1, "stop": ["a", "b"],
         "response_format": {"type": "json_schema", "json_schema": schema}, "logprobs": True, "top_logprobs": 3},
        {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "x"},
                      {"role": "user", "content": "again"}], "guided_regex": "[a-z]+", "logit_bias": {"5": -100},
         "presence_penalty": 1, "repetition_detection": {"max_pattern_size": 8, "min_count": 3},
         "metadata": {"a": "b"}},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": url, "filename": "a.pdf"}}]}],
         "mode": "table", "table_format": "html", "ocr": {"words": True}, "structured_outputs": {"choice": ["a", "b"]}},
    ]  # fmt: skip


def sample_schemas() -> list[Any]:
    return [
        *SCHEMAS.values(),
        {"$defs": {"a": {"type": "string"}}, "properties": {"b": {"$ref": "#/$defs/a"}}, "type": "object"},
    ]


def sample_grammars() -> list[bytes]:
    """`kind|definition`, as `Targets.grammar` reads it."""
    return [f"{kind}|{definition}".encode() for kind, definition in GRAMMARS]
