"""The modes, one row each: all that is particular to a mode is an attribute of its row.

A new mode is a new row. Other modules look at the attributes and never compare names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from images.source import Detail
from models.paddleocr_vl import prompts
from modes.charts import ChartFinisher
from modes.finisher import Chain, Finisher, RawFinisher
from modes.markdown import FormulaFinisher, MarkdownFinisher, MathFinisher
from modes.spotting import SpottingFinisher
from modes.tables import TableFinisher, TableFormat

Layout: TypeAlias = Literal["always", "pages", "never"]


@dataclass(frozen=True)
class FinishOptions:
    """What a finisher may depend on besides the text."""

    table_format: TableFormat
    image_size: tuple[int, int]  # width, height in pixels
    streaming: bool


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How one kind of image is read, and how the answer is finished."""

    name: str  # as in the request's `mode` and in `ocr.mode`
    prompt: str | None  # the official task prompt; None: the conversation as it is
    words: tuple[str, ...] = ()  # keywords of a request that choose the mode; English ones match as whole words
    extracts: bool = False  # answers with the JSON object of `schemas.SCHEMAS` instead of the model's text
    finisher: Callable[[FinishOptions], Finisher]  # makes what puts raw text into the mode's form
    max_repeats: int = 50  # copies in a row from which an answer counts as a loop
    detail: Detail = "auto"  # size bound of images where the request sets none
    takes_table_format: bool = False
    one_image: bool = False  # a finished answer is about one image
    keep_special_tokens: bool = False  # the finisher needs them
    layout: Layout = "never"  # whether images are read block by block, where a layout model is served: those like pages


def _raw(_: FinishOptions) -> Finisher:
    return RawFinisher()


def _markdown(_: FinishOptions) -> Finisher:
    return MarkdownFinisher()


def _table(options: FinishOptions) -> Finisher:
    table = TableFinisher(options.table_format, streaming=options.streaming)
    return table if options.table_format == "otsl" else Chain(MathFinisher(), table)


def _formula(_: FinishOptions) -> Finisher:
    return FormulaFinisher()


def _chart(_: FinishOptions) -> Finisher:
    return ChartFinisher()


def _spotting(options: FinishOptions) -> Finisher:
    return SpottingFinisher(*options.image_size)


# Both values of `max_repeats` come from PaddleX 3.7, where its PaddleOCR-VL pipeline cuts repeated content off.
_ROWS = (
    Mode(
        name="receipt",
        words=("receipt", "receipts", "收据", "小票", "收银条"),
        prompt=prompts.OCR,
        extracts=True,
        finisher=_markdown,
    ),
    Mode(
        name="invoice",
        words=("invoice", "invoices", "发票"),
        prompt=prompts.OCR,
        extracts=True,
        finisher=_markdown,
    ),
    Mode(
        name="form",
        words=("form", "forms", "form fields", "表单", "申请表", "登记表"),
        prompt=prompts.OCR,
        extracts=True,
        finisher=_markdown,
    ),
    Mode(
        name="table",
        words=("table", "tables", "表格"),
        prompt=prompts.TABLE,
        finisher=_table,
        takes_table_format=True,
        max_repeats=5000,  # empty cells legitimately repeat
    ),
    Mode(
        name="formula",
        words=("formula", "formulas", "formulae", "equation", "equations", "latex", "公式", "方程"),
        prompt=prompts.FORMULA,
        finisher=_formula,
    ),
    Mode(
        name="chart",
        words=("chart", "charts", "graph", "plot", "diagram", "图表"),
        prompt=prompts.CHART,
        finisher=_chart,
    ),
    Mode(
        name="seal",
        words=("seal", "seals", "stamp", "stamps", "印章", "公章"),
        prompt=prompts.SEAL,
        finisher=_markdown,
    ),
    Mode(
        name="spotting",
        words=("spotting", "bounding box", "bounding boxes", "text detection", "定位", "检测框"),
        prompt=prompts.SPOTTING,
        finisher=_spotting,
        detail="high",  # as in PaddleOCR, which gives it more pixels than other tasks
        one_image=True,
        keep_special_tokens=True,  # `<|LOC_..|>`
    ),
    Mode(
        name="document",
        words=("document", "documents", "whole page", "full page", "entire page", "pdf", "文档", "整页"),
        prompt=prompts.OCR,
        finisher=_markdown,
        takes_table_format=True,
        layout="always",
    ),
    Mode(name="markdown", prompt=prompts.OCR, finisher=_markdown, layout="pages"),
)

MODES: Mapping[str, Mode] = {mode.name: mode for mode in _ROWS}
"""The modes that words can choose, in order of precedence; markdown where no words choose another."""

RAW = "raw"  # the user's words go to the model, and its answer comes back, as they are

_OCR = Mode(name="ocr", prompt=prompts.OCR, finisher=_raw)
_RAW = Mode(name=RAW, prompt=None, finisher=_raw)

OFFICIAL: Mapping[str, str] = {
    prompts.OCR: _OCR.name,
    **{mode.prompt: mode.name for mode in _ROWS if mode.prompt not in (None, prompts.OCR)},
}
"""Official prompt -> the mode that its raw answer is reported as."""

ALL_MODES: Mapping[str, Mode] = {**MODES, _OCR.name: _OCR, RAW: _RAW}

MODE_NAMES: tuple[str, ...] = (*MODES, RAW)
"""Values of the request's field `mode`."""

ANSWER_MODES: tuple[str, ...] = tuple(ALL_MODES)
"""Values of `ocr.mode` in an answer."""


def finisher_of(
    mode: str,
    *,
    finished: bool,
    table_format: TableFormat = "auto",
    image_size: tuple[int, int] = (0, 0),
    streaming: bool,
) -> Finisher:
    """A new finisher for one prompt of a mode of ANSWER_MODES; raw text stays unchanged where not `finished`.

    `image_size`: width and height in pixels.
    """
    if not finished:
        return RawFinisher()
    return ALL_MODES[mode].finisher(FinishOptions(table_format, image_size, streaming))


def max_repeats(mode: str) -> int:
    """Copies in a row from which an answer in a mode of ANSWER_MODES counts as a loop. The engine counts them."""
    return ALL_MODES[mode].max_repeats
