"""Finishers for text with formulas, and for formulas alone: the model's LaTeX delimiters -> those of Markdown."""

import re

from modes.finisher import Chain, Finisher
from modes.money import MoneyFinisher
from modes.tables import TAG, TableFinisher, half_tag

_OPENING = {r"\(": "$", r"\[": "$$"}
_CLOSING = {r"\)": "$", r"\]": "$$"}
_MATH = re.compile(rf"(\\.)|{TAG.pattern}", re.DOTALL)  # a backslash goes with what follows: `\\[4pt]` opens nothing
_IS_INLINE = re.compile(r"\s*(?:\\?\Z|\\\(|\$(?!\$))")  # or may become one
_GOES_ON = re.compile(r"\s*(?:\\\(.*?\\\)|\$[^$]*\$)\s*[^\s\\$]", re.DOTALL)
"""An inline formula with text behind it."""
_FORMULA = re.compile(r"\\.|\$+|\s+|[^\\$\s]+", re.DOTALL)  # no final `\`, which would escape the dollar after it


class MathFinisher:
    r"""Replaces LaTeX's delimiters by those of Markdown: `\( x \)` -> `$x$`, `\[ x \]` -> `$$x$$`.

    Whitespace inside them is removed, because `$ x $` is no formula in Markdown, and so is a repeated delimiter, which
    the model sometimes writes. A formula ends with its table cell at the latest.
    """

    def __init__(self) -> None:
        self._held = ""  # perhaps half a tag; backslashes, whose meaning depends on what follows
        self._dollars = ""  # delimiter of the open formula
        self._begun = False  # whether a part of it has been written
        self._gap = ""  # whitespace that may be its end
        self._closed = ""  # the closing delimiter just read

    def push(self, text: str) -> str:
        text = self._held + text
        sure = text.removesuffix(half_tag(text)).rstrip("\\")
        self._held = text[len(sure) :]
        return self._consume(sure)

    def end(self) -> str:
        return self._consume(self._held) + self._close()

    def _consume(self, text: str) -> str:
        return "".join(self._piece(piece) for piece in _MATH.split(text) if piece)

    def _piece(self, piece: str) -> str:
        if self._dollars:
            return self._inside(piece)
        closed, self._closed = self._closed, ""
        if piece in _OPENING:
            self._dollars = _OPENING[piece]
            return ""
        return "" if piece == closed else piece

    def _inside(self, piece: str) -> str:
        if _CLOSING.get(piece) == self._dollars:
            self._closed = piece
            return self._close()
        if TAG.fullmatch(piece):
            return self._close() + piece
        if not self._begun and _OPENING.get(piece) == self._dollars:
            return ""
        return self._body(piece)

    def _body(self, piece: str) -> str:
        whole = self._gap + piece if self._begun else piece.lstrip()
        # `\ ` counts as whitespace, and so does a final `\`, which would escape the dollar after it
        blank = not piece.lstrip("\\").strip() and piece != r"\\"
        body = "" if blank else whole.rstrip()
        self._gap = whole[len(body) :]
        if not body:
            return ""
        before, self._begun = "" if self._begun else self._dollars, True
        return before + body

    def _close(self) -> str:
        closing = self._dollars if self._begun else ""
        self._dollars, self._begun, self._gap = "", False, ""
        return closing


class MarkdownFinisher(Chain):
    """Writes text with formulas and tables as Markdown. Places that are merged into another cell are empty."""

    def __init__(self) -> None:
        super().__init__(MoneyFinisher(), MathFinisher(), TableFinisher("markdown", streaming=True))


class _OneFormula:
    """Writes an answer that is one formula as `$$...$$`, whichever delimiters the model writes around it.

    Delimiters inside it, between two formulas or around one within text, become dollars.
    """

    def __init__(self) -> None:
        self._held = ""  # backslashes, whose meaning depends on what follows
        self._edge = ""  # whitespace and delimiters that may be the end
        self._begun = False

    def push(self, text: str) -> str:
        text = self._held + text
        sure = text.rstrip("\\")
        self._held = text[len(sure) :]
        return self._consume(sure)

    def end(self) -> str:
        return self._consume(self._held) + ("$$" if self._begun else "")

    def _consume(self, text: str) -> str:
        return "".join(map(self._piece, _FORMULA.findall(text)))

    def _piece(self, piece: str) -> str:
        piece = {**_OPENING, **_CLOSING}.get(piece, piece)
        if not piece.strip("$").strip():
            self._edge += piece
            return ""
        before, self._begun = self._edge if self._begun else "$$", True
        self._edge = ""
        return before + piece


class FormulaFinisher:
    """Writes an answer that is one formula as `$$...$$`; one that is text with formulas in it, with those in dollars.

    An answer that begins with an inline formula is held until it shows whether text follows.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inner: Finisher | None = None

    def push(self, text: str) -> str:
        if self._inner is not None:
            return self._inner.push(text)
        held = self._held = self._held + text
        if _IS_INLINE.match(held) is None:
            self._inner = _OneFormula()
        elif _GOES_ON.match(held) is not None:
            self._inner = MathFinisher()
        return "" if self._inner is None else self._inner.push(held)

    def end(self) -> str:
        if self._inner is not None:
            return self._inner.end()
        self._inner = _OneFormula()
        return self._inner.push(self._held) + self._inner.end()
