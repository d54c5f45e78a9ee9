"""Spotted text, lines with their corners -> JSON, line by line.

Raw: `text<|LOC_x|>` x 8, the x and y of four corners in thousandths of the image, lines parted by newlines; or with
a frame, `<|TEXT_START|>text<|TEXT_END|><|LOC_BEGIN|>...<|LOC_END|>`. Source: PaddleX, `post_process_for_spotting`,
which reads both.
"""

import json
import re

_PLACE = re.compile(r"<\|LOC_([0-9]{1,4})\|>")
_TOKEN = re.compile(r"(<\|(?:LOC_[0-9]{1,4}|TEXT_START|TEXT_END|LOC_BEGIN|LOC_END|LOC_SEP)\|>|\n)")
_HALF_TOKEN = re.compile(r"<(?:\|[A-Z_0-9]*\|?)?\Z")


class SpottingFinisher:
    """Finisher that writes `[{"text": "...", "points": [[x, y], [x, y], [x, y], [x, y]]}, ...]` in pixels of the image.

    Text without four corners has `null` for points.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._held = ""  # perhaps half a token
        self._text = ""
        self._places: list[int] = []  # x and y in turn, thousandths
        self._begun = False

    def push(self, text: str) -> str:
        text = self._held + text
        half = _HALF_TOKEN.search(text)
        self._held = half.group() if half else ""
        return self._consume(text[: len(text) - len(self._held)])

    def end(self) -> str:
        return self._line() + ("]" if self._begun else "[]")

    def _consume(self, text: str) -> str:
        return "".join(map(self._piece, _TOKEN.split(text)))

    def _piece(self, piece: str) -> str:
        if place := _PLACE.fullmatch(piece):
            self._places.append(int(place[1]))
            return self._line() if len(self._places) == 8 else ""
        if _TOKEN.fullmatch(piece) and piece != "\n":
            return ""
        before = self._line() if piece.strip() and (self._places or "\n" in self._text.lstrip()) else ""
        self._text += piece
        return before

    def _line(self) -> str:
        """The line so far, as an element of the array."""
        text, places = self._text.strip(), self._places
        self._text, self._places = "", []
        if not text and len(places) < 8:
            return ""
        before, self._begun = ", " if self._begun else "[", True
        points = self._points(places) if len(places) == 8 else None
        return before + json.dumps({"text": text, "points": points}, ensure_ascii=False)

    def _points(self, places: list[int]) -> list[list[int]]:
        width, height = self._size
        return [[_pixel(x, width), _pixel(y, height)] for x, y in zip(places[::2], places[1::2], strict=True)]


def _pixel(place: int, size: int) -> int:
    return min(round(place * size / 1000), size)
