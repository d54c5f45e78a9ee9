"""A prompt of an answer before it is in the engine's queue, and how an image of text is read in parts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from PIL import Image

from answers.parts import JoinedParts
from engine.engine import Engine
from engine.handles import Generation, Hold
from engine.request import SamplingParams
from images.loading import decoded_bytes
from layout.crops import padded
from layout.parts import parts_of
from models.paddleocr_vl.images import MAX_ASPECT
from models.protocol import PixelBounds
from modes.choose import Prompt

Submitted = Generation | JoinedParts


@dataclass(frozen=True)
class StraightImage:
    """An image that was turned upright or flattened before it was read."""

    size: tuple[int, int]  # width and height afterwards
    angle: int  # degrees, counter-clockwise, by which it was turned


@dataclass(kw_only=True)
class PendingPrompt:
    """A prompt with its sampling, whose images are opened when it is submitted."""

    prompt: Prompt
    params: Sequence[SamplingParams]  # one for each choice
    bounds: Sequence[PixelBounds]  # one for each image
    reused: bool = False  # it is submitted more than once, so its images stay in memory
    divisible: bool = False  # its image may be read in parts, where the checkpoint reads few lines at once
    orient: bool = False  # its images are turned upright
    unwarp: bool = False  # ... and flattened
    image_sizes: list[tuple[int, int]] = field(default_factory=list)  # (width, height) of each image, as it is read
    angles: list[int] = field(default_factory=list)  # degrees, counter-clockwise, by which each was turned upright

    async def submit(self, engine: Engine, hold: Hold, params: Sequence[SamplingParams]) -> list[Submitted]:
        """Queue one generation for each of `params`. Raises ImageError, EngineError."""
        async with hold.turn():
            images = await self._open()
        drawn = [image for image, source in zip(images, self.prompt.images, strict=True) if source.page]
        hold.reserve_bytes(sum(map(decoded_bytes, drawn)))  # other images are counted from their decoding on
        if self.orient or self.unwarp:
            images = await self._straightened(engine, hold, images)
        generations = await self._submit(engine, hold, params, await self._parts(engine, images))
        if not self.reused:
            self.prompt = replace(self.prompt, images=[])
        return generations

    async def _straightened(self, engine: Engine, hold: Hold, images: list[Image.Image]) -> list[Image.Image]:
        """The images upright and flat, which a further question is about as well."""
        made = await engine.upright(images, orient=self.orient, unwarp=self.unwarp, hold=hold)
        self.angles = [one.angle for one in made]
        self.image_sizes = [one.image.size for one in made]
        self.orient = self.unwarp = False
        sources = [
            replace(source, open=partial(Image.Image.copy, one.image), page=False)
            for source, one in zip(self.prompt.images, made, strict=True)
        ]
        self.prompt = replace(self.prompt, images=sources)
        return [one.image for one in made]

    async def _submit(
        self, engine: Engine, hold: Hold, params: Sequence[SamplingParams], parts: Sequence[Sequence[Image.Image]]
    ) -> list[Submitted]:
        """`parts`: the images of the prompt, or those of each part of its image."""
        submitted: list[list[Generation]] = []
        try:
            for images in parts:
                own = await engine.submit_all(self.prompt.messages, images, params, self.bounds, hold)
                submitted.append(own)
        except BaseException:
            for generation in chain.from_iterable(submitted):
                generation.abort()
            raise
        if len(submitted) == 1:
            return list(submitted[0])
        choices = zip(*submitted, strict=True)
        return [JoinedParts(choice, own.max_tokens) for choice, own in zip(choices, params, strict=True)]

    async def _parts(self, engine: Engine, images: list[Image.Image]) -> list[list[Image.Image]]:
        if not self.divisible or engine.block_limits.lines is None:
            return [images]

        def cut(image: Image.Image) -> list[list[Image.Image]]:
            return [[padded(part, MAX_ASPECT)] for part in parts_of(image.convert("RGB"), "ocr", engine.block_limits)]

        return await asyncio.to_thread(cut, images[0])

    async def token_ids(self, engine: Engine) -> list[int]:
        """Token ids of the prompt, image placeholders included. Raises ImageError, EngineError."""
        return await engine.tokenize(self.prompt.messages, await self._open(), self.bounds)

    def followed_by(self, *turns: tuple[str, str]) -> "PendingPrompt":
        """The same conversation continued by turns of (role, text)."""
        more = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
        prompt = replace(self.prompt, messages=[*self.prompt.messages, *more])
        return replace(self, prompt=prompt, image_sizes=[], angles=[], divisible=False)

    async def _open(self) -> list[Image.Image]:
        images = [await asyncio.to_thread(image.open) for image in self.prompt.images]
        self.image_sizes = [image.size for image in images]
        return images
