from dataclasses import replace

import pytest

from layout.boxes import RULES, Rules, select
from models.detection import Box, Detection

PAGE = (600, 800)
RULE = Rules(threshold=0.3)


def found(label: str, *box: float, score: float = 0.9, order: int = 0) -> Detection:
    return Detection(label, score, Box(*box), order)


def selected(*detections: Detection, rules: Rules = RULE, size: tuple[int, int] = PAGE) -> list[Detection]:
    return select(detections, size, rules)


def test_a_page_without_detections_has_no_boxes() -> None:
    """Bug: PaddleX fails on it."""
    assert selected() == []


@pytest.mark.parametrize(("score", "kept"), [(0.3, False), (0.31, True)])
def test_a_score_must_be_above_the_threshold(score: float, kept: bool) -> None:
    assert bool(selected(found("text", 0, 0, 100, 20, score=score))) is kept


def test_a_label_may_have_a_threshold_of_its_own() -> None:
    seal, chart = found("seal", 0, 0, 90, 90, score=0.46), found("chart", 0, 200, 90, 290, score=0.46)
    assert selected(seal, chart, rules=RULES["PP-DocLayoutV2"]) == [seal]


def test_boxes_are_rounded_and_clipped_to_the_page() -> None:
    assert [one.box for one in selected(found("text", -3.2, 10.5, 99.6, 900))] == [(0, 10, 100, 800)]


def test_a_box_outside_the_page_is_dropped() -> None:
    assert selected(found("text", 10, 801, 50, 830)) == []


def test_boxes_come_in_reading_order_not_by_score() -> None:
    second, first = found("text", 0, 0, 90, 20, score=0.9, order=7), found("text", 0, 50, 90, 70, score=0.5, order=3)
    assert selected(second, first) == [first, second]


@pytest.mark.parametrize(("right", "kept"), [(159, 1), (180, 2)])  # IoU 0.625 and 0.55
def test_a_box_found_twice_stays_once_with_the_better_score(right: int, kept: int) -> None:
    better, worse = found("text", 0, 0, 99, 99), found("text", 0, 0, right, 99, score=0.6)
    assert selected(worse, better)[0] == better
    assert len(selected(worse, better)) == kept


def test_boxes_of_two_labels_must_be_nearly_the_same_to_count_as_one() -> None:
    text, table = found("text", 0, 0, 300, 300), found("table", 0, 0, 300, 300, score=0.8)
    assert selected(text, table) == [text]
    assert len(selected(text, replace(table, box=Box(0, 0, 300, 280)))) == 2


def test_an_image_that_is_the_page_is_dropped() -> None:
    whole, text = found("image", 0, 0, *PAGE), found("text", 50, 50, 300, 90)
    assert selected(whole, text) == [text]


def test_an_image_that_is_all_of_the_page_stays() -> None:
    whole = found("image", 0, 0, *PAGE)
    assert selected(whole) == [whole]


@pytest.mark.parametrize(("size", "kept"), [((600, 800), True), ((800, 600), False)])
def test_a_landscape_page_is_taken_for_an_image_of_itself_sooner(size: tuple[int, int], kept: bool) -> None:
    image, text = found("image", 0, 0, size[0], 0.9 * size[1]), found("text", 0, 0.95 * size[1], 300, size[1])
    assert (image in selected(image, text, size=size)) is kept


@pytest.mark.parametrize(("label", "kept"), [("doc_title", 1), ("table", 2)])
def test_some_labels_swallow_what_lies_inside(label: str, kept: int) -> None:
    assert len(selected(found(label, 0, 0, 300, 100), found("text", 10, 10, 200, 50))) == kept


def test_of_two_titles_that_contain_each_other_the_larger_stays() -> None:
    """Bug: PaddleX drops both, and the title is lost."""
    larger, smaller = found("doc_title", 0, 0, 300, 100, score=0.5), found("paragraph_title", 0, 0, 300, 95)
    assert selected(larger, smaller) == [larger]
