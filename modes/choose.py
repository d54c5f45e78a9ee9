"""A conversation -> its task: the mode that its words choose, and the prompts that the model was trained on.

PaddleOCR-VL reads; it does not converse. So whatever the words around an image say, the model gets the image and one of
its own task prompts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from images.source import ImageSource
from models.paddleocr_vl import prompts
from modes.registry import MODES, OFFICIAL, RAW

WHOLE_TEXT = ("text", "texts", "everything", "transcribe", "transcription", "文字", "全文", "文本")
"""Words that ask for the whole page: next to them a plural, as in `text and tables`, names a part of it."""

A_PART = re.compile(r"(?!bounding).*s|latex")
MAX_WORDS = 4000  # characters of a request in which a mode's words are looked for

NO_FORM = re.compile(r"\bforms?\s+of\b|\b(?:in|as|table|json|list|markdown|text)\s+form\b")
"""`in the form of Markdown` and `in table form` do not ask for a form."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation; the texts of its parts joined by newlines."""

    role: str  # system | user | assistant
    text: str
    images: Sequence[ImageSource] = field(default_factory=list)


@dataclass(frozen=True)
class Prompt:
    """One question to the model, in a mode of its own."""

    messages: list[dict[str, Any]]
    images: list[ImageSource]
    mode: str  # one of ANSWER_MODES
    finished: bool = False  # the answer is put into the mode's form; else it stays as the model writes it


@dataclass(frozen=True)
class Task:
    """One answer's prompts: a single one or, for documents, one a page."""

    mode: str  # reported in `ocr.mode`
    prompts: list[Prompt]
    system: str = ""  # text of the system messages

    @property
    def finished(self) -> bool:
        return self.prompts[0].finished

    @property
    def reads_text(self) -> bool:
        """Whether the model's answer is the text of images."""
        return self.prompts[0].images != [] and (self.mode not in MODES or MODES[self.mode].prompt == prompts.OCR)

    @property
    def extracts(self) -> bool:
        return self.finished and MODES[self.mode].extracts

    def with_finish(self, finished: bool) -> "Task":
        """The same task whose answer is, or is not, put into the form of its prompts' modes."""
        return replace(self, prompts=[replace(prompt, finished=finished) for prompt in self.prompts])


def choose(conversation: Sequence[Turn], asked_mode: str | None = None) -> Task:
    """The task of a conversation; `asked_mode`, one of MODE_NAMES, overrides its words.

    With an image: the images of the last turn that has any, under an official prompt. If the last user text is such a
    prompt, the answer stays raw; else its words choose the mode, or without a user text those of the system messages.
    All images share one prompt, but pages of a document get one each. In raw mode or without an image: the conversation
    as it is. Raises ValueError for a mode that needs an image.
    """
    with_images = [turn for turn in conversation if turn.images]
    if asked_mode not in (None, RAW) and not with_images:
        raise ValueError(f"mode {asked_mode!r} reads an image, and the messages hold none")
    asked = next((turn.text for turn in reversed(conversation) if turn.role == "user"), "")
    pages = with_images and any(image.page for image in with_images[-1].images)
    if not with_images or (asked_mode == RAW and not pages):
        messages = [_message(turn.role, turn.text, len(turn.images)) for turn in conversation]
        return Task(RAW, [Prompt(messages, [image for turn in conversation for image in turn.images], RAW)])
    system = "\n".join(turn.text for turn in conversation if turn.role == "system")
    mode, words, finished = _interpret(asked, system, asked_mode)
    images = list(with_images[-1].images)
    if finished:
        usual = MODES[mode].detail
        images = [replace(image, detail=usual) if image.detail == "auto" else image for image in images]
    groups = [[image] for image in images] if pages else [images]
    own = [Prompt([_message("user", words, len(group))], group, mode, finished) for group in groups]
    return Task(mode, own, system)


def _interpret(asked: str, system: str, asked_mode: str | None) -> tuple[str, str, bool]:
    """The mode, the prompt for the model, and whether its answer is put into the mode's form."""
    if asked_mode == RAW:
        return RAW, asked, False
    if asked_mode is None and asked.strip() in OFFICIAL:
        return OFFICIAL[asked.strip()], asked.strip(), False
    mode = asked_mode or mode_of(asked if asked.strip() else system)
    return mode, MODES[mode].prompt, True


def mode_of(words: str) -> str:
    """The first of MODES with one of its words in the text."""
    words = NO_FORM.sub(" ", words[:MAX_WORDS].lower())
    whole_text = any(_occurs_in(word, words) for word in WHOLE_TEXT)
    for name, mode in MODES.items():
        named = [word for word in mode.words if _occurs_in(word, words)]
        if named and not (whole_text and all(A_PART.fullmatch(word) for word in named)):
            return name
    return "markdown"


def _occurs_in(word: str, words: str) -> bool:
    return bool(re.search(rf"\b{word}\b", words)) if word.isascii() else word in words


def _message(role: str, text: str, images: int) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}
