import pytest
from PIL import Image

from models.paddleocr_vl import prompts
from modes.choose import Task, Turn, choose

PICTURE, OTHER = Image.new("RGB", (8, 8)), Image.new("RGB", (9, 9))


def prompt_of(task: Task) -> str:
    assert len(task.messages) == 1
    text: str = task.messages[0]["content"][-1]["text"]
    return text


@pytest.mark.parametrize("official", prompts.OFFICIAL)
def test_an_official_prompt_goes_to_the_model_as_it_is(official: str) -> None:
    assert prompt_of(choose([Turn("user", official, [PICTURE])])) == official


@pytest.mark.parametrize("words", ["Extract all text from this image as markdown", "", "ocr", "OCR: please"])
def test_any_other_text_is_answered_with_ocr(words: str) -> None:
    assert prompt_of(choose([Turn("user", words, [PICTURE])])) == "OCR:"


def test_space_around_an_official_prompt_does_not_matter() -> None:
    assert prompt_of(choose([Turn("user", " Table Recognition:\n", [PICTURE])])) == "Table Recognition:"


def test_text_alone_stays_the_conversation_it_is() -> None:
    task = choose([Turn("system", "Be brief."), Turn("user", "test")])
    assert [message["role"] for message in task.messages] == ["system", "user"]
    assert task.pictures == []


def test_the_newest_pictures_of_a_conversation_are_read() -> None:
    task = choose([Turn("user", "read", [PICTURE]), Turn("assistant", "one"), Turn("user", "and this", [OTHER])])
    assert task.pictures == [OTHER]


def test_a_second_question_without_a_picture_means_the_picture_before() -> None:
    task = choose([Turn("user", "read", [PICTURE]), Turn("assistant", "one"), Turn("user", "Formula Recognition:")])
    assert task.pictures == [PICTURE]
    assert prompt_of(task) == "Formula Recognition:"


def test_several_pictures_keep_their_order() -> None:
    task = choose([Turn("user", "", [PICTURE, OTHER])])
    assert task.pictures == [PICTURE, OTHER]
    assert [part["type"] for part in task.messages[0]["content"]] == ["image", "image", "text"]
