"""What a block's label means: the prompt it is read with, the size it is read at, and what is left out of the page.

Knows PaddleX's labels and the model's prompts, and nothing of boxes and images. A label that is not named here is text.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from layout.options import Kind
from models.paddleocr_vl import prompts
from models.protocol import PixelBounds

# Source of labels and bounds: PaddleX 3.7, inference/pipelines/paddleocr_vl/pipeline.py.
BOUNDS = PixelBounds(112896, 1003520)
IMAGES = frozenset({"image", "header_image", "footer_image", "chart", "seal"})
"""Labels of blocks that are kept as images and not read, unless a request wants them read."""
RUNNING = frozenset({"header", "header_image", "footer", "footer_image", "number"})
"""Labels of what pages repeat. PaddleX leaves out footnotes and texts beside the page too, which say something."""


@dataclass(frozen=True)
class Task:
    """How a block is read."""

    kind: Kind
    prompt: str
    bounds: PixelBounds = BOUNDS
    trims: bool = False  # white around the ink is cut off first
    enlarges: bool = False  # an image that is small on both sides is doubled first
    between: str = "\n"  # texts of its parts, where they are read apart


_TEXT = Task("ocr", prompts.OCR)
_FORMULA = Task("formula", prompts.FORMULA, trims=True)
_TASKS = {
    "table": Task("table", prompts.TABLE, between="<nl>"),
    "chart": Task("chart", prompts.CHART),
    "seal": Task("seal", prompts.SEAL),
    "formula": _FORMULA,
    "display_formula": _FORMULA,
    "inline_formula": _FORMULA,
    "spotting": Task("spotting", prompts.SPOTTING, PixelBounds(112896, 1605632), enlarges=True),
}


def task_of(label: str, read: Collection[str] = (), bounds: Mapping[Kind, PixelBounds] | None = None) -> Task | None:
    """How a block of this label is read; None for one that is kept as an image.

    `read`: labels of images to read; `bounds`: of the kinds whose own do not hold.
    """
    if kept_as_image(label, read):
        return None
    task = _TASKS.get(label, _TEXT)
    return replace(task, bounds=bounds[task.kind]) if bounds and task.kind in bounds else task


def kept_as_image(label: str, read: Collection[str]) -> bool:
    return label in IMAGES and label not in read
