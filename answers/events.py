"""Events of an answer: what each piece of it is, where it belongs, and on which page."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.request import FinishReason, Token, TokenEvent


@dataclass(frozen=True, kw_only=True)
class AnswerEvent:
    """One step of an answer: a sampled token with the text it completes, or the separator between two pages.

    In a document that is read block by block also: a page whose blocks are known, and a block whose text is read.
    """

    kind: Literal["token", "separator", "page", "block"]
    text: str  # as the model writes it; empty while a character or stop string is incomplete
    place: int  # characters of the transcript before `text`
    page: int  # index of its prompt in the order of the answer; a separator belongs to the page before it
    completion_tokens: int  # so far, over the whole answer, end tokens included
    block: int = 0  # blocks of the page that are read, of a "block"
    token: Token | None = None  # None for a separator
    end_token: bool = False  # `token` ends a page and has no part in its text
    content: str = ""  # what the event adds to the answer's content
    keep_chars: int | None = None  # characters of the transcript before the repeats of a loop
    finish_reason: FinishReason | None = None  # the whole answer's, in its last event only
    stop_reason: str | None = None  # the stop string that was met, or "repetition"

    @property
    def last(self) -> bool:
        return self.finish_reason is not None


class Prompted(Protocol):
    """A prompt in the queue with its events, such as `engine.handles.Generation`."""

    @property
    def prompt_tokens(self) -> int: ...

    def __aiter__(self) -> AsyncIterator[TokenEvent]: ...


@dataclass
class TokenUsage:
    """Tokens of one answer, over all of its prompts that have begun."""

    prompt: int = 0
    cached: int = 0  # prompt tokens that were not computed again
    completion: int = 0  # end tokens included

    async def counted(self, generation: Prompted) -> AsyncIterator[TokenEvent]:
        """Events of one prompt of the answer, each counted before it is yielded. Raises EngineError."""
        self.prompt += generation.prompt_tokens
        before = self.completion
        async for event in generation:
            self.completion = before + event.completion_tokens
            yield event
        self.cached += event.cached_tokens
