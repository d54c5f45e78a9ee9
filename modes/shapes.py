"""The looks of a value: which run of a line is an amount, a number, a date, a code, a currency or a text."""

import re

from modes.page import Span, TextLine
from modes.values import CURRENCY, Number


def shaped(line: TextLine, region: Span, shape: str, *, strict: bool) -> Span | None:
    """The run of a region that looks like a value of that shape; on the line."""
    start, end = region
    if shape in ("text", "code"):  # an amount below them may have been taken for the end of their line
        end = min(end, len(line.text.split("\n", 1)[0])) if "\n" in line.text[start:end] else end
    text = line.text[start:end]
    if shape == "text":
        return (start, end) if re.search(r"\w", text) else None
    if shape == "currency":
        mark = re.match(CURRENCY, text)
        return None if mark is None else (start, start + mark.end())
    if shape == "date":
        found = next(((a, b) for a, b in line.dates if start <= a and b <= end), None)
        return None if found is None or (strict and re.search(r"\w", line.text[start : found[0]])) else found
    if shape == "code":
        return _code(line, start, text, strict=strict)
    inside = [number for number in line.numbers if start <= number.start and number.end <= end and not number.percent]
    if shape == "number":
        whole = next((number for number in inside if not _in_code(line.text, number)), None)
        return None if whole is None else (whole.start, whole.end)
    likely = [number for number in inside if number.amount] or inside
    if not likely or (strict and re.search(r"[^\W\d_]{4,}", line.text[start : likely[-1].start])):
        return None
    return likely[-1].start, likely[-1].end


def _in_code(text: str, number: Number) -> bool:
    """Whether a number is only a part of something longer, such as `0012-3456` or `17b`."""
    before, after = text[max(0, number.start - 2) : number.start], text[number.end : number.end + 2]
    return bool(re.fullmatch(r"\w[-/]", before) or re.match(r"[-/]\w|[^\W\d]", after))


def _code(line: TextLine, start: int, text: str, *, strict: bool) -> Span | None:
    """The first word with a digit in it that is no date; strict: the first word must be it."""
    for word in re.finditer(r"[^\s.,;:()]\S*", text):
        end = len(word[0].rstrip(".,;:()")) + word.start()
        place = start + word.start(), start + end
        if re.search(r"\d", word[0]) and not any(a <= place[0] < b for a, b in line.dates):
            return place
        if strict:
            return None
    return None
