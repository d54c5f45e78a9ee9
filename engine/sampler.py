"""Logits -> tokens and their log probabilities. One transfer to the host for the whole batch, where all are greedy."""

from collections.abc import Sequence as List

import torch
from torch import Tensor

from engine.request import Grammar, Sequence, Token


@torch.inference_mode()
def sample(logits: Tensor, sequences: List[Sequence]) -> list[Token | None]:
    """The next token of every sequence, or None where its logits hold NaN or infinity.

    logits: (B, vocabulary), fp32. Each sequence draws from its own generator, so a seeded answer does not depend on
    what else runs.
    """
    tokens = logits.argmax(dim=-1)
    reach = logits.logsumexp(dim=-1)
    allowed = reach.clone()  # the same over the tokens that a structure allows
    for row, sequence in enumerate(sequences):
        own = masked = logits[row]
        if sequence.grammar is not None:
            masked = mask(own, sequence.grammar)
            allowed[row] = masked.logsumexp(dim=-1)
        adjusted = adjust(masked, sequence)
        if not sequence.params.greedy:
            tokens[row] = draw(adjusted, sequence)
        elif adjusted is not own:
            tokens[row] = adjusted.argmax()
    picked = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
    finite = logits.isfinite().all(dim=-1)
    columns = torch.stack([x.double() for x in (tokens, picked - reach, picked - allowed, finite)]).tolist()
    return [
        Token(int(token), logprob, likeliest(logits[row], sequence), share) if good else None
        for row, (sequence, token, logprob, share, good) in enumerate(zip(sequences, *columns, strict=True))
    ]


def mask(logits: Tensor, grammar: Grammar) -> Tensor:
    """The logits of the tokens that may come next, the others -inf; logits: (vocabulary,)."""
    allowed = torch.from_numpy(grammar.mask()).to(logits.device)
    return logits.masked_fill(~allowed, float("-inf"))


def likeliest(logits: Tensor, sequence: Sequence) -> tuple[tuple[int, float], ...]:
    """The `top_logprobs` likeliest tokens with their log probabilities; logits: (vocabulary,)."""
    if not sequence.params.top_logprobs:
        return ()
    values, ids = logits.log_softmax(dim=-1).topk(min(sequence.params.top_logprobs, len(logits)))
    return tuple(zip(ids.tolist(), values.tolist(), strict=True))


def adjust(logits: Tensor, sequence: Sequence) -> Tensor:
    """The logits with the bias and penalties of a request, in vLLM's order; logits: (vocabulary,), masked."""
    params = sequence.params
    if params.logit_bias:
        ids, biases = list(params.logit_bias), list(params.logit_bias.values())
        index = torch.tensor(ids, device=logits.device)
        logits = logits.index_add(0, index, torch.tensor(biases, dtype=logits.dtype, device=logits.device))
    if len(sequence.tokens) < params.min_tokens:
        ends = torch.tensor(sorted(sequence.end_tokens), device=logits.device)
        logits = logits.index_fill(0, ends, float("-inf"))
    return penalise(logits, sequence) if params.penalised else logits


def penalise(logits: Tensor, sequence: Sequence) -> Tensor:
    """The repetition penalty (Keskar et al. 2019, arXiv:1909.05858) over all, OpenAI's two over the answer."""
    params = sequence.params
    answer = torch.tensor(sequence.tokens, dtype=torch.int64, device=logits.device)
    seen = torch.cat((torch.tensor(sequence.prompt.input_ids, device=logits.device), answer)).unique()
    scores = logits[seen]
    logits = logits.clone()
    logits[seen] = torch.where(scores > 0, scores / params.repetition_penalty, scores * params.repetition_penalty)
    counts = answer.bincount(minlength=len(logits))
    return logits - params.frequency_penalty * counts - params.presence_penalty * (counts > 0)


def draw(logits: Tensor, sequence: Sequence) -> Tensor:
    """One token by temperature, then min-p, top-k and top-p, as vLLM orders them; logits: (vocabulary,)."""
    params = sequence.params
    ordered, indices = (logits / params.temperature).sort(descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    probabilities = probabilities.masked_fill(probabilities < params.min_p * probabilities[0], 0.0)
    if params.top_k:
        probabilities = probabilities[: params.top_k]
    probabilities = probabilities / probabilities.sum()
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= params.top_p, 0.0)
    reach = probabilities.cumsum(dim=-1)
    chosen = torch.searchsorted(reach, sequence.random.random() * reach[-1], right=True)
    return indices[chosen.clamp(max=len(probabilities) - 1)]
