"""The engine's present load and what it has done since its model was ready: plain numbers for an observer."""

from collections import abc
from dataclasses import dataclass


@dataclass
class Totals:
    """Counts since the model was ready. Written on the engine's thread only."""

    prompt_tokens: int = 0  # in prefilled prompts, including image tokens and those found in the prefix cache
    generation_tokens: int = 0
    repetition_cuts: int = 0  # answers that were ended because they fell into a loop
    images: int = 0  # images of prompts whose prefill began
    image_hits: int = 0  # images that the vision tower did not have to encode again
    image_pixels: int = 0  # pixels that the vision tower encoded
    vision_seconds: float = 0.0  # time that it needed for them
    pages: int = 0  # pages that layout, orientation and unwarping networks looked at, each network counted
    page_seconds: float = 0.0  # time that they needed for them


@dataclass(frozen=True, kw_only=True)
class Stats:
    """The engine's load at one moment, and its totals."""

    running: int  # requests with a slot
    waiting: int  # requests without one, including those whose images are still fetched or prepared
    waiting_bytes: int  # memory of the images of waiting requests
    free_slots: int
    cache_usage: float  # share of the slots in use: each holds one request, however long
    image_cache_bytes: int
    totals: Totals


@dataclass(frozen=True)
class Report:
    """Outcome of a step, and the engine's load after it."""

    stats: Stats
    queued: abc.Sequence[float] = ()  # seconds that prompts whose prefill began had waited for a slot
    gaps: abc.Sequence[float] = ()  # seconds between each new token and the one before it in its answer
