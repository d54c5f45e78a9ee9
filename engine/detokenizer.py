"""Tokens -> text that is safe to send: whole UTF-8 characters only, and nothing that may turn into a stop string."""

import re
from collections.abc import Sequence
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # a decoder's output for bytes that are not a character (yet)
BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")  # how SentencePiece spells a byte, and the start of a word:
WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"
LONGEST_CHARACTER = 4  # bytes of UTF-8, each of which may be a token of its own


class Detokenizer:
    """Incremental decoding of one answer.

    A few settled tokens stay in the decoded window, because a tokenizer's decoder may treat the first one specially.
    """

    def __init__(
        self, tokenizer: Any, stop: Sequence[str] = (), *, skip_special_tokens: bool = True, min_tokens: int = 0
    ) -> None:
        """Stop strings are searched in the text of the tokens after the first `min_tokens`."""
        self.stopped: str | None = None  # the stop string that ended the answer
        self._min_tokens = min_tokens
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._window = 0  # tokens before this one no longer matter
        self._settled = 0  # the text of tokens before this one has left the window
        self._held = ""  # text that may be the beginning of a stop string

    def push(self, token: int) -> str:
        """Text that is safe to send now; empty once `stopped`."""
        if self.stopped:
            return ""
        self._tokens.append(token)
        sent, text = self._decode(self._window, self._settled), self._decode(self._window, len(self._tokens))
        waiting = len(self._tokens) - self._settled
        if text.endswith(REPLACEMENT) and waiting < LONGEST_CHARACTER:
            return ""
        self._window, self._settled = self._settled, len(self._tokens)
        return self._check_stop(text[len(sent) :])

    def flush(self) -> str:
        """The rest of the text at the end of the answer, incomplete characters as U+FFFD."""
        if self.stopped:
            return ""
        sent, text = self._decode(self._window, self._settled), self._decode(self._window, len(self._tokens))
        self._window = self._settled = len(self._tokens)
        rest = self._check_stop(text[len(sent) :])
        rest, self._held = rest + self._held, ""
        return rest

    def _decode(self, start: int, stop: int) -> str:
        text: str = self._tokenizer.decode(self._tokens[start:stop], skip_special_tokens=self._skip_special_tokens)
        return text

    def _check_stop(self, new: str) -> str:
        if len(self._tokens) <= self._min_tokens:
            return new
        text = self._held + new
        found = [(start, stop) for stop in self._stop if (start := text.find(stop)) >= 0]
        if found:
            start, self.stopped = min(found, key=lambda match: match[0])
            self._held = ""
            return text[:start]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """UTF-8 bytes that a token contributes to the text; part of a character where bytes are tokens of their own."""
    spelled = str(tokenizer.convert_ids_to_tokens(token) or "")
    byte = BYTE_TOKEN.fullmatch(spelled)
    return bytes([int(byte[1], 16)]) if byte else spelled.replace(WORD_START, " ").encode()


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that `text` ends with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
