"""Requests -> what the engine works on: model input, grammars, sequences, token ids.

Called from any thread, once the checkpoint is loaded. Knows the processor and the structures; neither queues nor steps.
"""

from collections import abc
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from PIL import Image

from engine.detokenizer import Detokenizer, token_bytes
from engine.errors import InvalidRequest
from engine.request import Grammar, Job, SamplingParams, Sequence, TokenEvent
from models.protocol import BlockLimits, InputError, InputProcessor, ModelInput, PixelBounds

if TYPE_CHECKING:
    from engine.structured import Structures


class Preparation:
    """The maker of sequences: turns requests into model input, for one checkpoint and one context length."""

    def __init__(
        self,
        processor: InputProcessor,
        structures: "Structures",
        max_model_len: int,
        *,
        max_image_pixels: int,
        trial_text: str,
    ) -> None:
        """`max_image_pixels`: of the largest image that memory holds; larger ones are scaled down to it.

        `trial_text`: a prompt that the model knows, for `trial`.
        """
        self._processor = processor
        self._structures = structures
        self._max_model_len = max_model_len
        self._max_image_pixels = max_image_pixels
        self._trial_text = trial_text

    def close(self) -> None:
        self._structures.shutdown()

    @property
    def bounds(self) -> PixelBounds:
        """The checkpoint's own bounds on image sizes."""
        return self._processor.bounds

    @property
    def block_limits(self) -> BlockLimits:
        """How the checkpoint reads the blocks of a page best."""
        return self._processor.block_limits

    def _held(self, images: abc.Sequence[Image.Image], bounds: abc.Sequence[PixelBounds] | None) -> list[PixelBounds]:
        """The bounds of each image, lowered to what memory holds."""
        asked = bounds or [self.bounds] * len(images)
        return [PixelBounds(*(min(pixels, self._max_image_pixels) for pixels in own)) for own in asked]

    @property
    def defaults(self) -> SamplingParams:
        """The sampling defaults of the checkpoint's generation_config."""
        own = self._processor.generation
        penalty = own.repetition_penalty or 1.0
        if not own.do_sample:
            return SamplingParams(repetition_penalty=penalty)
        return SamplingParams(
            temperature=1.0 if own.temperature is None else own.temperature,
            top_p=1.0 if own.top_p is None else own.top_p,
            top_k=own.top_k or 0,
            min_p=own.min_p or 0.0,
            repetition_penalty=penalty,
        )

    def pixel_bytes(self, images: abc.Sequence[Image.Image], bounds: abc.Sequence[PixelBounds] | None) -> int:
        """Bytes of the model input of images; 0 where it cannot be made, for which `prompt` gives the reason."""
        try:
            return self._processor.pixel_bytes(images, self._held(images, bounds))
        except InputError:
            return 0

    def prompt(
        self,
        messages: abc.Sequence[dict[str, Any]],
        images: abc.Sequence[Image.Image],
        bounds: abc.Sequence[PixelBounds] | None = None,
    ) -> ModelInput:
        """The model input; it leaves room for an answer. Raises InvalidRequest."""
        self._check_length(messages)
        try:
            prompt = self._processor.prepare(messages, images, self._held(images, bounds))
        except InputError as error:
            raise InvalidRequest(str(error), "messages") from error
        length, limit = len(prompt.input_ids), self._max_model_len
        if length >= limit:
            raise InvalidRequest(
                f"the prompt has {length} tokens, images included; this model's context is {limit} tokens and must "
                "leave room for an answer: send fewer or smaller images, or less text",
                "messages",
            )
        return prompt

    def _check_length(self, messages: abc.Sequence[dict[str, Any]]) -> None:
        """Refuse what cannot fit, before a tokenizer spends a minute on megabytes. Raises InvalidRequest."""
        limit = self._max_model_len
        characters = sum(len(part.get("text", "")) for message in messages for part in message["content"])
        if characters > limit * self._processor.longest_token or len(messages) > limit:
            raise InvalidRequest(
                f"the prompt has {len(messages)} messages of {characters} characters together, more than this model's "
                f"context of {limit} tokens can hold",
                "messages",
            )

    def grammars(self, params: abc.Sequence[SamplingParams]) -> list[Grammar | None]:
        """The grammar of each answer, None for an answer without a structure. Raises InvalidRequest."""
        for own in params:
            self._check_ids(own.logit_bias, "logit_bias")
        return [self._structures.compile(own.structure) if own.structure else None for own in params]

    def sequence(
        self,
        prompt: ModelInput,
        params: SamplingParams,
        *,
        grammar: Grammar | None,
        job: Job,
        deliver: Callable[[TokenEvent], None],
        loop: object,
        image_bytes: int = 0,
    ) -> Sequence:
        """One answer to a prompt. Its events go to `deliver` on `loop`; `image_bytes` are the job's until prefill."""
        room = self._max_model_len - len(prompt.input_ids)
        max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        text = Detokenizer(
            self._processor.tokenizer,
            params.stop,
            skip_special_tokens=params.skip_special_tokens,
            min_tokens=params.min_tokens,
        )
        return Sequence(
            prompt=prompt,
            params=params,
            max_tokens=max_tokens,
            text=text,
            end_tokens=self._processor.eos_token_ids,
            deliver=deliver,
            loop=loop,
            grammar=grammar,
            job=job,
            follows=job.begun,
            image_bytes=image_bytes,
        )

    def trial(self) -> Sequence:
        """A small request of the engine's own, whose events are discarded."""
        prompt = self.prompt(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": self._trial_text}]}],
            [Image.new("RGB", (56, 28), "white")],
            [self.bounds._replace(min_pixels=1)],  # scaled up to the model's minimum, it would take a second
        )
        return self.sequence(prompt, SamplingParams(), grammar=None, job=Job(), deliver=lambda _: None, loop=None)

    def encode(self, text: str) -> list[int]:
        """Token ids of a bare text."""
        ids: list[int] = self._processor.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, tokens: abc.Sequence[int]) -> str:
        """The text of token ids, control tokens included. Raises InvalidRequest."""
        self._check_ids(tokens, "tokens")
        text: str = self._processor.tokenizer.decode(list(tokens), skip_special_tokens=False)
        return text

    def token_bytes(self, token: int) -> bytes:
        """UTF-8 bytes that a token contributes to the text; empty for one that the tokenizer does not know."""
        return token_bytes(self._processor.tokenizer, token)

    def _check_ids(self, ids: Iterable[int], param: str) -> None:
        size = self._processor.config.text_config.vocab_size
        wrong = next((token for token in ids if not 0 <= token < size), None)
        if wrong is not None:
            raise InvalidRequest(f"{param} names the token {wrong}; this model's are 0 to {size - 1}", param)
