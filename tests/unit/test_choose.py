from dataclasses import replace

import pytest
from PIL import Image

from modes.choose import MODES, Picture, Prompt, Task, Turn, choose

PICTURE, OTHER = Picture(lambda: Image.new("RGB", (8, 8))), Picture(lambda: Image.new("RGB", (9, 9)))
FIRST_PAGE, SECOND_PAGE = (replace(picture, page=True) for picture in (PICTURE, OTHER))


def only(task: Task) -> Prompt:
    assert len(task.prompts) == 1
    return task.prompts[0]


def words(prompt: Prompt) -> str:
    assert len(prompt.messages) == 1
    text: str = prompt.messages[0]["content"][-1]["text"]
    return text


def prompt_of(task: Task) -> str:
    return words(only(task))


@pytest.mark.parametrize("official", MODES)
def test_an_official_prompt_goes_to_the_model_as_it_is(official: str) -> None:
    assert prompt_of(choose([Turn("user", official, [PICTURE])])) == official


@pytest.mark.parametrize("asked", ["Extract all text from this image as markdown", "", "ocr", "OCR: please"])
def test_any_other_text_is_answered_with_ocr(asked: str) -> None:
    assert prompt_of(choose([Turn("user", asked, [PICTURE])])) == "OCR:"


def test_space_around_an_official_prompt_does_not_matter() -> None:
    assert prompt_of(choose([Turn("user", " Table Recognition:\n", [PICTURE])])) == "Table Recognition:"


def test_text_alone_stays_the_conversation_it_is() -> None:
    task = choose([Turn("system", "Be brief."), Turn("user", "test")])
    assert [message["role"] for message in only(task).messages] == ["system", "user"]
    assert only(task).pictures == []


def test_the_newest_pictures_of_a_conversation_are_read() -> None:
    task = choose([Turn("user", "read", [PICTURE]), Turn("assistant", "one"), Turn("user", "and this", [OTHER])])
    assert only(task).pictures == [OTHER]


def test_a_second_question_without_a_picture_means_the_picture_before() -> None:
    task = choose([Turn("user", "read", [PICTURE]), Turn("assistant", "one"), Turn("user", "Formula Recognition:")])
    assert only(task).pictures == [PICTURE]
    assert prompt_of(task) == "Formula Recognition:"


def test_several_pictures_keep_their_order() -> None:
    task = choose([Turn("user", "", [PICTURE, OTHER])])
    assert only(task).pictures == [PICTURE, OTHER]
    assert [part["type"] for part in only(task).messages[0]["content"]] == ["image", "image", "text"]


@pytest.mark.parametrize(
    ("asked", "mode"), [("OCR:", "ocr"), ("Table Recognition:", "table"), ("read this, please", "markdown")]
)
def test_the_words_decide_the_mode(asked: str, mode: str) -> None:
    assert choose([Turn("user", asked, [PICTURE])]).mode == mode


def test_text_alone_is_raw() -> None:
    assert choose([Turn("user", "OCR:")]).mode == "raw"


def test_each_page_of_a_document_has_a_prompt_of_its_own() -> None:
    task = choose([Turn("user", "Table Recognition:", [FIRST_PAGE, SECOND_PAGE, PICTURE])])
    assert [prompt.pictures for prompt in task.prompts] == [[FIRST_PAGE], [SECOND_PAGE], [PICTURE]]
    assert {words(prompt) for prompt in task.prompts} == {"Table Recognition:"}
