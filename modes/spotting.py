"""Spotted text, lines with the corners of each, as the model writes it -> JSON, line by line.

The model writes `text` and eight `<|LOC_n|>`, the x and y of four corners in thousandths of the image, with newlines
between lines; or the same in a frame, `<|TEXT_START|>text<|TEXT_END|><|LOC_BEGIN|>...<|LOC_END|>`. Source: PaddleX,
`post_process_for_spotting`, which reads both.
"""

import json
import re

_COORDINATE = re.compile(r"<\|LOC_([0-9]{1,4})\|>")
_TOKEN = re.compile(r"(<\|(?:LOC_[0-9]{1,4}|TEXT_START|TEXT_END|LOC_BEGIN|LOC_END|LOC_SEP)\|>|\n)")
_HALF_TOKEN = re.compile(r"<(?:\|[A-Z_0-9]*\|?)?\Z")


class SpottingFinisher:
    """Writes `[{"text": "...", "points": [[x, y], [x, y], [x, y], [x, y]]}, ...]`, in pixels of the image.

    A text without four corners has `null` for points.
    """

    def __init__(self, width: int, height: int) -> None:
        """Accept the size of the image in pixels."""
        self._size = (width, height)
        self._held = ""  # perhaps half a token
        self._text = ""
        self._coordinates: list[int] = []  # x and y in turn, thousandths
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
        if coordinate := _COORDINATE.fullmatch(piece):
            self._coordinates.append(int(coordinate[1]))
            return self._line() if len(self._coordinates) == 8 else ""
        if _TOKEN.fullmatch(piece) and piece != "\n":
            return ""
        before = self._line() if piece.strip() and (self._coordinates or "\n" in self._text.lstrip()) else ""
        self._text += piece
        return before

    def _line(self) -> str:
        """End the line; return it as an element of the array, "" if nothing of it has come."""
        text, coordinates = self._text.strip(), self._coordinates
        self._text, self._coordinates = "", []
        if not text and len(coordinates) < 8:
            return ""
        before, self._begun = ", " if self._begun else "[", True
        points = self._points(coordinates) if len(coordinates) == 8 else None
        return before + json.dumps({"text": text, "points": points}, ensure_ascii=False)

    def _points(self, coordinates: list[int]) -> list[list[int]]:
        width, height = self._size
        pairs = zip(coordinates[::2], coordinates[1::2], strict=True)
        return [[_pixel(x, width), _pixel(y, height)] for x, y in pairs]


def _pixel(thousandths: int, size: int) -> int:
    return min(round(thousandths * size / 1000), size)
