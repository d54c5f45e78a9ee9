"""Documents of several pages as parts of a message."""

import base64
import io
from typing import Any

from PIL import Image

from tests.prompts import noise_image

PAGES = [noise_image(56, 56), noise_image(84, 56), noise_image(112, 56), noise_image(56, 84)]


def document(format_: str, pages: list[Image.Image] = PAGES) -> str:
    buffer = io.BytesIO()
    first, *rest = [page.copy() for page in pages]  # saving leaves its marks on an image
    first.save(buffer, format_, save_all=True, append_images=rest)
    return f"data:application/{format_.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def file_part(data: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, "filename": "scan"}}
