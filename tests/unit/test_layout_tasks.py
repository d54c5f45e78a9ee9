import pytest

from layout.tasks import IMAGES, task_of
from models.protocol import PixelBounds


@pytest.mark.parametrize(
    ("label", "prompt"),
    [
        ("text", "OCR:"),
        ("reference", "OCR:"),
        ("formula_number", "OCR:"),
        ("table", "Table Recognition:"),
        ("display_formula", "Formula Recognition:"),
        ("inline_formula", "Formula Recognition:"),
        ("spotting", "Spotting:"),
        ("a label of a network to come", "OCR:"),
    ],
)
def test_each_label_has_its_prompt(label: str, prompt: str) -> None:
    task = task_of(label)
    assert task is not None
    assert task.prompt == prompt


@pytest.mark.parametrize("label", sorted(IMAGES))
def test_figures_are_kept_as_images(label: str) -> None:
    assert task_of(label) is None


@pytest.mark.parametrize(
    ("label", "prompt"), [("chart", "Chart Recognition:"), ("seal", "Seal Recognition:"), ("image", "OCR:")]
)
def test_figures_are_read_on_request(label: str, prompt: str) -> None:
    task = task_of(label, read={label})
    assert task is not None
    assert task.prompt == prompt


def test_spotting_reads_larger_images_than_the_others() -> None:
    spotting, text = task_of("spotting"), task_of("text")
    assert spotting is not None
    assert text is not None
    assert spotting.bounds == (112896, 1605632)
    assert text.bounds == (112896, 1003520)


def test_a_request_may_have_bounds_for_a_kind_of_prompt() -> None:
    bounds = PixelBounds(1000, 2000)
    tasks = [task_of(label, bounds={"formula": bounds}) for label in ("display_formula", "inline_formula", "text")]
    assert [task and task.bounds for task in tasks] == [bounds, bounds, (112896, 1003520)]
