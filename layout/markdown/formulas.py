"""Formulas that stand alone, and the numbers beside them."""

import re

from modes.markdown import FormulaFinisher, MathFinisher

_NUMBER = re.compile(r"[\w.,'’*†‡– -]{1,20}")  # nothing that is markup in LaTeX, but for `_`
_BRACKETS = {"(": ")", "[": "]", "（": "）"}


def formula(raw: str, number: str | None = None) -> str:
    """A formula as the model wrote it -> `$$...$$`, with its number as `number_of` gives it."""
    finisher = FormulaFinisher()
    text = finisher.push(raw.strip()) + finisher.end()
    text = re.sub(r"\n\s*\n", "\n", text)  # an empty line would end the formula
    if number is None or not text:
        return text
    return f"{text.removesuffix('$$').rstrip()} \\tag{{{number}}}$$"


def number_of(raw: str, formula: str) -> str | None:
    r"""The number that a block beside a formula holds, for `\tag{}`; None if it is none, or the formula has one."""
    finisher = MathFinisher()
    text = (finisher.push(raw) + finisher.end()).strip().strip("$").strip()
    if len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    fits = _NUMBER.fullmatch(text) and "_" not in text and r"\tag" not in formula
    return text if fits else None
