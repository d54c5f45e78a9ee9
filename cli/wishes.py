"""How documents are to be read, and what comes back."""

from dataclasses import dataclass, field
from typing import Any, Literal

PROMPT = "Extract all text from this image as markdown"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How documents are to be read."""

    prompt: str = PROMPT
    mode: str | None = None
    layout: bool | None = None
    images: bool = False  # figures stand in the text
    schema: dict[str, Any] | None = None
    words: bool = False  # ... with their confidence
    doubtful: Literal["keep", "null"] = "keep"  # values of an extraction
    raw: bool = False  # the report has what the model wrote for each block

    def fields(self) -> dict[str, Any]:
        """The fields of a request besides its message."""
        wanted: dict[str, Any] = {"mode": self.mode, "layout": self.layout}
        wanted |= {"images": "inline" if self.images else None}
        wanted |= {"doubtful": "null" if self.doubtful == "null" else None}
        if self.schema is not None:
            form = {"name": "schema", "schema": self.schema}
            wanted |= {"grounded": True, "response_format": {"type": "json_schema", "json_schema": form}}
        return {name: value for name, value in wanted.items() if value is not None}


@dataclass
class Answer:
    """What came back for a document, as far as it is there."""

    content: str = ""
    ocr: dict[str, Any] = field(default_factory=dict)  # the report; empty until the end
    cut: bool = False  # the server's token limit ended it
