"""What a client is told of pages that were read with little certainty."""

import pytest

from api.doubts import doubts, doubts_of_pages
from layout.blocks import Block
from layout.pages import ReadBlock, ReadPage
from models.detection import Box, Detection


def page(index: int, *blocks: tuple[str, float | None]) -> ReadPage:
    found = Block((Detection("text", 1.0, Box(0, 0, 9, 9), 0),), task=None)
    read = [ReadBlock(block=found, text=text, confidence=confidence) for text, confidence in blocks]
    return ReadPage(index=index, size=(9, 9), blocks=read)


def test_a_page_is_as_certain_as_its_blocks_each_by_the_length_of_its_text() -> None:
    assert page(0, ("a" * 300, 0.9), ("b" * 100, 0.1), ("", None)).confidence == pytest.approx(0.9**0.75 * 0.1**0.25)
    assert page(0, ("", None)).confidence is None


def test_of_several_pages_the_one_that_may_lie_on_its_side_is_named() -> None:
    pages = [page(0, ("Right", 0.99)), page(1, ("]46!d", 0.6)), page(2)]
    (told,) = doubts_of_pages(pages)
    assert told.startswith("page 2: the text was read with little certainty: the image may lie on its side")


def test_nothing_is_said_of_a_reading_without_a_confidence() -> None:
    assert list(doubts(None)) == []
