"""Server-sent events as OpenAI's clients read them."""

import json
from typing import Any

DONE = b"data: [DONE]\n\n"


def event(body: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: %s\n\n" % json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
