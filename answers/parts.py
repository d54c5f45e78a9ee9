"""The parts of one image as one prompt: their texts in order, each on lines of its own."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from engine.handles import Generation
from engine.request import Times, TokenEvent

BETWEEN = "\n"


class JoinedParts:
    """The generations of an image's parts, which run at the same time; used like a `Generation`."""

    def __init__(self, parts: Sequence[Generation], max_tokens: int | None) -> None:
        """`max_tokens`: of all parts together."""
        self.prompt_tokens = sum(part.prompt_tokens for part in parts)
        self._parts = parts
        self._max_tokens = max_tokens

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        """Events up to the last, as of one text. A part that does not end of itself ends it. Raises EngineError."""
        chars = tokens = cached = 0
        between = ""
        for part in self._parts:
            start = chars + len(between)
            async for event in part:
                text, between = (between + event.text, "") if event.text else ("", between)
                chars += len(text)
                event = replace(
                    event,
                    text=text,
                    completion_tokens=tokens + event.completion_tokens,
                    cached_tokens=cached + event.cached_tokens,
                    keep_chars=None if event.keep_chars is None else start + event.keep_chars,
                )
                ended = (event.finish_reason, event.stop_reason) == ("stop", None)
                if not event.last or (ended and part is not self._parts[-1]):
                    full = self._max_tokens is not None and event.completion_tokens >= self._max_tokens
                    event = replace(event, finish_reason="length" if full else None)
                if event.last:
                    self.abort()
                yield event
                if event.last:
                    return
            tokens, cached = event.completion_tokens, event.cached_tokens
            between = BETWEEN if chars else ""

    @property
    def times(self) -> Times:
        """From the first part's begin to the newest token of any."""
        every = [part.times for part in self._parts]
        return replace(every[0], newest=max((one.newest for one in every if one.newest is not None), default=None))

    def abort(self) -> None:
        for part in self._parts:
            part.abort()
