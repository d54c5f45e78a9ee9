"""The modes: one row for each kind of image that can be read, with everything that is special about it."""

from collections.abc import Callable
from dataclasses import dataclass

from images.source import Detail
from models.paddleocr_vl import prompts
from modes.finisher import Chain, Finisher, Raw
from modes.markdown import FormulaFinisher, MarkdownFinisher, MathFinisher
from modes.spotting import SpottingFinisher
from modes.tables import ChartFinisher, TableFinisher, TableFormat


@dataclass(frozen=True)
class FinishOptions:
    """Options of a finisher besides its mode."""

    table_format: TableFormat
    image_size: tuple[int, int]  # width and height in pixels
    streaming: bool


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How one kind of image is read."""

    name: str  # in the request's `mode` and in `ocr.mode`
    prompt: str  # the official task prompt
    words: tuple[str, ...] = ()  # keywords that choose the mode; whole words in English, anywhere in Chinese
    extracts: bool = False  # the answer is the JSON object of `schemas.SCHEMAS`, not what the model writes
    finisher: Callable[[FinishOptions], Finisher] = lambda _: MarkdownFinisher()
    max_repeats: int = 50  # repeats of a pattern in a row from which an answer counts as a loop
    detail: Detail = "auto"  # bound on an image's size, if the request gives none
    takes_table_format: bool = False
    one_image: bool = False  # the answer belongs to a single image
    keep_special_tokens: bool = False  # the finisher needs them


def _table(options: FinishOptions) -> Finisher:
    table = TableFinisher(options.table_format, streaming=options.streaming)
    return table if options.table_format == "otsl" else Chain(MathFinisher(), table)


# The two numbers of `max_repeats`: PaddleX 3.7's PaddleOCR-VL pipeline, where it cuts repeated content off.
_ROWS = (
    Mode(
        name="receipt",
        words=("receipt", "receipts", "收据", "小票", "收银条"),
        prompt=prompts.OCR,
        extracts=True,
    ),
    Mode(name="invoice", words=("invoice", "invoices", "发票"), prompt=prompts.OCR, extracts=True),
    Mode(
        name="form",
        words=("form", "forms", "form fields", "表单", "申请表", "登记表"),
        prompt=prompts.OCR,
        extracts=True,
    ),
    Mode(
        name="table",
        words=("table", "tables", "表格"),
        prompt=prompts.TABLE,
        finisher=_table,
        max_repeats=5000,  # empty cells repeat legitimately
        takes_table_format=True,
    ),
    Mode(
        name="formula",
        words=("formula", "formulas", "formulae", "equation", "equations", "latex", "公式", "方程"),
        prompt=prompts.FORMULA,
        finisher=lambda _: FormulaFinisher(),
    ),
    Mode(
        name="chart",
        words=("chart", "charts", "graph", "plot", "diagram", "图表"),
        prompt=prompts.CHART,
        finisher=lambda _: ChartFinisher(),
    ),
    Mode(name="seal", words=("seal", "seals", "stamp", "stamps", "印章", "公章"), prompt=prompts.SEAL),
    Mode(
        name="spotting",
        words=("spotting", "bounding box", "bounding boxes", "text detection", "定位", "检测框"),
        prompt=prompts.SPOTTING,
        finisher=lambda options: SpottingFinisher(*options.image_size),
        detail="high",  # PaddleOCR gives it more pixels than other tasks
        one_image=True,
        keep_special_tokens=True,
    ),
    Mode(name="markdown", prompt=prompts.OCR),
)

MODES = {mode.name: mode for mode in _ROWS}
"""Modes by name, in order of precedence: the first with a word in the request wins; markdown if there is none."""

OFFICIAL = {
    prompts.OCR: "ocr",
    **{mode.prompt: mode.name for mode in _ROWS if mode.prompt != prompts.OCR},
}
"""Names of raw answers to the official prompts, by prompt."""

RAW = "raw"  # the user's words go to the model, and its answer comes back, both unchanged

MODE_NAMES = (*MODES, RAW)  # values of a request's `mode`
ANSWER_MODES = tuple(dict.fromkeys((*MODE_NAMES, *OFFICIAL.values())))  # values of an answer's `ocr.mode`


def finisher_of(
    mode: str,
    *,
    finished: bool,
    table_format: TableFormat = "auto",
    image_size: tuple[int, int] = (0, 0),
    streaming: bool,
) -> Finisher:
    """A finisher for one page; where the answer is not `finished`, its raw text is unchanged."""
    if not finished:
        return Raw()
    return MODES[mode].finisher(FinishOptions(table_format, image_size, streaming))


def max_repeats(mode: str) -> int:
    """Repeats in a row from which an answer of any of ANSWER_MODES counts as a loop."""
    return MODES[mode].max_repeats if mode in MODES else Mode.max_repeats
