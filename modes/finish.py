"""The form in which each mode's answer goes out."""

from modes.choose import Task
from modes.markdown import Chain, Finisher, FormulaFinisher, MarkdownFinisher, MathFinisher, Raw
from modes.spotting import SpottingFinisher
from modes.tables import ChartFinisher, TableFinisher, TableFormat


def finisher_of(task: Task, table_format: TableFormat, size: tuple[int, int], *, streaming: bool) -> Finisher:
    """For one page of a task; `size`: its image's width and height in pixels."""
    if not task.finished:
        return Raw()
    if task.mode == "table":
        table = TableFinisher(table_format, streaming=streaming)
        return table if table_format == "otsl" else Chain(MathFinisher(), table)
    if task.mode == "formula":
        return FormulaFinisher()
    if task.mode == "chart":
        return ChartFinisher()
    if task.mode == "spotting":
        return SpottingFinisher(*size)
    return MarkdownFinisher()
