"""Reads prompts in slices: pictures through the vision tower, then all tokens of a few prompts in one decoder pass."""

import time
from collections.abc import Sequence as List
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from engine.kv_cache import KVCache
from engine.launches import Stopwatch, to_device
from engine.prefix_cache import PictureCache
from engine.request import Sequence
from engine.totals import Totals
from models.paddleocr_vl.attention import prefill_attention
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import ModelInput
from models.paddleocr_vl.rope import Grid
from models.paddleocr_vl.slices import Result, Sliced


@dataclass(frozen=True)
class Picture:
    prompt: ModelInput
    index: int  # among the prompt's pictures

    @property
    def key(self) -> bytes:
        return self.prompt.picture_keys[self.index]

    @property
    def grid(self) -> Grid:
        return self.prompt.grids[self.index]

    @property
    def patches(self) -> Tensor:
        """(N, channels, patch, patch) fp32, on the CPU."""
        return torch.from_numpy(self.prompt.pixels_of(self.index))


class Prefill:
    def __init__(
        self, model: PaddleOCRVL, cache: KVCache, pictures: PictureCache, most_patches: int, rows: int
    ) -> None:
        """The vision tower takes `most_patches` at once (or one picture), in slices of at most `rows`."""
        self.model, self.cache, self.pictures = model, cache, pictures
        self.most_patches, self.rows = most_patches, rows
        self.totals = Totals()

    def read(self, sequences: List[Sequence]) -> Sliced[Tensor]:
        """Read what the slots do not hold yet of some prompts; logits of their last tokens, (B, vocabulary), fp32."""
        prompts = [prompt_of(sequence) for sequence in sequences]
        starts = [sequence.reused for sequence in sequences]
        slots = [sequence.slot for sequence in sequences]
        device = self.cache.entries.device
        read = [p.input_ids[:start].count(self.model.image_token_id) for p, start in zip(prompts, starts, strict=True)]
        ahead = [pictures_ahead(prompt, cells) for prompt, cells in zip(prompts, read, strict=True)]
        wanted = [picture for pictures, _ in ahead for picture in pictures]
        shown = sum(len(prompt.cells) for prompt in prompts)
        self.totals.pictures += shown
        self.totals.picture_hits += shown - len(wanted)  # the slots hold them
        features = yield from self._features(wanted)
        now = time.monotonic()
        for sequence in sequences:
            sequence.encoded_at = now
        inputs = []
        for prompt, start, (pictures, left) in zip(prompts, starts, ahead, strict=True):
            own = [features[picture.key] for picture in pictures]
            own[:1] = [first[-left:] for first in own[:1]]
            inputs.append(self.model.embed(to_device(torch.tensor(prompt.input_ids[start:]), device), own))
        ends = list(accumulate(map(len, inputs)))
        spans = [slice(end - len(x), end) for x, end in zip(inputs, ends, strict=True)]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            outputs = []
            for slot, start, span in zip(slots, starts, spans, strict=True):
                assert slot is not None
                keys, values = self.cache.write_prompt(layer, slot, start, kv[span])
                outputs.append(prefill_attention(q[span], keys, values))
            return torch.cat(outputs)

        positions = torch.cat([p.positions[:, start:] for p, start in zip(prompts, starts, strict=True)], dim=1)
        hidden_states = yield from self.model.decode_sliced(torch.cat(inputs), to_device(positions, device), attend)
        return self.model.logits(hidden_states[[end - 1 for end in ends]])

    def _features(self, wanted: List[Picture]) -> Sliced[dict[bytes, Tensor]]:
        """Features of pictures by their keys, (cells, hidden): those that are kept, and the others made, each once."""
        found = {picture.key: self.pictures.find(picture.key) for picture in wanted}
        known = {key: features for key, features in found.items() if features is not None}
        missing = list({picture.key: picture for picture in wanted if picture.key not in known}.values())
        self.totals.picture_hits += len(wanted) - len(missing)
        while missing:
            ends = list(accumulate(rows * columns for rows, columns in (picture.grid for picture in missing)))
            count = max(1, sum(end <= self.most_patches for end in ends))
            batch, missing = missing[:count], missing[count:]
            pixels = to_device(torch.cat([picture.patches for picture in batch]), self.cache.entries.device)
            self.totals.picture_pixels += pixels.numel() // pixels.shape[1]  # a pixel has several channels
            work = self.model.encode_sliced(pixels, [picture.grid for picture in batch], self.rows)
            encoded = yield from self._timed(work)
            for picture, features in zip(batch, encoded, strict=True):
                self.pictures.keep(picture.key, features)
                known[picture.key] = features
        return known

    def _timed(self, work: Sliced[Result]) -> Sliced[Result]:
        """The same, its time among the totals: what the device works, not what passes between the slices."""
        watch = Stopwatch(self.cache.entries.device)
        try:
            while True:
                with watch:
                    next(work)
                yield
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:  # also where nobody goes on with it
            self.totals.vision_seconds += watch.seconds()


def prompt_of(sequence: Sequence) -> ModelInput:
    assert isinstance(sequence.prompt, ModelInput)
    return sequence.prompt


def pictures_ahead(prompt: ModelInput, read: int) -> tuple[list[Picture], int]:
    """The pictures of a prompt that have cells behind its first `read`, and how many of the first one's those are."""
    ends = list(accumulate(prompt.cells))
    pictures = [Picture(prompt, index) for index, end in enumerate(ends) if end > read]
    return pictures, ends[pictures[0].index] - read if pictures else 0
