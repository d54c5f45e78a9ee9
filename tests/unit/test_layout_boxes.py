from dataclasses import replace

import pytest

from layout.boxes import RULES, Rules, lowest_threshold, rules_of, select
from layout.options import LayoutOptions, Merge, Ratio
from models.detection import Box, Detection

PAGE = (600, 800)
RULE = Rules(threshold=0.3)


def found(label: str, *box: float, score: float = 0.9, order: int = 0) -> Detection:
    return Detection(label, score, Box(*box), order)


def selected(
    *detections: Detection,
    rules: Rules = RULE,
    size: tuple[int, int] = PAGE,
    options: LayoutOptions = LayoutOptions(),  # noqa: B008
) -> list[Detection]:
    return select(detections, size, rules, options)


def test_a_page_without_detections_has_no_boxes() -> None:
    """Bug: PaddleX fails on it."""
    assert selected() == []


@pytest.mark.parametrize(("score", "kept"), [(0.3, False), (0.31, True)])
def test_a_score_must_be_above_the_threshold(score: float, kept: bool) -> None:
    assert bool(selected(found("text", 0, 0, 100, 20, score=score))) is kept


def test_a_label_may_have_a_threshold_of_its_own() -> None:
    seal, chart = found("seal", 0, 0, 90, 90, score=0.46), found("chart", 0, 200, 90, 290, score=0.46)
    assert selected(seal, chart, rules=RULES["pp_doclayout_v2"]) == [seal]


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


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, ["text", "seal"]), ({"text": 0.7, "chart": 0.3}, ["chart"])])
def test_a_request_may_have_thresholds_of_its_own(threshold: float | dict[str, float], kept: list[str]) -> None:
    """A mapping takes all labels from the network's thresholds: those that it leaves out get 0.5, as in PaddleX."""
    rows = [("text", 0.6), ("seal", 0.51), ("chart", 0.4)] if threshold == 0.5 else [("text", 0.6), ("chart", 0.4)]
    boxes = [found(label, 0, 99 * i, 90, 99 * i + 50, score=score, order=i) for i, (label, score) in enumerate(rows)]
    result = selected(*boxes, rules=RULES["pp_doclayout_v2"], options=LayoutOptions(threshold=threshold))
    assert [one.label for one in result] == kept


@pytest.mark.parametrize(
    ("model_type", "threshold", "lowest"),
    [
        ("pp_doclayout_v2", None, 0.4),
        ("pp_doclayout_v3", None, 0.3),
        ("pp_doclayout_v4", 0.7, 0.7),
        ("pp_doclayout_v4", {"text": 0.2}, 0.2),
        ("pp_doclayout_v4", {"text": 0.9}, 0.5),
    ],
)
def test_a_network_is_asked_for_all_that_may_be_kept(
    model_type: str, threshold: float | dict[str, float] | None, lowest: float
) -> None:
    assert lowest_threshold(rules_of(model_type), LayoutOptions(threshold=threshold)) == lowest


def test_a_network_without_rules_is_refused() -> None:
    with pytest.raises(KeyError, match="pp_doclayout_v9"):
        rules_of("pp_doclayout_v9")


def test_a_box_found_twice_stays_twice_on_request() -> None:
    twice = found("text", 0, 0, 99, 99), found("text", 0, 0, 99, 98, score=0.6, order=1)
    assert len(selected(*twice, options=LayoutOptions(nms=False))) == 2


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("union", ["table", "text", "doc_title"]),
        ("large", ["table"]),
        ("small", ["text", "doc_title"]),
        ({"table": "large"}, ["table"]),
        ({"text": "small"}, ["text", "doc_title"]),
        ({"table": "small"}, ["table", "text", "doc_title"]),
        ({}, ["table", "text", "doc_title"]),
    ],
)
def test_what_lies_in_another_box_is_merged_as_requested(mode: Merge | dict[str, Merge], kept: list[str]) -> None:
    rows = [("table", 0, 0, 300, 300), ("text", 10, 10, 200, 50), ("doc_title", 10, 100, 200, 150)]
    boxes = [found(label, *box, order=order) for order, (label, *box) in enumerate(rows)]
    result = selected(*boxes, options=LayoutOptions(merge_boxes=mode))
    assert [one.label for one in result] == kept


@pytest.mark.parametrize(
    ("ratio", "box"),
    [
        ((2.0, 1.0), (50, 100, 250, 150)),
        ((0.5, 0.2), (125, 120, 175, 130)),
        ({"text": (1.0, 3.0)}, (100, 50, 200, 200)),
        ({"table": (1.0, 3.0)}, (100, 100, 200, 150)),
        ((9.0, 1.0), (0, 100, 600, 150)),
    ],
)
def test_a_box_grows_about_its_centre_within_the_page(ratio: Ratio | dict[str, Ratio], box: Box) -> None:
    (result,) = selected(found("text", 100, 100, 200, 150), options=LayoutOptions(unclip=ratio))
    assert result.box == box


def test_an_outline_grows_with_its_box() -> None:
    """Bug: PaddleX's stays, and what the box has gained is painted white."""
    corners = ((100, 100), (200, 100), (200, 150), (150, 130), (100, 150))
    one = replace(found("text", 100, 100, 200, 150), polygon=corners)
    (result,) = selected(one, options=LayoutOptions(unclip=(2.0, 2.0), shape="poly"))
    assert result.polygon == ((50, 75), (250, 75), (250, 175), (150, 135), (50, 175))


def test_outlines_stay_with_their_boxes_when_others_are_dropped() -> None:
    """Bug: where one mode of merging holds for all labels, PaddleX gives a box the outline of one that is gone."""
    outer, inner = found("text", 0, 0, 300, 300), found("text", 10, 10, 200, 50, order=1)
    inner = replace(inner, polygon=((10, 10), (200, 10), (10, 50), (10, 30)))
    (result,) = selected(outer, inner, options=LayoutOptions(merge_boxes="small", shape="poly"))
    assert result == inner


def test_rectangles_on_request_have_no_outlines() -> None:
    one = replace(found("text", 10, 10, 200, 50), polygon=((10, 10), (200, 10), (10, 50), (10, 30)))
    assert selected(one, options=LayoutOptions(shape="rect")) == [replace(one, polygon=None)]
