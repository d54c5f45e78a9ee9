"""A sampled token -> the event that its caller gets: the new text, and whether and why the answer is over.

It changes the sequence and nothing else: the core frees slots and places in the queue.
"""

import logging
from typing import Any

from engine.errors import GenerationFailed, InvalidRequest, UnexpectedFailure
from engine.request import REPETITION, Sequence, Token, TokenEvent

logger = logging.getLogger(__name__)


def accept(sequence: Sequence, outcome: Token | GenerationFailed) -> TokenEvent:
    """Add the next token to a sequence, or fail it; the event for its caller."""
    if isinstance(outcome, GenerationFailed):
        return event_of(sequence, "", error=outcome)
    try:
        return _accept(sequence, outcome)
    except Exception:  # from turning its tokens into text: it concerns this sequence only
        logger.exception("An answer cannot be turned into text")
        return event_of(sequence, "", error=UnexpectedFailure())


def event_of(sequence: Sequence, text: str, token: Token | None = None, **outcome: Any) -> TokenEvent:
    return TokenEvent(text, len(sequence.tokens), token, cached_tokens=sequence.reused, **outcome)


def _accept(sequence: Sequence, token: Token) -> TokenEvent:
    sequence.tokens.append(token.id)
    if token.id in sequence.end_tokens and not sequence.params.ignore_eos:
        return event_of(sequence, sequence.text.flush(), token, end_token=True, finish_reason="stop")
    try:
        if sequence.grammar is not None:
            sequence.grammar.accept(token.id)
    except (GenerationFailed, InvalidRequest) as error:
        return event_of(sequence, "", token, error=error)
    text = sequence.text.push(token.id)
    stop = sequence.text.stopped
    if stop is not None:
        return event_of(sequence, text, token, finish_reason="stop", stop_reason=stop)
    if (keep := _looped(sequence, text)) is not None:
        loop: dict[str, Any] = {"finish_reason": "length", "stop_reason": REPETITION, "keep_chars": keep}
        return event_of(sequence, text + sequence.text.flush(), token, **loop)
    if sequence.grammar is not None and sequence.grammar.finished:
        return event_of(sequence, text + sequence.text.flush(), token, finish_reason="stop")
    if len(sequence.tokens) >= sequence.max_tokens:
        return event_of(sequence, text + sequence.text.flush(), token, finish_reason="length")
    return event_of(sequence, text, token)


def _looped(sequence: Sequence, text: str) -> int | None:
    """Characters of the answer before its repeats, once it is in a loop; else None."""
    if sequence.repetition is None:
        return None
    before = sequence.text_lengths[-1] if sequence.text_lengths else 0
    sequence.text_lengths.append(before + len(text))
    count = sequence.repetition.push(sequence.tokens[-1])
    return None if count is None else sequence.text_lengths[count - 1]
