"""Prefills prompts in slices: images through the vision tower, then all tokens of a few prompts in one decoder pass."""

import time
from collections import abc
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from engine.encode import Encode
from engine.image_cache import ImageCache
from engine.kv_cache import KVCache
from engine.launches import Stopwatch, to_device
from engine.request import Sequence
from engine.stats import Totals
from models.paddleocr_vl.attention import prefill_attention
from models.paddleocr_vl.slices import parts
from models.protocol import Attend, Grid, ModelInput, Network, Result, Sliced


@dataclass(frozen=True)
class PromptImage:
    """One image of a prompt."""

    prompt: ModelInput
    index: int  # among the prompt's images

    @property
    def key(self) -> bytes:
        return self.prompt.image_keys[self.index]

    @property
    def grid(self) -> Grid:
        return self.prompt.grids[self.index]

    @property
    def patches(self) -> Tensor:
        """(N, channels, patch, patch) fp32, on the CPU."""
        return torch.from_numpy(self.prompt.pixels_of(self.index))


class Prefill:
    """The prefill stage: computes what slots lack of new prompts, and the logits of their first tokens."""

    def __init__(
        self,
        *,
        model: Network,
        cache: KVCache,
        images: ImageCache,
        encode: Encode,
        max_patches: int,
        chunk: int,
    ) -> None:
        """The vision tower runs on at most `max_patches` at once, or one image.

        The decoder runs on at most `chunk` tokens of a prompt at once, and on a group of prompts as a whole.
        """
        self.model, self.cache, self.images, self.encode = model, cache, images, encode
        self.max_patches, self.chunk = max_patches, chunk
        self.totals = Totals()
        self._lap: Stopwatch | None = None  # the vision tower's, since other work came between
        self._laps: list[Stopwatch] = []  # those whose time is not in the totals yet

    def run_sliced(self, sequences: abc.Sequence[Sequence]) -> Sliced[Tensor]:
        """Write the rest of some prompts to their slots; logits of their last tokens, (B, vocabulary), fp32."""
        prompts = [sequence.prompt for sequence in sequences]
        starts = [sequence.reused for sequence in sequences]
        slots = [sequence.slot for sequence in sequences]  # as they are now: one that is aborted meanwhile has none
        device = self.cache.entries.device
        done = [p.input_ids[:start].count(self.model.image_token_id) for p, start in zip(prompts, starts, strict=True)]
        remaining = [remaining_images(prompt, image_tokens) for prompt, image_tokens in zip(prompts, done, strict=True)]
        wanted = [image for images, _ in remaining for image in images]
        total = sum(len(prompt.image_tokens) for prompt in prompts)
        self.totals.images += total
        self.totals.image_hits += total - len(wanted)  # the slots hold them
        features = yield from self._features(wanted)
        now = time.monotonic()
        for sequence in sequences:
            sequence.encoded_at = now
        inputs = []
        for prompt, start, (images, left) in zip(prompts, starts, remaining, strict=True):
            own = [features[image.key] for image in images]
            own[:1] = [first[-left:] for first in own[:1]]
            inputs.append(self.model.embed(to_device(torch.tensor(prompt.input_ids[start:]), device), own))
        positions = torch.cat([p.positions[:, start:] for p, start in zip(prompts, starts, strict=True)], dim=1)
        lengths = list(map(len, inputs))
        x, positions = torch.cat(inputs), to_device(positions, device)
        inputs.clear()  # a long prompt's take memory that the decoder may need
        for part in parts(len(x), self.chunk if len(lengths) == 1 else None):
            lengths = [part.stop - part.start] if len(lengths) == 1 else lengths
            attend = self._attend(slots, [start + part.start for start in starts], lengths)
            hidden_states = yield from self.model.decode_sliced(x[part], positions[:, part], attend)
        # A list as an index would be copied to the device in a way that waits for all that was launched.
        last = to_device(torch.tensor(list(accumulate(lengths))) - 1, device)
        return self.model.logits(hidden_states.index_select(0, last))

    def _attend(self, slots: abc.Sequence[int | None], starts: abc.Sequence[int], lengths: abc.Sequence[int]) -> Attend:
        """Attention of the next `lengths` tokens of some prompts, whose first `starts` are in their slots already."""
        spans = [slice(end - length, end) for end, length in zip(accumulate(lengths), lengths, strict=True)]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            outputs = []
            for slot, start, span in zip(slots, starts, spans, strict=True):
                assert slot is not None
                keys, values = self.cache.write_prompt(layer, slot, start, kv[span])
                outputs.append(prefill_attention(q[span], keys, values))
            return torch.cat(outputs)

        return attend

    def _features(self, wanted: abc.Sequence[PromptImage]) -> Sliced[dict[bytes, Tensor]]:
        """Features of images by key, (image tokens, hidden): from the cache, or computed, each image once."""
        found = {image.key: self.images.find(image.key) for image in wanted}
        known = {key: features for key, features in found.items() if features is not None}
        missing = list({image.key: image for image in wanted if image.key not in known}.values())
        self.totals.image_hits += len(wanted) - len(missing)
        while missing:
            ends = list(accumulate(rows * columns for rows, columns in (image.grid for image in missing)))
            count = max(1, sum(end <= self.max_patches for end in ends))
            batch, missing = missing[:count], missing[count:]
            pixels = batch[0].patches if len(batch) == 1 else torch.cat([image.patches for image in batch])
            pixels = to_device(pixels, self.cache.entries.device)
            self.totals.image_pixels += pixels.numel() // pixels.shape[1]  # a pixel has several channels
            work = self.encode.run_sliced(pixels, [image.grid for image in batch])
            encoded = yield from self._timed(work)
            for image, features in zip(batch, encoded, strict=True):
                self.images.add(image.key, features)
                known[image.key] = features
        return known

    def _timed(self, work: Sliced[Result]) -> Sliced[Result]:
        """The same work; the time that the device spends on it, not that of pauses, is added to the totals."""
        try:
            while True:
                if self._lap is None:
                    self._lap = Stopwatch(self.cache.entries.device)
                    self._lap.start()
                next(work)
                yield
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:  # also where the work is abandoned
            self.pause()

    def pause(self) -> None:
        """Other work comes next, which is not the vision tower's."""
        if self._lap is not None:
            self._lap.stop()
            self._laps.append(self._lap)
            self._lap = None
        self.add_times()

    def add_times(self) -> None:
        """Add to the totals what the device has finished, without waiting for the rest."""
        while self._laps and self._laps[0].finished:
            self.totals.vision_seconds += self._laps.pop(0).seconds()


def remaining_images(prompt: ModelInput, done: int) -> tuple[list[PromptImage], int]:
    """Images with tokens after the prompt's first `done` image tokens, and how many of the first image's those are."""
    ends = list(accumulate(prompt.image_tokens))
    images = [PromptImage(prompt, index) for index, end in enumerate(ends) if end > done]
    return images, ends[images[0].index] - done if images else 0
