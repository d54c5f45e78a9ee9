"""Logits -> tokens and their log probabilities, without waiting for the device before they are asked for.

Penalties alone do wait, in `unique` and `bincount`, whose results have sizes that depend on values. They need the
tokens before on the host as well, so no step is launched ahead of them (`depends_on_its_tokens`).
"""

import contextlib
from collections import abc
from typing import NamedTuple

import torch
from torch import Tensor

from engine.launches import Fetched, to_device
from engine.request import Grammar, Sequence, Token


class Best(NamedTuple):
    """What every row of logits needs, whatever its request; (B,) each."""

    tokens: Tensor  # int64
    logsumexp: Tensor  # log of the sum of exp(logits)
    finite: Tensor  # bool: no logit is NaN or infinite


class Picked:
    """The next token of each row of a batch: on the device, and being copied to the host."""

    def __init__(
        self,
        *,
        tokens: Tensor,
        columns: abc.Sequence[Tensor],
        rows: abc.Sequence[int],
        tops: abc.Sequence["Top | None"],
    ) -> None:
        """`tokens` (B,) int64; `columns`: log probabilities, shares and whether logits are finite, (B,) each.

        `rows`: those with a sequence; `tops`: the most likely tokens of each of them.
        """
        self.tokens = tokens
        self._columns = Fetched(torch.stack([column.double() for column in (tokens, *columns)]))
        self._rows = rows
        self._tops = tops

    def on_host(self) -> list[Token | None]:
        """The token of each row with a sequence, None where its logits are not finite. Waits for the device."""
        values = list(zip(*self._columns.tolist(), strict=True))
        picked: list[Token | None] = []
        for row, top in zip(self._rows, self._tops, strict=True):
            token, logprob, share, finite = values[row]
            picked.append(Token(int(token), logprob, top.on_host() if top else (), share) if finite else None)
        return picked


class Top:
    """The most likely tokens of one row with their log probabilities, being copied to the host."""

    def __init__(self, logits: Tensor, count: int) -> None:
        """logits: (vocabulary,)"""
        values, ids = logits.log_softmax(dim=-1).topk(min(count, len(logits)))
        self._values, self._ids = Fetched(values), Fetched(ids)

    def on_host(self) -> tuple[tuple[int, float], ...]:
        return tuple(zip(self._ids.tolist(), self._values.tolist(), strict=True))


def best(logits: Tensor) -> Best:
    """The work that all batches of one size have in common, so a graph can do it; logits: (B, vocabulary), fp32."""
    if logits.device.type == "cpu":
        with contextlib.suppress(RuntimeError, ImportError):
            from models.paddleocr_vl.cpu_logits import find_best  # needs LLVM, which a GPU does without

            return Best(*find_best(logits))
    return Best(logits.argmax(dim=-1), logits.logsumexp(dim=-1), logits.isfinite().all(dim=-1))


@torch.inference_mode()
def pick(logits: Tensor, sequences: abc.Sequence[Sequence | None], found: Best | None = None) -> Picked:
    """The next token of every sequence; None stands for a row without one.

    Several rows of one sequence are neighbours, each after a guess of its token before. logits: (B, vocabulary), fp32;
    `found`: the result of `best` for them, whose tokens are changed in place. Each
    sequence draws from its own generator, so a seeded answer does not depend on what else runs.
    """
    tokens, logsumexp, finite = found or best(logits)
    allowed = logsumexp.clone()  # logsumexp over the tokens that a structure allows
    rows = [row for row, sequence in enumerate(sequences) if sequence is not None]
    tops: list[Top | None] = []
    for row, sequence in enumerate(sequences):
        if sequence is None:
            continue
        own = masked = logits[row]
        if sequence.grammar is not None:
            masked = mask(own, sequence.grammar, row - sequences.index(sequence))
            allowed[row] = masked.logsumexp(dim=-1)
        adjusted = adjust(masked, sequence)
        if not sequence.params.greedy:
            tokens[row] = draw(adjusted, sequence)
        elif adjusted is not own:
            tokens[row] = adjusted.argmax()
        tops.append(Top(own, sequence.params.top_logprobs) if sequence.params.top_logprobs else None)
    picked = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
    return Picked(tokens=tokens, columns=(picked - logsumexp, picked - allowed, finite), rows=rows, tops=tops)


