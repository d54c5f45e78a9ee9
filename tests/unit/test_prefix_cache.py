"""The caches between requests: features of images by content, and prefixes of prompts in the slots."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from engine.engine import Engine
from engine.errors import GenerationFailed
from engine.image_cache import ImageCache
from engine.request import SamplingParams, TokenEvent
from models.paddleocr_vl.prompts import OCR
from models.paddleocr_vl.slices import run
from models.protocol import Grid, ModelInput, Sliced
from tests.engines import collect, ids_of, network, running_engine
from tests.prompts import common_length, noise_image, prompt
from tests.sequences import bare_sequence

A, B = noise_image(120, 90, seed=1), noise_image(120, 90, seed=2)
SMALL = noise_image(56, 28, seed=3)
TEXT_BEFORE = "Read what is on the next page."


class Watched:
    """An engine, and which images its vision tower has run on."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.encoded: list[list[Grid]] = []  # by call
        self.model = network(engine)
        self._encode = self.model.encode_sliced
        self.model.encode_sliced = self._count  # type: ignore[assignment, method-assign]

    def _count(self, pixels: Tensor, grids: Sequence[Grid], rows: int | None) -> Sliced[list[Tensor]]:
        self.encoded.append(list(grids))
        return self._encode(pixels, grids, rows)

    def input(self, *images: Image.Image, text: str = "OCR:", before: str = "") -> ModelInput:
        assert self.engine.processor is not None
        return self.engine.processor.prepare(messages(len(images), text, before), images)

    def events(self, *images: Image.Image, text: str = "OCR:", before: str = "", tokens: int = 4) -> list[TokenEvent]:
        async def run() -> list[TokenEvent]:
            params = SamplingParams(max_tokens=tokens, ignore_eos=True)
            generation = await self.engine.submit(messages(len(images), text, before), images, params)
            return await collect(generation)

        return asyncio.run(run())

    def cached(self, *images: Image.Image, **question: Any) -> int:
        return self.events(*images, **question)[-1].cached_tokens


def messages(images: int, text: str, before: str) -> list[dict[str, Any]]:
    system: list[dict[str, Any]] = [{"role": "system", "content": [{"type": "text", "text": before}]}] if before else []
    return system + prompt(images, text)


@contextmanager
def watched_engine(checkpoint: Path, **config: Any) -> Iterator[Watched]:
    with running_engine(checkpoint, **config) as engine:
        yield Watched(engine)


# --- the prefix cache -----------------------------------------------------------------------------------------------


def test_a_second_question_about_an_image_prefills_only_its_own_words(checkpoint: Path) -> None:
    with watched_engine(checkpoint, slots=2) as watched:
        watched.events(A, text="OCR:")
        shared = common_length(*(watched.input(A, text=text).input_ids for text in ("OCR:", "What is it?")))
        assert shared > 12  # the image's tokens
        assert watched.cached(A, text="What is it?") == shared
        assert len(watched.encoded) == 1


