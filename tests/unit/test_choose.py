from dataclasses import replace

import pytest
from PIL import Image

from images.source import ImageSource
from modes.choose import Prompt, Task, Turn, choose
from modes.registry import MODES, OFFICIAL

IMAGE, OTHER = ImageSource(lambda: Image.new("RGB", (8, 8))), ImageSource(lambda: Image.new("RGB", (9, 9)))
FIRST_PAGE, SECOND_PAGE = (replace(image, page=True) for image in (IMAGE, OTHER))


def only(task: Task) -> Prompt:
    assert len(task.prompts) == 1
    return task.prompts[0]


def words(prompt: Prompt) -> str:
    assert len(prompt.messages) == 1
    text: str = prompt.messages[0]["content"][-1]["text"]
    return text


def prompt_of(task: Task) -> str:
    return words(only(task))


@pytest.mark.parametrize("official", OFFICIAL)
def test_an_official_prompt_goes_to_the_model_unchanged(official: str) -> None:
    task = choose([Turn("user", official, [IMAGE])])
    assert (prompt_of(task), task.finished) == (official, False)


@pytest.mark.parametrize("asked", ["Extract all text from this image as markdown", "", "ocr", "OCR: please"])
def test_any_other_text_is_answered_with_ocr(asked: str) -> None:
    assert prompt_of(choose([Turn("user", asked, [IMAGE])])) == "OCR:"


def test_space_around_an_official_prompt_does_not_matter() -> None:
    assert prompt_of(choose([Turn("user", " Table Recognition:\n", [IMAGE])])) == "Table Recognition:"


def test_a_conversation_without_images_goes_to_the_model_unchanged() -> None:
    task = choose([Turn("system", "Be brief."), Turn("user", "test")])
    assert [message["role"] for message in only(task).messages] == ["system", "user"]
    assert only(task).images == []


def test_the_newest_images_of_a_conversation_are_read() -> None:
    task = choose([Turn("user", "read", [IMAGE]), Turn("assistant", "one"), Turn("user", "and this", [OTHER])])
    assert only(task).images == [OTHER]


def test_a_question_without_an_image_is_about_the_previous_image() -> None:
    task = choose([Turn("user", "read", [IMAGE]), Turn("assistant", "one"), Turn("user", "Formula Recognition:")])
    assert only(task).images == [IMAGE]
    assert prompt_of(task) == "Formula Recognition:"


def test_several_images_keep_their_order() -> None:
    task = choose([Turn("user", "", [IMAGE, OTHER])])
    assert only(task).images == [IMAGE, OTHER]
    assert [part["type"] for part in only(task).messages[0]["content"]] == ["image", "image", "text"]


@pytest.mark.parametrize(
    ("asked", "mode"),
    [
        ("OCR:", "ocr"),
        ("Table Recognition:", "table"),
        ("read this, please", "markdown"),
        ("Extract receipt information as JSON", "receipt"),
        ("INVOICE details?", "invoice"),
        ("the form's fields", "form"),
        ("Only the table.", "table"),
        ("Write the equation in LaTeX", "formula"),
        ("What does the chart say?", "chart"),
        ("read the stamp", "seal"),
        ("all text with bounding boxes", "spotting"),
        ("each line with its bounding box", "spotting"),
        ("提取发票信息", "invoice"),
        ("识别表格", "table"),
    ],
)
def test_the_words_decide_the_mode(asked: str, mode: str) -> None:
    assert choose([Turn("user", asked, [IMAGE])]).mode == mode


@pytest.mark.parametrize(
    "asked",
    [
        "format as markdown",
        "information",
        "in the form of Markdown",
        "everything in JSON form",
        "comfortable",
        "a receipted letter",
    ],
)
def test_words_match_whole_and_a_form_of_something_is_no_form(asked: str) -> None:
    assert choose([Turn("user", asked, [IMAGE])]).mode == "markdown"


@pytest.mark.parametrize(
    "asked", ["Extract all text and tables", "everything, formulas in LaTeX", "all text of the forms"]
)
def test_naming_parts_of_the_whole_text_does_not_choose_their_mode(asked: str) -> None:
    assert choose([Turn("user", asked, [IMAGE])]).mode == "markdown"


def test_the_first_of_two_named_modes_wins() -> None:
    assert choose([Turn("user", "the table of this invoice, not a receipt", [IMAGE])]).mode == "receipt"


def test_the_system_message_decides_if_the_user_says_nothing() -> None:
    system = Turn("system", "You turn receipts into JSON.")
    assert choose([system, Turn("user", "", [IMAGE])]).mode == "receipt"
    assert choose([system, Turn("user", "read it", [IMAGE])]).mode == "markdown"


@pytest.mark.parametrize("mode", MODES)
def test_a_requested_mode_overrides_the_words(mode: str) -> None:
    task = choose([Turn("user", "Spotting: a receipt, invoice, form", [IMAGE])], mode)
    assert (task.mode, prompt_of(task), task.finished) == (mode, MODES[mode].prompt, True)


def test_spotting_uses_high_detail_unless_the_request_sets_another() -> None:
    turn = Turn("user", "spotting", [IMAGE, replace(IMAGE, detail="low")])
    assert [image.detail for image in only(choose([turn])).images] == ["high", "low"]


def test_raw_sends_the_conversation_to_the_model_unchanged() -> None:
    task = choose([Turn("system", "S"), Turn("user", " My own prompt:\n", [IMAGE])], "raw")
    assert [message["content"][-1]["text"] for message in only(task).messages] == ["S", " My own prompt:\n"]
    assert (task.mode, only(task).images, task.finished) == ("raw", [IMAGE], False)


def test_raw_asks_every_page_of_a_document_in_the_users_words() -> None:
    task = choose([Turn("user", "My own prompt:", [FIRST_PAGE, SECOND_PAGE])], "raw")
    assert [words(prompt) for prompt in task.prompts] == ["My own prompt:"] * 2


def test_a_mode_without_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="'table' reads an image"):
        choose([Turn("user", "read")], "table")


def test_a_conversation_without_images_is_raw() -> None:
    assert choose([Turn("user", "OCR:")]).mode == "raw"


def test_each_page_of_a_document_has_a_prompt_of_its_own() -> None:
    task = choose([Turn("user", "Table Recognition:", [FIRST_PAGE, SECOND_PAGE, IMAGE])])
    assert [prompt.images for prompt in task.prompts] == [[FIRST_PAGE], [SECOND_PAGE], [IMAGE]]
    assert {words(prompt) for prompt in task.prompts} == {"Table Recognition:"}


@pytest.mark.parametrize(
    ("asked", "mode"), [("read the table", None), ("Table Recognition:", None), ("My own prompt:", "raw")]
)
def test_each_prompt_says_its_mode_and_whether_it_is_finished(asked: str, mode: str | None) -> None:
    task = choose([Turn("user", asked, [FIRST_PAGE, SECOND_PAGE])], mode)
    assert {(prompt.mode, prompt.finished) for prompt in task.prompts} == {(task.mode, task.finished)}
    assert all(prompt.finished for prompt in task.with_finish(True).prompts)
