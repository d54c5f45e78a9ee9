"""The name at the top of a page: the first line that is neither a label, a greeting, a telephone number nor the name of
a document."""

import re
from functools import cache

from modes.page import PageText, Span, TextLine
from modes.title_words import DOCUMENTS, FACTS, GREETINGS
from modes.wording import listed, one_of

_LOOSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_AFTER_GREETING = re.compile(
    r"\W*$|\s*[!,.*]|\s+(?:to|our|your|for|and|at|bei|im|in|zu|chez|a|au|en|et|nel|da|na|w|bij|ponownie|de|por|per|su|di|voor)\b"
)
"""What follows a greeting, where it is one and does not begin a name."""
_AFTER_FACT = re.compile(r"\s*[:.#]|\D{0,12}\d|\s+(?:no|nr|id|reg)\b")
_BOUNDS = " \t:.-–*#•"


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    tables = {"documents": DOCUMENTS, "greetings": GREETINGS, "facts": FACTS}
    return one_of(phrase for _, _, phrase in listed({"": tables[kind]}))


def title_index(page: PageText) -> int:
    """The index of the line with the name; -1 where there is none."""
    return next((index for index, line in enumerate(page.lines) if _name_on(line) is not None), -1)


def title(page: PageText) -> Span | None:
    """The name at the top, without the name of a document behind it."""
    index = title_index(page)
    if index < 0:
        return None
    line = page.lines[index]
    region = _name_on(line)
    return None if region is None else line.trimmed(region)


def _name_on(line: TextLine) -> Span | None:
    first = re.match(r"[\t ]*[^\n\t]*", line.folded)[0]  # type: ignore[index]  # it always matches
    documents = _pattern("documents")
    text = first.strip(_BOUNDS)
    if (
        line.dates
        or any(number.amount and number.start < len(first) for number in line.numbers)
        or (line.sums and line.sums[0].label.rank > 0)
        or len(re.findall(r"[^\W\d_]", first)) < 2
    ):
        return None
    if line.labels and line.labels[0].start == len(first) - len(first.lstrip(_BOUNDS)) and _is_labelled(line, text):
        return None
    if is_no_name(line):
        return None
    if not documents.sub("", text).strip(_BOUNDS + "/()"):
        return None
    end = len(first.rstrip())
    last = [match for match in documents.finditer(first, 0, end) if match.end() == end]
    if last and first[: last[0].start()].strip(_BOUNDS):
        end = last[0].start()
    return 0, end


def is_no_name(line: TextLine) -> bool:
    """Whether a line is a telephone number, a greeting, a cashier or the like."""
    text = line.folded.strip(_BOUNDS + "(¡!¿")
    greeting, fact = _pattern("greetings").search(text), _pattern("facts").match(text)
    if greeting is not None and _LOOSE.match(greeting[0]):
        return True
    if greeting is not None and greeting.start() == 0 and _AFTER_GREETING.match(text[greeting.end() :]):
        return True
    amounts = any(number.amount for number in line.numbers)
    return fact is not None and not amounts and _AFTER_FACT.match(text[fact.end() :]) is not None


def _is_labelled(line: TextLine, text: str) -> bool:
    """Whether the label that a line begins with is one; `Facture Leroy` may be a name, `Kunde Meier` is none."""
    label = line.labels[0]
    return label.field != "invoice_number" or bool(re.search(r"\d", text)) or label.end >= len(text)
