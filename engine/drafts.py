"""Guesses of an answer's next tokens, from what was read before: a step that verifies several costs little more.

Tables and forms repeat themselves, a second question repeats a transcript, and a request that is sent again repeats its
answer (prompt lookup decoding: Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding). A guess changes no token:
the model's own choice decides which of them stay.
"""

from collections import abc

from engine.request import Sequence

GRAM = 3  # tokens that must have occurred before, so that what followed them is guessed
MAX_DRAFT = 7  # tokens of a guess: with the token before them, 8 rows, beyond which a step costs far more
AVERAGED = 0.2  # weight of the newest value in an average
RETRY_STEPS = 32  # after so many steps without guesses that would not have paid, some are tried again
PAYS = 1.05  # tokens a second with guesses, over those without, from which they are worth it


class Draft:
    """Finds what followed the newest tokens of one answer when they occurred before."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._history: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}  # the newest occurrence of each gram but the last one: its end
        self._at: int | None = None  # place in the history of the token that is likely next
        self._taken = 0  # tokens of the answer that are in the history
        self._length = MAX_DRAFT  # tokens of the next guess
        for token in (*sequence.likely, *sequence.prompt.input_ids):
            self._push(token)

    def guess(self) -> list[int]:
        """Up to MAX_DRAFT next tokens; few after bad guesses."""
        tokens = self._sequence.tokens
        for token in tokens[self._taken :]:
            self._follow(token)
        self._taken = len(tokens)
        if self._at is None:
            self._at = self._ends.get(tuple(self._history[-GRAM:]))
        room = min(self._length, self._sequence.max_tokens - len(tokens) - 1)
        return [] if self._at is None else self._history[self._at : self._at + max(0, room)]

    def _follow(self, token: int) -> None:
        """Take a token of the answer; as long as it is the one that followed before, so will be the next."""
        self._at = self._at + 1 if self._at is not None and self._history[self._at] == token else None
        self._push(token)

    def learn(self, guessed: int, accepted: int) -> None:
        self._length = min(MAX_DRAFT, 2 * accepted + 1) if guessed else self._length

    def _push(self, token: int) -> None:
        """Add a token; the gram before it is complete now, and known to be followed by it."""
        if len(self._history) >= GRAM:
            self._ends[tuple(self._history[-GRAM:])] = len(self._history)
        self._history.append(token)


class Drafts:
    """Guesses for the sequences of a batch, where they pay: by the times of steps and by how many were right."""

    def __init__(self) -> None:
        self._of: dict[Sequence, Draft] = {}
        self._seconds: dict[int, float] = {}  # rows of a step -> its average time
        self._right = 1.0  # average share of guessed tokens that were right
        self._without = 0  # steps since guesses were last tried

    def guess(self, sequences: abc.Sequence[Sequence], rows: int) -> list[list[int]]:
        """Next tokens of each sequence, none where guesses do not pay; at most MAX_DRAFT + 1 rows with all others.

        `rows`: of the step without guesses. Where a structure leaves but one way on, that is the guess.
        """
        self._of = {one: self._of.get(one) or Draft(one) for one in sequences}
        room = MAX_DRAFT + 1 - rows
        guessed: list[list[int]] = []
        for sequence in sequences:
            tokens = self._of[sequence].guess()[: max(0, room)]
            if sequence.grammar is not None and room > 0:
                tokens = sequence.grammar.guess(tokens, min(room, sequence.max_tokens - len(sequence.tokens) - 1))
            guessed.append(tokens)
            room -= len(tokens)
        if self._pay(rows, sum(map(len, guessed))):
            return guessed
        return [[] for _ in sequences]

    def learn(self, sequences: abc.Sequence[Sequence], guessed: abc.Sequence[int], accepted: abc.Sequence[int]) -> None:
        """How many tokens were guessed for each sequence, and how many of them were right."""
        for sequence, count, right in zip(sequences, guessed, accepted, strict=True):
            if sequence in self._of:
                self._of[sequence].learn(count, right)
        if total := sum(guessed):
            self._right += AVERAGED * (sum(accepted) / total - self._right)

    def observe(self, rows: int, seconds: float) -> None:
        """What a step of so many rows took."""
        known = self._seconds.get(rows, seconds)
        self._seconds[rows] = known + AVERAGED * (seconds - known)

    def _pay(self, rows: int, guessed: int) -> bool:
        if not guessed:
            return False
        plain, wide = self._seconds.get(rows), self._seconds.get(rows + guessed)
        gain = (rows + self._right * guessed) / rows
        if plain is None or wide is None or gain * plain >= PAYS * wide or self._without >= RETRY_STEPS:
            self._without = 0
            return True
        self._without += 1
        return False
