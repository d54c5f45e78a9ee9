"""JSON schema, regular expression, choice or grammar -> masks of the tokens that are allowed next, by llguidance.

Masks are computed on a separate thread while the model computes the logits that they apply to. The engine loads
without llguidance, for measurements on a bare machine; requests with a structure are then refused.
"""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from engine.errors import GenerationFailed, InvalidRequest
from engine.request import Structure

try:
    import llguidance.hf
    from llguidance import LLMatcher, LLTokenizer, grammar_from
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
except ModuleNotFoundError:
    INSTALLED = False
else:
    INSTALLED = True

MAX_REASON = 500  # characters; the definition may be part of it


class Structures:
    """Compiles structures for one tokenizer."""

    def __init__(self, tokenizer: Any, vocabulary: int, end_tokens: frozenset[int]) -> None:
        """`vocabulary`: size of the model's logits, which may exceed the tokenizer's."""
        if INSTALLED:
            self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, vocabulary, eos_token=sorted(end_tokens))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="grammar")

    def compile(self, structure: Structure) -> "LLGuidanceGrammar":
        """A grammar at the beginning of `structure`. Raises InvalidRequest with the compiler's reason."""
        if not INSTALLED:
            raise InvalidRequest(f"{structure.param} needs llguidance, which is not installed here", structure.param)
        try:
            grammar = _as_llguidance(structure)
            fault = LLMatcher.validate_grammar(grammar, self._tokenizer)
            if not fault:
                matcher = LLMatcher(self._tokenizer, grammar)
                matcher.compute_bitmask()  # some turn out too complex only at the first token
                fault = matcher.get_error()
        except ValueError as error:
            fault = str(error)
        if fault:
            reason = " ".join(fault.split())[:MAX_REASON]
            raise InvalidRequest(f"{structure.param} cannot be used: {reason}", structure.param)
        return LLGuidanceGrammar(matcher, self._tokenizer, self._pool, param=structure.param)

    def shutdown(self) -> None:
        self._pool.shutdown(wait=False)


def _as_llguidance(structure: Structure) -> str:
    """The structure in llguidance's own notation. Raises ValueError."""
    if structure.kind == "json_schema":
        # With free whitespace between JSON's parts, a model could write blanks until its tokens run out.
        return LLMatcher.grammar_from_json_schema(structure.definition, defaults={"whitespace_flexible": False})
    if structure.kind == "regex":
        return LLMatcher.grammar_from_regex(structure.definition)
    if structure.kind == "choice":
        choices = json.loads(structure.definition)
        return LLMatcher.grammar_from_lark("start: " + " | ".join(json.dumps(choice) for choice in choices))
    return grammar_from("grammar", structure.definition)


class LLGuidanceGrammar:
    """`request.Grammar` by llguidance: the progress of one answer through its structure."""

    def __init__(self, matcher: "LLMatcher", tokenizer: "LLTokenizer", pool: ThreadPoolExecutor, *, param: str) -> None:
        """`param`: the field of the request that holds the structure."""
        self._param = param
        self._matcher = matcher
        self._pool = pool
        self._vocabulary: int = tokenizer.vocab_size
        self._bits = [allocate_token_bitmask(1, self._vocabulary)]  # for the next token, and those after guessed ones
        self._filled: Future[None] | None = None

    @property
    def finished(self) -> bool:
        """The structure is complete: no token is allowed any more."""
        return bool(self._matcher.is_stopped())

    def begin_mask(self) -> None:
        """Start computing the mask of the next token."""
        self._filled = self._pool.submit(fill_next_token_bitmask, self._matcher, self._bits[0])

    def guess(self, likely: Sequence[int], count: int) -> list[int]:
        """Up to `count` next tokens: those that are the only way on, or else as many of the likely ones as it allows.

        `mask` then knows what is allowed after each of them, too.
        """
        self._wait()
        guessed = list(self._matcher.compute_ff_tokens() or likely)[:count]
        fitting = consumed = 0
        while fitting < len(guessed) and self._matcher.try_consume_tokens([guessed[fitting]]):
            consumed += 1
            if self._matcher.is_stopped():  # nothing follows
                break
            fitting += 1
            if len(self._bits) <= fitting:
                self._bits.append(allocate_token_bitmask(1, self._vocabulary))
            fill_next_token_bitmask(self._matcher, self._bits[fitting])
        self._matcher.rollback(consumed)
        return guessed[:fitting]

    def mask(self, ahead: int = 0) -> np.ndarray:
        """The tokens that are allowed next, or after so many guessed ones, (vocabulary,) bool.

        Waits for what `begin_mask` started.
        """
        self._wait()
        bits = np.unpackbits(self._bits[ahead].view(np.uint8)[0], count=self._vocabulary, bitorder="little")
        return bits.astype(bool)

    def _wait(self) -> None:
        assert self._filled is not None
        self._filled.result()

    def accept(self, token: int) -> None:
        """Advance by one token. Raises InvalidRequest where the structure is to blame, else GenerationFailed."""
        if not self._matcher.consume_token(token):
            # After the first line comes the grammar, and with it any text that a page may hold.
            reason = (self._matcher.get_error() or "the token does not fit").splitlines()[0][:200]
            if reason.startswith(("lexer error", "parser error")):  # a limit of llguidance
                raise InvalidRequest(f"{self._param} turned out too complex: {reason}", self._param)
            raise GenerationFailed(f"the answer left its structure: {reason}")
