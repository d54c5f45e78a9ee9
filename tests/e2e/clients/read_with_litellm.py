"""IMAGE URL: has LiteLLM read the image, whole and streamed; prints JSON."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import litellm


def main(image: str, url: str) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(Path(image).read_bytes()).decode()}"
    parts = [{"type": "text", "text": "OCR:"}, {"type": "image_url", "image_url": {"url": uri}}]
    call: dict[str, Any] = {
        "model": "openai/PaddleOCR-VL-0.9B",
        "api_base": url,
        "api_key": "none",
        "messages": [{"role": "user", "content": parts}],
    }
    whole = litellm.completion(**call)
    chunks = list(litellm.completion(**call, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    usages = [usage.model_dump() for chunk in chunks if (usage := getattr(chunk, "usage", None))]
    answers = {
        "text": whole.choices[0].message.content,
        "reason": whole.choices[0].finish_reason,
        "usage": whole.usage.model_dump(),
        "streamed": streamed,
        "streamed_usage": usages[-1] if usages else None,
        "chunks": len(chunks),
    }
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
