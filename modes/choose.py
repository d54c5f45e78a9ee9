"""What a conversation asks of the model: its words -> a mode, and the prompts that the model was trained on.

PaddleOCR-VL reads; it does not converse. So whatever the words around an image say, the model gets the image and
one of its own task prompts. Knows text and PIL, neither HTTP nor tensors.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from images.source import ImageSource
from models.paddleocr_vl import prompts


@dataclass(frozen=True)
class Mode:
    """How one kind of image is read."""

    words: tuple[str, ...]  # of a request that choose it; in English whole words, in Chinese anywhere
    prompt: str  # the official one
    extracts: bool = False  # the answer is the JSON object of `schemas.SCHEMAS`, not what the model writes


MODES = {
    "receipt": Mode(("receipt", "receipts", "收据", "小票", "收银条"), prompts.OCR, extracts=True),
    "invoice": Mode(("invoice", "invoices", "发票"), prompts.OCR, extracts=True),
    "form": Mode(("form", "forms", "form fields", "表单", "申请表", "登记表"), prompts.OCR, extracts=True),
    "table": Mode(("table", "tables", "表格"), prompts.TABLE),
    "formula": Mode(
        ("formula", "formulas", "formulae", "equation", "equations", "latex", "公式", "方程"), prompts.FORMULA
    ),
    "chart": Mode(("chart", "charts", "graph", "plot", "diagram", "图表"), prompts.CHART),
    "seal": Mode(("seal", "seals", "stamp", "stamps", "印章", "公章"), prompts.SEAL),
    "spotting": Mode(
        ("spotting", "bounding box", "bounding boxes", "text detection", "定位", "检测框"), prompts.SPOTTING
    ),
    "markdown": Mode((), prompts.OCR),
}
"""In order of precedence: the first whose words stand in the request; markdown where no other's do."""

OFFICIAL = {
    prompts.OCR: "ocr",
    **{mode.prompt: name for name, mode in MODES.items() if mode.prompt != prompts.OCR},
}
"""What the raw answer to an official prompt is called."""

RAW = "raw"  # the user's words go to the model, and its answer comes back, as they are

WHOLE_TEXT = ("text", "texts", "everything", "transcribe", "transcription", "文字", "全文", "文本")
"""Words that ask for all there is: beside them a plural, as in `text and tables`, names a part of it."""

A_PART = re.compile(r"(?!bounding).*s|latex")
MAX_WORDS = 4000  # characters of a request that its mode is looked for in

NO_FORM = re.compile(r"\bforms?\s+of\b|\b(?:in|as|table|json|list|markdown|text)\s+form\b")
"""`in the form of Markdown` and `in table form` mean no form."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation; the texts of its parts joined by newlines."""

    role: str  # system | user | assistant
    text: str
    images: Sequence[ImageSource] = field(default_factory=list)


@dataclass(frozen=True)
class Prompt:
    """One question to the model."""

    messages: list[dict[str, Any]]
    images: list[ImageSource]
    mode: str
    finished: bool = False


@dataclass(frozen=True)
class Task:
    """What the engine is asked: one prompt or, for documents, one a page."""

    mode: str  # of MODES, of OFFICIAL, or RAW
    prompts: list[Prompt]
    system: str = ""  # what system messages say

    @property
    def reads_text(self) -> bool:
        """Whether the model's answer is the text of images."""
        return self.prompts[0].images != [] and (self.mode not in MODES or MODES[self.mode].prompt == prompts.OCR)

    @property
    def finished(self) -> bool:
        return self.prompts[0].finished

    def with_finish(self, finished: bool) -> "Task":
        return replace(self, prompts=[replace(p, finished=finished) for p in self.prompts])

    @property
    def extracts(self) -> bool:
        return self.finished and MODES[self.mode].extracts


def choose(conversation: Sequence[Turn], asked_mode: str | None = None) -> Task:
    """The task of a conversation; `asked_mode`, of MODES or RAW, decides outright.

    With an image: the images of the last turn that has some, under an official prompt: the one that the last user
    text is, whose answer stays raw, else that of the mode which its words choose; where there are none, the words of
    the system messages. All in one prompt; but where there is a page of a document, each in a prompt of its own. In
    raw mode or without an image: the conversation as it is. Raises ValueError for a mode that needs an image.
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
    mode, words, finished = _reading(asked, system, asked_mode)
    images = list(with_images[-1].images)
    if finished and mode == "spotting":  # PaddleOCR gives it more pixels than other tasks
        images = [replace(image, detail="high") if image.detail == "auto" else image for image in images]
    groups = [[image] for image in images] if pages else [images]
    own = [Prompt([_message("user", words, len(group))], group, mode, finished) for group in groups]
    return Task(mode, own, system)


def _reading(asked: str, system: str, asked_mode: str | None) -> tuple[str, str, bool]:
    """The mode, the words for the model, and whether its answer is put into the mode's form."""
    if asked_mode == RAW:
        return RAW, asked, False
    if asked_mode is None and asked.strip() in OFFICIAL:
        return OFFICIAL[asked.strip()], asked.strip(), False
    mode = asked_mode or mode_of(asked if asked.strip() else system)
    return mode, MODES[mode].prompt, True


def mode_of(words: str) -> str:
    """The first mode of MODES that words name."""
    words = NO_FORM.sub(" ", words[:MAX_WORDS].lower())
    whole_text = any(_stands_in(word, words) for word in WHOLE_TEXT)
    for name, mode in MODES.items():
        named = [word for word in mode.words if _stands_in(word, words)]
        if named and not (whole_text and all(A_PART.fullmatch(word) for word in named)):
            return name
    return "markdown"


def _stands_in(word: str, words: str) -> bool:
    return bool(re.search(rf"\b{word}\b", words)) if word.isascii() else word in words


def _message(role: str, text: str, images: int) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}
