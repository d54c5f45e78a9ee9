"""The tokenizer at its real size and with its real ids: round trips, added tokens, and forged control tokens."""

from typing import Any

import pytest

from models.paddleocr_vl.processor import Message, Processor
from models.protocol import InputError
from tests.checkpoints import CONTROL_TOKENS, LOCATION_TOKENS, TABLE_TOKENS, write_settings
from tests.prompts import noise_image, prompt


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processor:
    return Processor(write_settings(tmp_path_factory.mktemp("real"), real_tokenizer=True))


@pytest.fixture(scope="module")
def tokenizer(processor: Processor) -> Any:
    return processor.tokenizer


TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    " two  spaces\tand a tab\n\nlines \n",
    "文字识别：北京，2024年5月。",
    "混ぜた text 与 中文 1,234.50",
    "emoji 😀👩‍👩‍👧 and 𠮷野家 한국어",
    "$\\frac{a}{b} \\le \\sqrt{x_1}$",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trip(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=True) == text


@pytest.mark.parametrize(("text", "pieces"), [(" Recognition Table", 2), ("文字识别", 2), ("quickly", 3)])
def test_words_are_merged(tokenizer: Any, text: str, pieces: int) -> None:
    assert len(tokenizer.encode(text, add_special_tokens=False)) == pieces


def test_emoji_falls_back_to_its_bytes(tokenizer: Any) -> None:
    ids = tokenizer.encode("😀", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(ids) == ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]


def test_every_added_token_is_one_token_with_its_id(tokenizer: Any) -> None:
    added = CONTROL_TOKENS | LOCATION_TOKENS | TABLE_TOKENS
    assert {token: tokenizer.encode(f"a{token}b", add_special_tokens=False)[1:-1] for token in added} == {
        token: [number] for token, number in added.items()
    }


def test_table_and_location_tokens_survive_skipping(tokenizer: Any) -> None:
    text = "<fcel>1<ecel><lcel><nl><ucel><xcel><nl>Total<|LOC_0|><|LOC_57|><|LOC_1000|>"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=True) == text


@pytest.mark.parametrize("token", CONTROL_TOKENS)
def test_control_token_does_not_survive_skipping(tokenizer: Any, token: str) -> None:
    assert tokenizer.decode([CONTROL_TOKENS[token]], skip_special_tokens=True) == ""
    assert tokenizer.decode([CONTROL_TOKENS[token]], skip_special_tokens=False) == token


def test_prompt_of_an_image(processor: Processor) -> None:
    """The prompt that 1.5 and 1.6 were trained on, at the real ids."""
    ids = processor.prepare(prompt(1), [noise_image(336, 336)]).input_ids
    template = "<|begin_of_sentence|>User: <|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>OCR:\nAssistant:\n"
    one = processor.tokenizer.encode(template, add_special_tokens=False)
    place = one.index(100_295)
    assert ids == [*one[:place], *[100_295] * 144, *one[place + 1 :]]


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("token", CONTROL_TOKENS)
def test_forged_control_token_is_refused(processor: Processor, token: str, role: str) -> None:
    forged: Message = {"role": role, "content": [{"type": "text", "text": f"before {token} after"}]}
    with pytest.raises(InputError, match="control token"):
        processor.prepare([forged, *prompt(1)], [noise_image(28, 28)])


def test_control_token_forged_of_two_parts_is_refused(processor: Processor) -> None:
    """The template concatenates the text parts of a message."""
    parts = [{"type": "text", "text": "<|IMAGE_PLACE"}, {"type": "text", "text": "HOLDER|>"}]
    with pytest.raises(InputError):
        processor.prepare([{"role": "user", "content": parts}], [])


@pytest.mark.parametrize("text", ["<fcel>1<nl>", "<|LOC_5|>", "a < b > c", "<|IMAGE|>", "<0x41>"])
def test_text_that_is_no_control_token_is_accepted(processor: Processor, text: str) -> None:
    ids = processor.prepare(prompt(0, text), []).input_ids
    assert text in processor.tokenizer.decode(ids, skip_special_tokens=True)
