"""How raw model text becomes the answer: the protocol of finishers, the plain one, and how they are chained."""

from typing import Protocol


class Finisher(Protocol):
    """Turns the model's raw text into finished text. The result does not depend on how the raw text is cut."""

    def push(self, text: str) -> str:
        """Accept more raw text, cut anywhere; return the finished text that no later text can change."""

    def end(self) -> str:
        """Return the rest, which makes the whole well-formed wherever the model stopped."""


class RawFinisher:
    """Leaves the text as the model writes it."""

    def push(self, text: str) -> str:
        return text

    def end(self) -> str:
        return ""


class Chain:
    """Several finishers, each fed with the output of the one before."""

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
