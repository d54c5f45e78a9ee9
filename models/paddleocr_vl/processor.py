"""Messages and PIL images -> model input, with the checkpoint's tokenizer, template and image settings."""

import hashlib
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, PaddleOCRVLConfig

from models.paddleocr_vl.images import ImageSettings
from models.paddleocr_vl.prompts import OCR
from models.paddleocr_vl.rope import prompt_positions
from models.paddleocr_vl.weights import CheckpointError
from models.protocol import Grid, InputError, PixelBounds

# At every load it warns about `mrope_section`, although its own PaddleOCR-VL reads it from there.
logging.getLogger("transformers.modeling_rope_utils").setLevel(logging.ERROR)

Message = dict[str, Any]
"""{"role": "system" | "user" | "assistant", "content": [{"type": "text", "text": ...} | {"type": "image"}]}"""


@dataclass(frozen=True)
class PaddleOCRVLInput:
    """One prompt of L tokens, ready for the model."""

    input_ids: list[int]  # image tokens expanded
    positions: Tensor  # (3, L) int64
    next_position: int  # position of the first answer token
    pixels: np.ndarray | None  # (patches, channels, patch, patch) fp32, all images concatenated
    grids: list[Grid]  # patches (rows, columns) of each image
    image_tokens: list[int]  # tokens of each image
    image_keys: list[bytes]  # a key of each image's content: equal pixels have equal keys
    content_ids: np.ndarray  # (L,) int64; prompts with equal prefixes of these have equal input there

    def pixels_of(self, image: int) -> np.ndarray:
        """A view of one image's patches, (patches, channels, patch, patch)."""
        assert self.pixels is not None
        return split_pixels(self.pixels, self.grids)[image]

    def without_pixels(self) -> "PaddleOCRVLInput":
        """A copy without pixels, which take far more memory than all the rest."""
        return replace(self, pixels=None)


