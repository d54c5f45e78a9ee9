"""Literal text -> Markdown that shows it unchanged, with as few backslashes as that takes.

Formulas are taken out first, as single characters that stand for them, so that nothing in them is escaped or joined.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from modes.markdown import MathFinisher

_FIRST = 0xF0000  # a plane for private use: no font that a page is printed in maps text to it
STANDS_FOR_FORMULA = re.compile("[\U000f0000-\U000ffffd]")

_REPEATED = r"(?:\\[)\]])*"  # the model sometimes closes a formula twice
_FORMULA = re.compile(
    rf"(?<!\\)(?:\\\(.*?(?:\\\){_REPEATED}|\Z)|\\\[.*?(?:\\\]{_REPEATED}|\Z)"
    # between bare dollars, only what has a sign that sums of money lack
    r"|\$\$[^$]++\$\$|\$(?=[^\s$][^$\n]*+(?<=\S)\$(?!\d))[^$\n]*?[\\^_{}][^$\n]*+\$)",
    re.DOTALL,
)
_ESCAPED = re.compile(
    r"\\(?=[!-/:-@\[-`{-~\n\U000f0000-\U000ffffd]|\Z)"  # would escape what follows, or break the line
    r"|<(?=[A-Za-z/!?])"  # would begin a tag
    r"|&(?=#?\w+;)"  # would begin an entity
    r"|\](?=\()"  # would end the text of a link
)
_RUN = re.compile(r"\*+|_+|~+|`+")
_LINE_START = re.compile(
    r"#{1,6}(?=\s|\Z)"  # heading
    r"|>"  # quotation
    r"|[-+*](?=\s|\Z)"  # item
    r"|-+\s*\Z|=+\s*\Z|(?:[-_*]\s*){3,}\Z"  # underline of a heading, thematic break
    r"|~~~|```"  # code
    r"|\[[^\]]*\]:"  # target of links
    r"|[-:|][-:|\s]*\Z"  # second line of a table
)
_NUMBERED = re.compile(r"(\d{1,9})([.)])(?=\s|\Z)")


@dataclass(frozen=True)
class Protected:
    """Text whose formulas are single characters of a private plane."""

    text: str
    formulas: tuple[str, ...]  # as Markdown, in order

    def restore(self, text: str) -> str:
        """Put the formulas back into a part of the text."""
        return STANDS_FOR_FORMULA.sub(lambda found: self.formulas[ord(found.group()) - _FIRST], text)


def protect(raw: str) -> Protected:
    r"""Take the formulas out of the model's text: `\( \)`, `\[ \]`, and what dollars enclose if it looks like one."""
    formulas: list[str] = []

    def replace(found: re.Match[str]) -> str:
        finisher = MathFinisher()
        formulas.append(" ".join((finisher.push(found.group()) + finisher.end()).split()))
        return chr(_FIRST + len(formulas) - 1)

    return Protected(_FORMULA.sub(replace, STANDS_FOR_FORMULA.sub("", raw)), tuple(formulas))


def inline(text: str, *, strict: bool = False, dollars: bool = False) -> str:
    """Escape what would be markup within a line, formulas already protected.

    `strict`: the text continues a paragraph, in which a delimiter may be open. `dollars`: the paragraph may go on with
    a formula.
    """
    marks = {at for start, end in _delimiters(text, strict) for at in range(start, end)}
    marks |= {found.start() for found in _ESCAPED.finditer(text)}
    places = [at for at, character in enumerate(text) if character == "$"]
    if strict or dollars or len(places) > 1 or STANDS_FOR_FORMULA.search(text):
        marks.update(places)
    return "".join(("\\" if at in marks else "") + character for at, character in enumerate(text))


def line_start(text: str) -> str:
    """Escape what would be markup at the start of a line: `# 5`, `- 5`, `1986. A year`."""
    text = _NUMBERED.sub(r"\1\\\2", text, count=1) if _NUMBERED.match(text) else text
    return "\\" + text if _LINE_START.match(text) else text


def heading(text: str) -> str:
    """Escape the text of a heading, on one line: hashes at its end would be taken for its closing sequence."""
    return re.sub(r"(?<=\s)(#+)\Z|\A(#+)\Z", lambda found: "\\" + found.group(), inline(text))


def code(text: str) -> str:
    """The text as a block of code, inside a fence longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _delimiters(text: str, strict: bool) -> Iterator[tuple[int, int]]:
    """Start and end of the runs that would be read as delimiters: openers with a closer behind them."""
    runs = [(found.group()[0], found.start(), found.end()) for found in _RUN.finditer(text)]
    last_closer = {sign: start for sign, start, end in runs if _closes(text, sign, start, end)}
    for sign, start, end in runs:
        opens, closes = _opens(text, sign, start, end), _closes(text, sign, start, end)
        if sign == "`":  # no backslash keeps a later one from closing it
            marks = True
        elif strict:
            marks = opens or closes
        else:
            marks = opens and last_closer.get(sign, 0) > start
        if marks:
            yield start, end


def _opens(text: str, sign: str, start: int, end: int) -> bool:
    """Whether a run may open, in a sense wide enough for every dialect."""
    return not _blank_at(text, end) and not (sign == "_" and start > 0 and text[start - 1].isalnum())


def _closes(text: str, sign: str, start: int, end: int) -> bool:
    return not _blank_at(text, start - 1) and not (sign == "_" and end < len(text) and text[end].isalnum())


def _blank_at(text: str, at: int) -> bool:
    return not 0 <= at < len(text) or text[at].isspace()
