"""How the engine stands and what it has done since its model was ready: plain numbers for an observer."""

from collections import abc
from dataclasses import dataclass


@dataclass
class Totals:
    """Written on the engine's thread only."""

    prompt_tokens: int = 0  # of prompts that have been read, those of images and of kept beginnings included
    generation_tokens: int = 0
    repetition_cuts: int = 0  # answers that were ended for going round in circles
    images: int = 0  # of prompts whose reading began
    image_hits: int = 0  # of those, the ones that the vision tower did not have to see again
    image_pixels: int = 0  # that the vision tower saw
    vision_seconds: float = 0.0  # that it took


@dataclass(frozen=True)
class Stats:
    running: int
    waiting: int  # for a slot, or for their images to come and be prepared
    waiting_bytes: int  # of the images that they wait with
    free_slots: int
    cache_usage: float  # share of the slots that are taken: each holds one request, however long
    image_cache_bytes: int
    totals: Totals


@dataclass(frozen=True)
class Report:
    """What came of a step, and how the engine stands after it."""

    stats: Stats
    queued: abc.Sequence[float] = ()  # seconds that prompts whose reading began had waited for a slot
    gaps: abc.Sequence[float] = ()  # seconds from each new token, unless it is an answer's first, to the one before