class Processor:
    """The tokenizer, chat template and image settings of a checkpoint; makes the model input of a prompt."""

    def __init__(self, folder: Path) -> None:
        """Read `folder`. Raises CheckpointError for a chat template that loses images, ValueError for bad settings."""
        self.config: Any = PaddleOCRVLConfig.from_pretrained(folder)
        self.tokenizer = self._tokenizer(folder)
        self.image_settings = ImageSettings.read(folder)
        self.bounds = self.image_settings.bounds
        self.block_limits = self.image_settings.block_limits
        self.merge = self.image_settings.merge
        self.image_token_id: int = self.config.image_token_id
        self.eos_token_id: int = self.tokenizer.eos_token_id
        self.generation = self._generation_config(folder)
        self.eos_token_ids = self._eos_token_ids()
        self._control_tokens = [t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special]
        self.pad_token_id: int = self.tokenizer.pad_token_id
        self.longest_token = max(map(len, self.tokenizer.get_vocab()))  # characters
        self._check_template(folder)

    def prepare(
        self, messages: Sequence[Message], images: Sequence[Image.Image], bounds: Sequence[PixelBounds] | None = None
    ) -> PaddleOCRVLInput:
        """The model input of `messages`, whose image parts refer to `images` in order. Raises InputError.

        `bounds`: for each image, if not the checkpoint's own.
        """
        pixels, grids = self.pixels(images, bounds) if images else (None, [])
        input_ids = self.prompt_ids(messages, grids)
        positions, next_position = prompt_positions(input_ids, grids, self.image_token_id, self.merge)
        image_tokens = self._image_tokens(grids)
        keys = [] if pixels is None else list(map(image_key, split_pixels(pixels, grids), grids))
        content = content_ids(input_ids, self.image_token_id, keys, image_tokens)
        return PaddleOCRVLInput(input_ids, positions, next_position, pixels, grids, image_tokens, keys, content)

    def prompt_ids(self, messages: Sequence[Message], grids: Sequence[Grid]) -> list[int]:
        """Token ids of the whole prompt, each image's placeholder repeated once per image token."""
        for message in messages:  # the template joins the parts of a message, and with them a token split over two
            self._refuse_control_tokens("".join(part.get("text", "") for part in message["content"]))
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        tokens = self.tokenizer.encode(text, add_special_tokens=False)
        placeholders = tokens.count(self.image_token_id)
        if placeholders != len(grids):
            raise InputError(f"the messages have {placeholders} image placeholders, but {len(grids)} images")
        image_tokens = iter(self._image_tokens(grids))
        ids: list[int] = []
        for token in tokens:
            ids.extend([token] * next(image_tokens) if token == self.image_token_id else [token])
        return ids

    def pixels(
        self, images: Sequence[Image.Image], bounds: Sequence[PixelBounds] | None = None
    ) -> tuple[np.ndarray, list[Grid]]:
        """Normalised patches (N, channels, patch, patch) fp32 and the grid of each image. Raises InputError."""
        grids = self._grids(images, bounds)
        patches = [self.image_settings.patches(image, grid) for image, grid in zip(images, grids, strict=True)]
        return patches[0] if len(patches) == 1 else np.concatenate(patches), grids

    def pixel_bytes(self, images: Sequence[Image.Image], bounds: Sequence[PixelBounds] | None = None) -> int:
        """Memory that the result of `pixels` will take. Raises InputError."""
        patches = sum(rows * columns for rows, columns in self._grids(images, bounds))
        return patches * len(self.image_settings.mean) * self.image_settings.patch**2 * np.dtype(np.float32).itemsize

    def _grids(self, images: Sequence[Image.Image], bounds: Sequence[PixelBounds] | None) -> list[Grid]:
        bounds = bounds or [self.bounds] * len(images)
        return [self.grid(*image.size, own) for image, own in zip(images, bounds, strict=True)]

    def _image_tokens(self, grids: Sequence[Grid]) -> list[int]:
        return [rows * columns // self.merge**2 for rows, columns in grids]

    def grid(self, width: int, height: int, bounds: PixelBounds | None = None) -> Grid:
        """Patches (rows, columns) of an image of `width` x `height` pixels. Raises InputError."""
        return self.image_settings.grid(width, height, bounds or self.bounds)

    def _tokenizer(self, folder: Path) -> Any:
        """The tokenizer with the checkpoint's chat template."""
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if tokenizer.chat_template is None:  # processors of older transformers wrote it where no tokenizer looks
            legacy = json.loads((folder / "chat_template.json").read_bytes())
            tokenizer.chat_template = legacy["chat_template"]
        return tokenizer

    def _check_template(self, folder: Path) -> None:
        """Raises CheckpointError unless the template puts an image between the tokens for its start and its end."""
        message: Message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": OCR}]}
        try:
            ids = self.prompt_ids([message], [(self.merge, self.merge)])
        except InputError as error:
            raise CheckpointError(f"The chat template in {folder} has no place for an image: {error}") from error
        place = ids.index(self.image_token_id)
        start, end = self.config.vision_start_token_id, self.config.vision_end_token_id
        found = ids[max(place - 1, 0) : place + 2]
        if found != [start, self.image_token_id, end]:
            whole, made = map(self.tokenizer.decode, ([start, self.image_token_id, end], found))
            raise CheckpointError(
                f"The chat template in {folder} writes an image as {made!r}, not as {whole!r}: the model would not see "
                "where it starts and ends. Use chat_template.jinja from the newest revision of the model's release. If "
                "the template has an image_token of its own, it is also enough to remove image_token from "
                "tokenizer_config.json, which replaces it. Then import the checkpoint again."
            )

    def _generation_config(self, folder: Path) -> Any:
        """The checkpoint's sampling settings, or transformers' defaults if it has none."""
        exists = (folder / "generation_config.json").exists()
        return GenerationConfig.from_pretrained(folder) if exists else GenerationConfig()  # type: ignore[no-untyped-call]

    def _eos_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the tokenizer's, the config's, and those in generation_config.json."""
        named = [self.eos_token_id, self.config.text_config.eos_token_id, self.generation.eos_token_id]
        lists = [ids if isinstance(ids, list) else [ids] for ids in named if ids is not None]
        return frozenset(itertools.chain.from_iterable(lists))

    def _refuse_control_tokens(self, text: str) -> None:
        """Raises InputError for a control token in a text, which would forge an image placeholder or an end."""
        for token in self._control_tokens:
            if token in text:
                raise InputError(f"the text contains {token!r}, a control token of the model; leave it out")


def split_pixels(pixels: np.ndarray, grids: Sequence[Grid]) -> list[np.ndarray]:
    """Views of each image's patches in the patches of all images."""
    return np.split(pixels, list(itertools.accumulate(rows * columns for rows, columns in grids))[:-1])


def image_key(pixels: np.ndarray, grid: Grid) -> bytes:
    """SHA-256 of the model's input of an image: its patches, (patches, channels, patch, patch), and grid."""
    digest = hashlib.sha256(repr(grid).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def content_ids(
    input_ids: Sequence[int], image_token_id: int, keys: Sequence[bytes], image_tokens: Sequence[int]
) -> np.ndarray:
    """Content of each position of a prompt, (L,) int64: a text token's id, or a negative number for an image token.

    Equal images have equal numbers.
    """
    ids = np.array(input_ids, dtype=np.int64)
    if keys:
        ids[ids == image_token_id] = np.concatenate(list(map(_image_token_ids, keys, image_tokens)))
    return ids


def _image_token_ids(key: bytes, count: int) -> np.ndarray:
    """Content ids of one image's tokens, (count,) int64: the four words of its key in turn, so all of it counts."""
    words = np.resize(np.frombuffer(key, dtype=np.int64), count)
    return (words + np.arange(count)) | np.iinfo(np.int64).min
