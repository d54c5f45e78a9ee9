"""A scheduled step -> tensors -> logits. The only place where the model and the cache meet."""

import logging
from collections.abc import Sequence as List
from functools import partial
from itertools import accumulate

import numpy as np
import psutil
import torch
from torch import Tensor

from engine.config import EngineConfig
from engine.device import choose_device, choose_dtype, plan_slots
from engine.errors import GenerationFailed
from engine.kv_cache import KVCache, bytes_per_token
from engine.prefix_cache import PictureCache
from engine.request import Sequence, Token
from engine.sampler import sample
from engine.scheduler import Step
from models.paddleocr_vl.attention import decode_attention, prefill_attention
from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import ModelInput, Processor
from models.paddleocr_vl.weights import load_model

logger = logging.getLogger(__name__)


class ModelRunner:
    def __init__(self, config: EngineConfig, processor: Processor) -> None:
        """Loads the weights and takes the cache's memory. Raises CheckpointError, DeviceError."""
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(config.dtype, self.device, processor.config.text_config)
        self.model: PaddleOCRVL = load_model(config.model, processor.config, self.device, self.dtype)
        text = processor.config.text_config
        bytes_per_slot = config.max_model_len * bytes_per_token(text, self.dtype)
        self.slots = config.slots or plan_slots(self.device, bytes_per_slot, config.picture_cache_bytes)
        self.cache = KVCache(text, self.slots, config.max_model_len, self.device, self.dtype)
        self.pictures = PictureCache(config.picture_cache_bytes)

    def run(self, step: Step) -> list[tuple[Sequence, Token | GenerationFailed]]:
        """The next token, or the failure, of every sequence of a step."""
        outcomes: list[tuple[Sequence, Token | GenerationFailed]] = []
        for sequence in (*step.decode, *([step.prefill] if step.prefill else [])):
            if sequence.grammar is not None:
                sequence.grammar.begin_mask()
        if step.prefill is not None:
            try:
                outcomes += self._sampled([step.prefill], self.prefill(step.prefill))
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                logger.warning("A prompt of %d tokens did not fit: %s", len(step.prefill.prompt.input_ids), error)
                message = "the device ran out of memory while reading the prompt; send a smaller picture"
                outcomes.append((step.prefill, GenerationFailed(message)))
        if step.decode:
            outcomes += self._sampled(step.decode, self.decode(step.decode))
        return outcomes

    def _sampled(self, sequences: List[Sequence], logits: Tensor) -> list[tuple[Sequence, Token | GenerationFailed]]:
        failure = "the model's output is not finite; try DTYPE=float32"
        tokens = sample(logits, sequences)
        return [(s, token or GenerationFailed(failure)) for s, token in zip(sequences, tokens, strict=True)]

    def memory_used_mb(self) -> float:
        """MiB that the model and its cache hold: of the GPU's memory, or this process's resident memory on a CPU."""
        if self.device.type == "cuda":
            used = torch.cuda.memory_allocated(self.device)
        else:
            used = psutil.Process().memory_info().rss
        return round(used / 2**20, 1)

    @torch.inference_mode()
    def prefill(self, sequence: Sequence) -> Tensor:
        """Read what the slot does not hold yet of a prompt; logits of its last token, (1, vocabulary)."""
        prompt, slot, start = sequence.prompt, sequence.slot, sequence.reused
        assert isinstance(prompt, ModelInput)
        assert slot is not None

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return prefill_attention(q, *self.cache.write_prompt(layer, slot, start, k, v))

        x = self.model.embed(torch.tensor(prompt.input_ids[start:], device=self.device), self._features(prompt, start))
        hidden = self.model.decode(x, prompt.positions[:, start:].to(self.device), attend)
        return self.model.logits(hidden[-1:])

    def _features(self, prompt: ModelInput, start: int) -> list[Tensor]:
        """Features of the pictures' cells from token `start` on: (cells, hidden) of each picture that has any there."""
        read = prompt.input_ids[:start].count(self.model.image_token_id)
        ends = list(accumulate(prompt.cells))
        ahead = [picture for picture, end in enumerate(ends) if end > read]
        if not ahead:
            return []
        keys = [prompt.picture_keys[picture] for picture in ahead]
        first, *others = self.pictures.features(keys, partial(self._encode, prompt))
        left = ends[ahead[0]] - read  # of the first one's cells, where the slot holds some
        return [first[-left:], *others]

    def _encode(self, prompt: ModelInput, keys: List[bytes]) -> list[Tensor]:
        """Features of the prompt's pictures of these keys, all in one run of the vision tower."""
        pictures = [prompt.picture_keys.index(key) for key in keys]
        pixels = np.concatenate([prompt.pixels_of(picture) for picture in pictures])
        grids = [prompt.grids[picture] for picture in pictures]
        return self.model.encode(torch.from_numpy(pixels).to(self.device), grids)

    @torch.inference_mode()
    def decode(self, sequences: List[Sequence]) -> Tensor:
        """Read the newest token of every sequence; logits (B, vocabulary)."""
        slots = [sequence.slot for sequence in sequences if sequence.slot is not None]
        lengths = [sequence.cached + 1 for sequence in sequences]  # with the token that this step reads
        table = torch.tensor(
            [[s.tokens[-1], s.position, slot, n - 1] for s, slot, n in zip(sequences, slots, lengths, strict=True)],
            device=self.device,
        )
        tokens, positions, slot_index, at = table.unbind(1)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.cache.append(layer, slot_index, at, k, v)
            views = [self.cache.read(layer, slot, n) for slot, n in zip(slots, lengths, strict=True)]
            return decode_attention(q, [keys for keys, _ in views], [values for _, values in views])

        hidden = self.model.decode(self.model.embed(tokens), positions.expand(3, -1), attend)
        return self.model.logits(hidden)
