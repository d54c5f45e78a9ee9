"""What a conversation asks of the model: its words -> a mode, and the prompts that the model was trained on.

PaddleOCR-VL reads; it does not converse. So whatever the words around a picture say, the model gets the picture and
one of its own task prompts. Knows text and PIL, neither HTTP nor tensors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from models.paddleocr_vl import prompts

Detail = Literal["low", "high", "auto"]

MODES = {
    prompts.OCR: "ocr",
    prompts.TABLE: "table",
    prompts.FORMULA: "formula",
    prompts.CHART: "chart",
    prompts.SPOTTING: "spotting",
    prompts.SEAL: "seal",
}
"""The mode of each official prompt, whose raw text is the answer."""


@dataclass(frozen=True)
class Picture:
    """A picture of a message, or a page of a document in it."""

    open: Callable[[], Image.Image]  # upright RGB; of a page, the work of drawing it
    detail: Detail = "auto"
    page: bool = False  # of a document of several


@dataclass(frozen=True)
class Turn:
    """One message of a conversation; the texts of its parts joined by newlines."""

    role: str  # system | user | assistant
    text: str
    pictures: Sequence[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Prompt:
    """One question to the model."""

    messages: list[dict[str, Any]]
    pictures: list[Picture]


@dataclass(frozen=True)
class Task:
    """What the engine is asked: one prompt or, for documents, one a page."""

    mode: str  # that of MODES; "markdown" for any other words with a picture; "raw" without one
    prompts: list[Prompt]


def choose(conversation: Sequence[Turn]) -> Task:
    """The task of a conversation.

    With a picture: the pictures of the last turn that has some, under the official prompt that the last user text is,
    else under `OCR:`. All in one prompt; but where there is a page of a document, each in a prompt of its own. Without
    a picture: the conversation as it is, which the model was not trained for.
    """
    with_pictures = [turn for turn in conversation if turn.pictures]
    if not with_pictures:
        return Task("raw", [Prompt([_message(turn.role, turn.text, 0) for turn in conversation], [])])
    asked = next((turn.text.strip() for turn in reversed(conversation) if turn.role == "user"), "")
    words = asked if asked in MODES else prompts.OCR
    pictures = list(with_pictures[-1].pictures)
    groups = [[picture] for picture in pictures] if any(picture.page for picture in pictures) else [pictures]
    mode = MODES.get(asked, "markdown")
    return Task(mode, [Prompt([_message("user", words, len(group))], group) for group in groups])


def _message(role: str, text: str, pictures: int) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}] * pictures + [{"type": "text", "text": text}]}
