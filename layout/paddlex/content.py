"""A block's text as PaddleX's results have it: its delimiters of formulas, and tables as HTML."""

from modes.tables import parse


def content_of(label: str, text: str) -> str:
    """What PaddleX makes of the model's text in a block of this label."""
    text = _with_dollars(text)
    if label == "formula_number":
        text = text.replace("$", "")
    return table_html(text) or text if label == "table" else text


def _with_dollars(text: str) -> str:
    if not (("\\(" in text and "\\)" in text) or ("\\[" in text and "\\]" in text)):
        return text
    text = text.replace("$", "").replace("\\(", " $ ").replace("\\)", " $")
    return text.replace("\\[\\[", "\\[").replace("\\]\\]", "\\]").replace("\\[", " $$ ").replace("\\]", " $$ ")


def table_html(otsl: str) -> str:
    """A table as one line of HTML; empty where the text has no cells."""
    rows = parse(otsl).html_lines()
    return f"<table>{''.join(rows)}</table>" if rows else ""
