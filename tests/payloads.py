"""Bodies of chat requests."""

import base64
import io
from typing import Any

from PIL import Image


def data_uri(image: Image.Image, format_: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return f"data:image/{format_.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image_part(image: Image.Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_uri(image)}}


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "test"}], "max_tokens": 3} | fields


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]
