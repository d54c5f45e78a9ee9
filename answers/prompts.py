"""A prompt of an answer before it is in the engine's queue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from engine.engine import Engine
from engine.handles import Generation, Hold
from engine.request import SamplingParams
from images.loading import decoded_bytes
from models.protocol import PixelBounds
from modes.choose import Prompt


@dataclass(kw_only=True)
class PendingPrompt:
    """A prompt with its sampling, whose images are opened when it is submitted."""

    prompt: Prompt
    params: Sequence[SamplingParams]  # one for each choice
    bounds: Sequence[PixelBounds]  # one for each image
    reused: bool = False  # it is submitted more than once, so its images stay in memory
    image_sizes: list[tuple[int, int]] = field(default_factory=list)  # (width, height) of each image, once opened

    async def submit(self, engine: Engine, hold: Hold, params: Sequence[SamplingParams]) -> list[Generation]:
        """Queue one generation for each of `params`. Raises ImageError, EngineError."""
        async with hold.turn():
            images = await self._open()
        drawn = [image for image, source in zip(images, self.prompt.images, strict=True) if source.page]
        hold.reserve_bytes(sum(map(decoded_bytes, drawn)))  # other images are counted from their decoding on
        generations = await engine.submit_all(self.prompt.messages, images, params, self.bounds, hold)
        if not self.reused:
            self.prompt = replace(self.prompt, images=[])
        return generations

    async def token_ids(self, engine: Engine) -> list[int]:
        """Token ids of the prompt, image placeholders included. Raises ImageError, EngineError."""
        return await engine.tokenize(self.prompt.messages, await self._open(), self.bounds)

    def followed_by(self, *turns: tuple[str, str]) -> "PendingPrompt":
        """The same conversation continued by turns of (role, text)."""
        more = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
        prompt = replace(self.prompt, messages=[*self.prompt.messages, *more])
        return PendingPrompt(prompt=prompt, params=self.params, bounds=self.bounds)

    async def _open(self) -> list[Image.Image]:
        images = [await asyncio.to_thread(image.open) for image in self.prompt.images]
        self.image_sizes = [image.size for image in images]
        return images
