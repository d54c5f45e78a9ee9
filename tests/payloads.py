"""Encoded images and the bodies of chat requests."""

import base64
import io
from typing import Any

from PIL import Image


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    """The file of an image; `options` of Pillow's writer."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def data_uri(image: Image.Image, format_: str = "PNG", **options: Any) -> str:
    return f"data:image/{format_.lower()};base64,{base64.b64encode(encoded(image, format_, **options)).decode()}"


def image_part(image: Image.Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_uri(image)}}


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "test"}], "max_tokens": 3} | fields


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]
