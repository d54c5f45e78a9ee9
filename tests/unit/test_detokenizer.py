"""Incremental text, with the embedded checkpoint's tokenizer, whose unknown characters fall back to bytes."""

from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.detokenizer import Detokenizer
from models.checkpoint import EMBEDDED

EURO_IN_JAPANESE = "日本 5€ é"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(EMBEDDED)


def pieces(tokenizer: Any, text: str, **options: Any) -> list[str]:
    detokenizer = Detokenizer(tokenizer, **options)
    out = [detokenizer.push(token) for token in tokenizer.encode(text, add_special_tokens=False)]
    return [*out, detokenizer.flush()]


@pytest.mark.parametrize("text", ["Total: $42.50", EURO_IN_JAPANESE, "  two  spaces ", "a\n\nb", "🙂🙂"])
def test_the_pieces_are_the_text(tokenizer: Any, text: str) -> None:
    assert "".join(pieces(tokenizer, text)) == text


def test_a_character_of_several_bytes_is_never_split(tokenizer: Any) -> None:
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces(tokenizer, EURO_IN_JAPANESE))


def test_bytes_that_are_not_a_character_come_out_after_four_at_the_latest(tokenizer: Any) -> None:
    detokenizer = Detokenizer(tokenizer)
    broken = tokenizer.convert_tokens_to_ids("<0xE6>")
    assert "\N{REPLACEMENT CHARACTER}" in "".join(detokenizer.push(broken) for _ in range(4))


def test_an_incomplete_character_at_the_end_is_not_lost(tokenizer: Any) -> None:
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push(tokenizer.convert_tokens_to_ids("<0xE6>")) == ""
    assert detokenizer.flush() == "\N{REPLACEMENT CHARACTER}"


def test_text_ends_before_a_stop_string(tokenizer: Any) -> None:
    assert "".join(pieces(tokenizer, "one END two", stop=["END"])) == "one "


def test_the_first_of_several_stop_strings_counts(tokenizer: Any) -> None:
    assert "".join(pieces(tokenizer, "abcdef", stop=["ef", "cd"])) == "ab"


def test_the_beginning_of_a_stop_string_is_held_back(tokenizer: Any) -> None:
    detokenizer = Detokenizer(tokenizer, ["END"])
    sent = [detokenizer.push(token) for token in tokenizer.encode("xEN", add_special_tokens=False)]
    assert sent == ["x", "", ""]


def test_held_text_that_is_not_a_stop_string_is_sent(tokenizer: Any) -> None:
    assert "".join(pieces(tokenizer, "xENx EN", stop=["END"])) == "xENx EN"


def test_special_tokens_are_left_out_unless_asked_for(tokenizer: Any) -> None:
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ("A", "<|IMAGE_START|>", "<fcel>", "B")]
    for skip, expected in ((True, "A<fcel>B"), (False, "A<|IMAGE_START|><fcel>B")):
        detokenizer = Detokenizer(tokenizer, skip_special_tokens=skip)
        assert "".join(map(detokenizer.push, ids)) + detokenizer.flush() == expected