def depends_on_its_tokens(sequence: Sequence) -> bool:
    """The choice of its next token needs the tokens before it on the host."""
    params = sequence.params
    return sequence.grammar is not None or params.penalised or len(sequence.tokens) < params.min_tokens


def can_be_guessed(sequence: Sequence) -> bool:
    """The choice of a token after guessed ones needs nothing of them but what the structure makes of them."""
    return not sequence.params.penalised and len(sequence.tokens) >= sequence.params.min_tokens


def mask(logits: Tensor, grammar: Grammar, ahead: int = 0) -> Tensor:
    """The logits of the tokens that the grammar allows next, the others -inf; logits: (vocabulary,).

    `ahead`: guessed tokens before them.
    """
    allowed = to_device(torch.from_numpy(grammar.mask(ahead)), logits.device)
    return logits.masked_fill(~allowed, float("-inf"))


def adjust(logits: Tensor, sequence: Sequence) -> Tensor:
    """The logits with the bias and penalties of a request, in vLLM's order; logits: (vocabulary,), masked."""
    params = sequence.params
    if params.logit_bias:
        index = to_device(torch.tensor(list(params.logit_bias)), logits.device)
        biases = torch.tensor(list(params.logit_bias.values()), dtype=logits.dtype)
        logits = logits.index_add(0, index, to_device(biases, logits.device))
    if len(sequence.tokens) < params.min_tokens:
        ends = to_device(torch.tensor(sorted(sequence.end_tokens)), logits.device)
        logits = logits.index_fill(0, ends, float("-inf"))
    return penalise(logits, sequence) if params.penalised else logits


def penalise(logits: Tensor, sequence: Sequence) -> Tensor:
    """The repetition penalty over prompt and answer, OpenAI's two penalties over the answer.

    Keskar et al. 2019, arXiv:1909.05858.
    """
    params = sequence.params
    answer = to_device(torch.tensor(sequence.tokens, dtype=torch.int64), logits.device)
    used = torch.cat((to_device(torch.tensor(sequence.prompt.input_ids), logits.device), answer)).unique()
    scores = logits[used]
    logits = logits.clone()
    logits[used] = torch.where(scores > 0, scores / params.repetition_penalty, scores * params.repetition_penalty)
    counts = answer.bincount(minlength=len(logits))
    return logits - params.frequency_penalty * counts - params.presence_penalty * (counts > 0)


def draw(logits: Tensor, sequence: Sequence) -> Tensor:
    """One token by temperature, then min-p, top-k and top-p, as vLLM orders them; logits: (vocabulary,)."""
    params = sequence.params
    ordered, indices = descending(logits / params.temperature, params.top_k)
    probabilities = ordered.softmax(dim=-1)
    probabilities = probabilities.masked_fill(probabilities < params.min_p * probabilities[0], 0.0)
    probabilities = probabilities / probabilities.sum()
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= params.top_p, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    chosen = torch.searchsorted(cumulative, sequence.random.random() * cumulative[-1:], right=True)
    # As an index in brackets it would be read on the host, which would wait for all that was launched.
    return indices.gather(0, chosen.clamp(max=len(probabilities) - 1))[0]


def descending(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest logits (0: all) and their tokens; of equal ones, the lower token first."""
    if not 0 < count < len(logits):
        return logits.sort(descending=True, stable=True)
    # topk, which spares most of the sort, leaves the order of equal ones open. So it gets numbers that are all
    # different: in the upper half the bits of the logit, so arranged that they compare as it does; below, the token.
    bits = (logits + 0.0).view(torch.int32).long()  # + 0.0: of two zeros, the negative one has other bits
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    tokens = torch.arange(len(logits), device=logits.device)
    kept = ((rising << 32) - tokens).topk(count).indices
    return logits.gather(0, kept), kept
