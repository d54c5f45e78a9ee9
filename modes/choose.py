"""What a conversation asks of the model: its words -> the prompt that the model was trained on.

PaddleOCR-VL reads; it does not converse. So whatever the words around a picture say, the model gets the picture and
one of its own task prompts. Knows text and PIL, neither HTTP nor tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from models.paddleocr_vl import prompts


@dataclass(frozen=True)
class Turn:
    """One message of a conversation; the texts of its parts joined by newlines."""

    role: str  # system | user | assistant
    text: str
    pictures: Sequence[Image.Image] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """What the engine is asked."""

    messages: list[dict[str, Any]]
    pictures: list[Image.Image]


def choose(conversation: Sequence[Turn]) -> Task:
    """The task of a conversation.

    With a picture: the pictures of the last turn that has some, under the official prompt that the last user text is,
    else under `OCR:`. Without one: the conversation as it is, which the model was not trained for.
    """
    with_pictures = [turn for turn in conversation if turn.pictures]
    if not with_pictures:
        return Task([_message(turn.role, turn.text, 0) for turn in conversation], [])
    asked = next((turn.text.strip() for turn in reversed(conversation) if turn.role == "user"), "")
    pictures = list(with_pictures[-1].pictures)
    prompt = asked if asked in prompts.OFFICIAL else prompts.OCR
    return Task([_message("user", prompt, len(pictures))], pictures)


def _message(role: str, text: str, pictures: int) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}] * pictures + [{"type": "text", "text": text}]}
