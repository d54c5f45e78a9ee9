"""A finisher puts a model's raw text into the form in which it is sent, piece by piece."""

from typing import Protocol


class Finisher(Protocol):
    """Raw text of the model in, finished text out. The whole does not depend on how the raw text was cut."""

    def push(self, text: str) -> str:
        """More raw text, cut anywhere -> the finished text that is now certain."""

    def end(self) -> str:
        """The rest, which makes the whole well-formed wherever the model stopped."""


class Raw:
    """The finisher of raw answers: the text unchanged."""

    def push(self, text: str) -> str:
        return text

    def end(self) -> str:
        return ""


class Chain:
    """Several finishers, one after another."""

    def __init__(self, *finishers: Finisher) -> None:
        self._finishers = finishers

    def push(self, text: str) -> str:
        for finisher in self._finishers:
            text = finisher.push(text)
        return text

    def end(self) -> str:
        text = ""
        for finisher in self._finishers:
            text = finisher.push(text) + finisher.end()
        return text
