"""The text of an answer as it grows, with the log probability of each piece."""

import bisect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """A token and its characters; the end token has none."""

    start: int
    end: int
    logprob: float


@dataclass(frozen=True)
class Part:
    """A line or word with its confidence."""

    start: int
    end: int
    confidence: float


class Transcript:
    """Text in the order in which tokens bring it, each token with its span of characters."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: list[Span] = []
        self._held: list[float] = []  # log probabilities of tokens whose text is incomplete

    def add(self, text: str, logprob: float | None) -> None:
        """Append text and the token that completes it. Text without a token (a page separator) has no probability."""
        start = len(self.text)
        self.text += text
        if logprob is not None:
            self._held.append(logprob)
        if text:
            self._settle(start)

    def end(self) -> None:
        """Assign the tokens that brought no text; they count only for the whole."""
        self._settle(len(self.text))

    def _settle(self, start: int) -> None:
        self.spans += [Span(start, len(self.text), logprob) for logprob in self._held]
        self._held.clear()

    def append(self, other: "Transcript", separator: str) -> None:
        """Append a whole transcript; the separator goes between two, and none before an empty one."""
        if other.text and self.text:
            self.text += separator
        start = len(self.text)
        self.text += other.text
        self.spans += [Span(start + span.start, start + span.end, span.logprob) for span in other.spans]

    def part(self, start: int, end: int) -> "Transcript":
        """A run of the text with its tokens."""
        own = Transcript()
        own.text = self.text[start:end]
        own.spans = [
            Span(max(span.start, start) - start, min(span.end, end) - start, span.logprob)
            for span in self._spans_at(start, end)
        ]
        return own

    def cut(self, length: int) -> None:
        """Drop everything after `length` characters."""
        self.text = self.text[:length]
        self.spans = [Span(start, min(end, length), logprob) for start, end, logprob in self.spans if start < length]

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the probabilities of all tokens; None where there is none."""
        return _confidence(self.spans)

    def confidence_at(self, start: int, end: int) -> float | None:
        """Geometric mean of the probabilities of the tokens in one run of the text."""
        return _confidence(self._spans_at(start, end))

    def probability_at(self, start: int, end: int) -> float:
        """Product of the probabilities of the tokens of one run of the text."""
        return math.exp(math.fsum(span.logprob for span in self._spans_at(start, end)))

    def lines(self) -> Iterator[Part]:
        return self._parts(re.compile(r"[^\n]+"), 0, len(self.text))

    def words(self, line: Part) -> Iterator[Part]:
        return self._parts(re.compile(r"\S+"), line.start, line.end)

    def _parts(self, pattern: re.Pattern[str], start: int, end: int) -> Iterator[Part]:
        for found in pattern.finditer(self.text, start, end):
            confidence = self.confidence_at(found.start(), found.end())
            if confidence is not None and found.group().strip():
                yield Part(found.start(), found.end(), confidence)

    def _spans_at(self, start: int, end: int) -> Sequence[Span]:
        first = bisect.bisect_right(self.spans, start, key=lambda span: span.end)
        return self.spans[first : bisect.bisect_left(self.spans, end, key=lambda span: span.start)]


def _confidence(spans: Sequence[Span]) -> float | None:
    return math.exp(math.fsum(span.logprob for span in spans) / len(spans)) if spans else None
