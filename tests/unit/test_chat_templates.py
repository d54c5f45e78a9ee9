"""Prompts by the chat template of each release, and templates that are refused because they lose images."""

import json
from pathlib import Path

import pytest

from models.paddleocr_vl.processor import Message, Processor
from models.paddleocr_vl.weights import CheckpointError
from tests.checkpoints import write_settings
from tests.prompts import prompt

DATA = Path(__file__).parents[1] / "data"
RELEASES = {"1.0": "Assistant: ", "1.5": "Assistant:\n"}  # -> what comes before an answer
START, IMAGE, END = "<|IMAGE_START|>", "<|IMAGE_PLACEHOLDER|>", "<|IMAGE_END|>"
ONE_TOKEN = (2, 2)  # the grid of an image of one token


def template(release: str) -> str:
    return (DATA / f"chat_template_{release}.jinja").read_text()


def with_variable() -> str:
    """A template like the first one of the first release, which takes `image_token` from outside."""
    whole = f'"{START}{IMAGE}{END}"'
    return f"{{%- set image_token = image_token | default({whole}) -%}}\n" + template("1.0").replace(
        whole, "image_token"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Its tokenizer_config.json names an image_token, as transformers' processor requires."""
    return write_settings(tmp_path / "checkpoint")


def processor_of(folder: Path, text: str) -> Processor:
    (folder / "chat_template.jinja").write_text(text)
    return Processor(folder)


def text_of(processor: Processor, messages: list[Message], images: int) -> str:
    text: str = processor.tokenizer.decode(processor.prompt_ids(messages, [ONE_TOKEN] * images))
    return text


@pytest.mark.parametrize(("release", "answer"), RELEASES.items())
def test_a_prompt_of_each_release(folder: Path, release: str, answer: str) -> None:
    processor = processor_of(folder, template(release))
    assert text_of(processor, prompt(1), 1) == f"<|begin_of_sentence|>User: {START}{IMAGE}{END}OCR:\n{answer}"


@pytest.mark.parametrize(("release", "answer"), RELEASES.items())
def test_a_conversation_of_each_release(folder: Path, release: str, answer: str) -> None:
    messages: list[Message] = [
        {"role": "system", "content": [{"type": "text", "text": "Read with care."}]},
        *prompt(2),
        {"role": "assistant", "content": [{"type": "text", "text": "12.50"}]},
        *prompt(0, "Again"),
    ]
    expected = (
        f"<|begin_of_sentence|>Read with care.\nUser: {START}{IMAGE}{END}{START}{IMAGE}{END}OCR:\n"
        f"{answer}12.50</s>User: Again\n{answer}"
    )
    assert text_of(processor_of(folder, template(release)), messages, 2) == expected


def test_the_embedded_template_makes_the_prompts_of_the_newest_release(folder: Path) -> None:
    messages = [*prompt(1), {"role": "assistant", "content": [{"type": "text", "text": "12.50"}]}, *prompt(1, "Again")]
    embedded = text_of(Processor(folder), messages, 2)
    assert embedded == text_of(processor_of(folder, template("1.5")), messages, 2)


def test_a_template_is_refused_whose_image_token_the_tokenizer_replaces(folder: Path) -> None:
    """Bug: such a checkpoint was served, with prompts that lacked the start and end of every image."""
    with pytest.raises(CheckpointError, match=r"writes an image as .*: the model would not see") as caught:
        processor_of(folder, with_variable())
    assert repr(START + IMAGE + END) in str(caught.value)
    assert "remove image_token from tokenizer_config.json" in str(caught.value)


def test_that_template_is_accepted_without_the_image_token_of_the_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["image_token"], settings["extra_special_tokens"]
    file.write_text(json.dumps(settings))
    text = text_of(processor_of(folder, with_variable()), prompt(1), 1)
    assert text == f"<|begin_of_sentence|>User: {START}{IMAGE}{END}OCR:\nAssistant: "


@pytest.mark.parametrize("lost", [START, END])
def test_a_template_without_the_start_or_the_end_of_an_image_is_refused(folder: Path, lost: str) -> None:
    with pytest.raises(CheckpointError, match="writes an image as"):
        processor_of(folder, template("1.5").replace(lost, ""))


def test_a_template_without_a_place_for_images_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="has no place for an image"):
        processor_of(folder, template("1.5").replace(IMAGE, ""))


def test_a_template_in_the_json_file_of_older_processors_is_read(folder: Path) -> None:
    """Bug: such a checkpoint was imported, then the server could not start."""
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template("1.0")}))
    assert text_of(Processor(folder), prompt(1), 1).endswith("OCR:\nAssistant: ")