def test_the_same_question_again_prefills_only_its_last_token(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:
        first, again = watched.events(A), watched.events(A)
        assert {event.cached_tokens for event in first} == {0}
        assert {event.cached_tokens for event in again} == {len(watched.input(A).input_ids) - 1}
        assert ids_of(again) == ids_of(first)


def test_another_image_of_the_same_size_shares_only_the_text_before_it(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:
        watched.events(A, before=TEXT_BEFORE)
        assert watched.engine.processor is not None
        first_image_token = watched.input(B, before=TEXT_BEFORE).input_ids.index(
            watched.engine.processor.image_token_id
        )
        assert watched.cached(B, before=TEXT_BEFORE) == first_image_token
        assert len(watched.encoded) == 2


def test_a_few_words_in_common_are_not_worth_a_slot(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:
        watched.events(A)
        assert watched.cached(B) == 0


def test_overwritten_content_of_a_slot_is_not_reused(checkpoint: Path) -> None:
    with watched_engine(checkpoint, slots=1) as watched:
        watched.events(A)
        watched.events(B)
        assert watched.cached(A) == 0
        assert watched.cached(A) == len(watched.input(A).input_ids) - 1


def test_content_after_the_end_of_a_shorter_prompt_is_not_reused(checkpoint: Path) -> None:
    with watched_engine(checkpoint, slots=1) as watched:
        long, short = "What is written on it?", "What?"
        watched.events(A, text=long, tokens=8)
        watched.events(A, text=short, tokens=1)
        shared = common_length(*(watched.input(A, text=text).input_ids for text in (long, short)))
        assert watched.cached(A, text=long) == shared


def test_an_aborted_request_leaves_its_prefix(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:

        async def abort_early() -> None:
            generation = await watched.engine.submit(prompt(1), [A], SamplingParams(max_tokens=300, ignore_eos=True))
            async for event in generation:
                if event.completion_tokens == 2:
                    break
            generation.abort()

        asyncio.run(abort_early())
        assert watched.cached(A) == len(watched.input(A).input_ids) - 1


def test_a_failed_request_leaves_no_prefix(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:
        norm = watched.model.text.norm.weight
        whole = norm.clone()
        norm.fill_(torch.nan)
        with pytest.raises(GenerationFailed):
            watched.events(A)
        norm.copy_(whole)
        assert watched.cached(A) == 0


def test_the_trial_at_start_leaves_no_cache_entries(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:
        assert watched.cached(Image.new("RGB", (56, 28), "white"), text=OCR) == 0
        assert len(watched.encoded) == 1


def test_several_answers_to_one_prompt_share_the_image_and_a_free_slot(checkpoint: Path) -> None:
    with watched_engine(checkpoint, slots=2) as watched:

        async def run() -> list[list[TokenEvent]]:
            params = [SamplingParams(max_tokens=count, ignore_eos=True) for count in (4, 6, 8)]
            generations = await watched.engine.submit_all(prompt(1), [A], params)
            return [await collect(generation) for generation in generations]

        answers = asyncio.run(run())
        assert [answer[-1].cached_tokens for answer in answers] == [0, 0, len(watched.input(A).input_ids) - 1]
        assert len(watched.encoded) == 1
        longest = ids_of(answers[2])
        assert [ids_of(answer) for answer in answers] == [longest[:4], longest[:6], longest]


@pytest.mark.parametrize("reused", [1, 9, 14, 20, 21, 23, 35], ids=lambda tokens: f"{tokens} tokens")
def test_a_prompt_may_be_continued_anywhere(checkpoint: Path, reused: int) -> None:
    """Before, inside, between and after the images."""
    with watched_engine(checkpoint, slots=1) as watched:
        runner = watched.engine.runner
        assert runner is not None
        whole = bare_sequence([], prompt=watched.input(A, SMALL), max_tokens=1, slot=0)
        expected = run(runner.prefill.run_sliced([whole]))
        runner.cache.entries[:, :, :, :, reused:] = torch.nan
        whole.reused = reused
        torch.testing.assert_close(run(runner.prefill.run_sliced([whole])), expected, atol=1e-4, rtol=1e-4)


# --- the image cache ----------------------------------------------------------------------------------------------


def test_a_known_image_is_not_encoded_again_although_its_slot_is_gone(checkpoint: Path) -> None:
    with watched_engine(checkpoint, slots=1) as watched:
        first = watched.events(A)
        watched.events(text="Something else altogether")
        again = watched.events(A)
        assert again[-1].cached_tokens == 0
        assert len(watched.encoded) == 1
        assert ids_of(again) == ids_of(first)


def test_among_several_images_only_unknown_ones_are_encoded(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:
        watched.events(A)
        watched.events(SMALL, A, B)
        (a,), (small, b) = watched.input(A).grids, watched.input(SMALL, B).grids
        assert watched.encoded == [[a], [small, b]]


def test_an_image_that_occurs_twice_is_encoded_once(checkpoint: Path) -> None:
    with watched_engine(checkpoint) as watched:
        watched.events(A, SMALL, A)
        assert watched.encoded == [watched.input(A, SMALL).grids]


def test_a_budget_of_zero_caches_no_image(checkpoint: Path) -> None:
    with watched_engine(checkpoint, slots=1, image_cache_bytes=0) as watched:
        for _ in range(2):
            watched.events(A)
            watched.events(text="Something else altogether")
        assert len(watched.encoded) == 2


TOKEN_BYTES = 64  # bytes


def encoded(tokens: int) -> Tensor:
    return torch.zeros(tokens, TOKEN_BYTES // 4)


def cached(cache: ImageCache, keys: bytes) -> str:
    """The images, named by one letter each, that are cached."""
    return "".join(chr(key) for key in keys if cache.find(bytes([key])) is not None)


def test_the_least_recently_used_image_makes_room() -> None:
    cache = ImageCache(budget=2 * 3 * TOKEN_BYTES)
    cache.add(b"a", encoded(3))
    cache.add(b"b", encoded(3))
    assert cache.find(b"a") is not None
    cache.add(b"c", encoded(3))
    assert cached(cache, b"abc") == "ac"


def test_cached_features_hold_no_more_memory_than_is_counted() -> None:
    """A view would keep the features of all images that were encoded with it."""
    cache = ImageCache(budget=4 * 3 * TOKEN_BYTES)
    for key, features in zip((b"a", b"b", b"c"), encoded(9).split(3), strict=True):
        cache.add(key, features)
    assert cache.used == 3 * 3 * TOKEN_BYTES
    found = cache.find(b"b")
    assert found is not None
    assert found.untyped_storage().nbytes() == found.nbytes == 3 * TOKEN_BYTES


def test_an_image_larger_than_the_budget_evicts_no_other() -> None:
    cache = ImageCache(budget=3 * TOKEN_BYTES)
    cache.add(b"a", encoded(3))
    cache.add(b"l", encoded(4))
    assert cached(cache, b"al") == "a"


def test_more_images_than_the_budget_holds_are_all_prefilled(checkpoint: Path) -> None:
    with watched_engine(checkpoint, image_cache_bytes=1) as watched:
        whole = ids_of(watched.events(A, SMALL, A))
        assert watched.encoded == [watched.input(A, SMALL).grids]
    with watched_engine(checkpoint) as watched:
        assert ids_of(watched.events(A, SMALL, A)) == whole


def test_a_cleared_cache_is_empty() -> None:
    cache = ImageCache(budget=100 * TOKEN_BYTES)
    cache.add(b"a", encoded(3))
    cache.clear()
    assert cache.used == 0
    assert cached(cache, b"a") == ""
