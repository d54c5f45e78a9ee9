"""What every answer tells of the reading that it is made of."""

from typing import Protocol

from answers.events import TokenUsage
from answers.prompts import StraightImage
from answers.transcript import Transcript
from engine.request import Times


class AnyReading(Protocol):
    """`reading.Reading` or `document.DocumentReading`."""

    transcript: Transcript
    usage: TokenUsage

    @property
    def images(self) -> int: ...

    @property
    def straightened(self) -> list[StraightImage]: ...

    @property
    def times(self) -> list[Times]: ...

    def abort(self) -> None: ...


class OfReading:
    """The part of `answer.Answer` that is the reading's own."""

    reading: AnyReading

    @property
    def transcript(self) -> Transcript:
        return self.reading.transcript

    @property
    def usage(self) -> TokenUsage:
        return self.reading.usage

    @property
    def images(self) -> int:
        return self.reading.images

    @property
    def straightened(self) -> list[StraightImage]:
        return self.reading.straightened

    @property
    def times(self) -> list[Times]:
        return self.reading.times

    def abort(self) -> None:
        self.reading.abort()
