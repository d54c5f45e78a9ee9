"""Chooses the task of a conversation: words -> mode -> the prompts that the model was trained on.

PaddleOCR-VL reads and does not converse. Whatever the words around an image say, the model gets the image and one of
its own task prompts. Knows text and PIL, neither HTTP nor tensors.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from images.source import ImageSource
from models.paddleocr_vl import prompts
from modes.registry import ALL_MODES, MODES, OFFICIAL, RAW

WHOLE_TEXT = ("text", "texts", "everything", "transcribe", "transcription", "文字", "全文", "文本")
"""Words that ask for the whole page: next to them a plural, as in `text and tables`, names only a part of it."""

A_PART = re.compile(r"(?!bounding).*s|latex")
MAX_CHARS = 4000  # searched for words of a mode, from the start of a request

NO_FORM = re.compile(r"\bforms?\s+of\b|\b(?:in|as|table|json|list|markdown|text)\s+form\b")
"""Phrases that mean no form: `in the form of Markdown`, `in table form`."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation; the texts of its parts are joined by newlines."""

    role: str  # system | user | assistant | tool
    text: str
    images: Sequence[ImageSource] = field(default_factory=list)


@dataclass(frozen=True)
class Prompt:
    """One question to the model."""

    messages: list[dict[str, Any]]
    images: list[ImageSource]
    mode: str  # one of ANSWER_MODES
    finished: bool = False  # the answer is put into the mode's form; else it stays as the model writes it

    @property
    def is_text_of_one_image(self) -> bool:
        """Whether the model reads the text of one image, whose form is not the model's own."""
        return self.finished and len(self.images) == 1 and ALL_MODES[self.mode].prompt == prompts.OCR


@dataclass(frozen=True)
class Task:
    """The prompts that one conversation needs: one, or one a page."""

    mode: str  # reported in `ocr.mode`
    prompts: list[Prompt]
    system: str = ""  # text of the system messages

    @property
    def finished(self) -> bool:
        """Whether answers are put into their mode's form; False for a task without prompts."""
        return bool(self.prompts) and self.prompts[0].finished

    @property
    def reads_text(self) -> bool:
        """Whether the model's answer is the text of images."""
        return self.prompts[0].images != [] and ALL_MODES[self.mode].prompt in (None, prompts.OCR)

    @property
    def extracts(self) -> bool:
        """Whether the answer is the JSON object of the mode's schema."""
        return self.finished and ALL_MODES[self.mode].extracts

    def with_finish(self, finished: bool) -> "Task":
        """The same task with all prompts finished, or none."""
        return replace(self, prompts=[replace(prompt, finished=finished) for prompt in self.prompts])


def choose(conversation: Sequence[Turn], asked_mode: str | None = None) -> Task:
    """The task of a conversation; `asked_mode`, one of MODE_NAMES, overrides its words.

    With images, the last turn that has some is read under one official prompt. If the last user text is an official
    prompt, that one is used and the answer stays raw; else the words of that text choose the mode, or those of the
    system messages if the text is empty. Images share one prompt, unless one is a page of a document: then each has a
    prompt of its own. In raw mode, and without images, the model gets the conversation as it is.

    Raises ValueError for a mode that needs an image and has none.
    """
    with_images = [turn for turn in conversation if turn.images]
    if asked_mode not in (None, RAW) and not with_images:
        raise ValueError(f"mode {asked_mode!r} reads an image, and the messages contain none")
    asked = next((turn.text for turn in reversed(conversation) if turn.role == "user"), "")
    pages = with_images and any(image.page for image in with_images[-1].images)
    if not with_images or (asked_mode == RAW and not pages):
        # The model's template knows no tools: what one says comes from the user's side.
        roles = ["user" if turn.role == "tool" else turn.role for turn in conversation]
        messages = [_message(role, turn.text, len(turn.images)) for role, turn in zip(roles, conversation, strict=True)]
        return Task(RAW, [Prompt(messages, [image for turn in conversation for image in turn.images], RAW)])
    system = "\n".join(turn.text for turn in conversation if turn.role == "system")
    mode, words, finished = _interpret(asked, system, asked_mode)
    images = list(with_images[-1].images)
    if finished:
        detail = MODES[mode].detail
        images = [replace(image, detail=detail) if image.detail == "auto" else image for image in images]
    groups = [[image] for image in images] if pages else [images]
    own = [Prompt([_message("user", words, len(group))], group, mode, finished) for group in groups]
    return Task(mode, own, system)


def _interpret(asked: str, system: str, asked_mode: str | None) -> tuple[str, str, bool]:
    """The mode, the words for the model, and whether its answer is put into the mode's form."""
    if asked_mode == RAW:
        return RAW, asked, False
    if asked_mode is None and asked.strip() in OFFICIAL:
        return OFFICIAL[asked.strip()], asked.strip(), False
    mode = MODES[asked_mode or mode_of(asked if asked.strip() else system)]
    assert mode.prompt is not None
    return mode.name, mode.prompt, True


def mode_of(words: str) -> str:
    """The first mode of MODES that the words name."""
    words = NO_FORM.sub(" ", words[:MAX_CHARS].lower())
    whole_text = any(_contains(words, word) for word in WHOLE_TEXT)
    for name, mode in MODES.items():
        named = [word for word in mode.words if _contains(words, word)]
        if named and not (whole_text and all(A_PART.fullmatch(word) for word in named)):
            return name
    return "markdown"


def _contains(text: str, word: str) -> bool:
    """English words match whole; Chinese ones, which have no spaces around them, anywhere."""
    return bool(re.search(rf"\b{word}\b", text)) if word.isascii() else word in text


def _message(role: str, text: str, images: int) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}
