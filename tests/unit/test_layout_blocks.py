from dataclasses import replace

import pytest

from layout.blocks import blocks_of, stack, without_overlaps
from layout.options import LayoutOptions
from models.detection import Box, Detection


def page(*rows: tuple[str, int, int, int, int]) -> list[Detection]:
    """Detections in reading order from (label, left, top, right, bottom)."""
    return [Detection(label, 0.9, Box(*box), order) for order, (label, *box) in enumerate(rows)]


def kept(*rows: tuple[str, int, int, int, int]) -> list[str]:
    return [found.label for found in without_overlaps(page(*rows))]


def stacks(*rows: tuple[str, int, int, int, int]) -> list[list[float]]:
    """Places in reading order of the boxes of each block."""
    return [[part.order for part in block.parts] for block in stack(page(*rows))]


def test_of_two_texts_that_overlap_the_larger_stays() -> None:
    assert without_overlaps(found := page(("text", 0, 0, 100, 20), ("text", 0, 5, 100, 40))) == found[1:]


def test_texts_that_overlap_a_little_both_stay() -> None:
    assert len(kept(("text", 0, 0, 100, 20), ("text", 0, 8, 100, 40))) == 2


def test_a_thin_box_is_dropped() -> None:
    assert kept(("text", 0, 0, 5, 100), ("text", 50, 0, 56, 100)) == ["text"]


def test_a_thin_box_drops_no_other() -> None:
    """Bug: in PaddleX it does before it goes itself, so that nothing is left."""
    assert kept(("text", 0, 0, 7, 50), ("text", 0, 0, 5, 100)) == ["text"]


@pytest.mark.parametrize("other", ["text", "table", "image", "display_formula"])
def test_an_inline_formula_that_lies_in_another_block_is_read_there(other: str) -> None:
    assert kept(("inline_formula", 10, 10, 50, 30), (other, 0, 0, 200, 18)) == ["inline_formula", other]
    assert kept(("inline_formula", 10, 10, 50, 30), (other, 0, 0, 200, 22)) == [other]


def test_of_two_inline_formulas_that_overlap_the_larger_stays() -> None:
    """Bug: PaddleX drops both."""
    found = page(("inline_formula", 10, 10, 50, 30), ("inline_formula", 10, 10, 60, 30))
    assert without_overlaps(found) == without_overlaps(found[::-1]) == found[1:]


@pytest.mark.parametrize(
    ("inner", "outer", "both"),
    [
        ("text", "image", True),
        ("seal", "text", True),
        ("image", "table", True),
        ("text", "table", False),
        ("image", "image", False),
    ],
)
def test_a_figure_may_overlap_others_but_a_table_holds_its_texts(inner: str, outer: str, both: bool) -> None:
    assert kept((inner, 10, 10, 50, 30), (outer, 0, 0, 200, 200)) == ([inner, outer] if both else [outer])


def test_boxes_whose_outlines_keep_apart_both_stay() -> None:
    upper, lower = page(("text", 0, 0, 100, 100), ("text", 0, 0, 100, 100))
    upper = replace(upper, polygon=((0, 0), (100, 0), (0, 100)))
    assert len(without_overlaps([upper, replace(lower, polygon=((100, 100), (100, 0), (0, 100)))])) == 2
    assert len(without_overlaps([upper, replace(lower, polygon=((0, 0), (100, 0), (10, 100)))])) == 1


def test_a_section_of_references_is_read() -> None:
    """Bug: PaddleX drops it, whether or not its entries were found."""
    assert kept(("reference", 0, 0, 200, 100)) == ["reference"]


def test_a_section_of_references_gives_way_to_entries_that_cover_it() -> None:
    section, first = ("reference", 0, 0, 200, 100), ("reference_content", 0, 0, 200, 45)
    assert kept(section, first, ("reference_content", 0, 50, 200, 95)) == ["reference_content"] * 2
    assert kept(section, first) == ["reference"]


def test_a_text_that_goes_on_in_the_next_column_is_stacked() -> None:
    (block,) = stack(page(("text", 0, 300, 200, 400), ("text", 220, 0, 420, 80)))
    assert len(block.parts) == 2
    assert block.aligns == ("center",)


@pytest.mark.parametrize(
    "second",
    [
        ("text", 265, 0, 420, 80),  # too far to the right
        ("text", 220, 400, 420, 480),  # below the first
        ("paragraph_title", 220, 0, 420, 80),
    ],
)
def test_what_is_no_next_column_is_read_alone(second: tuple[str, int, int, int, int]) -> None:
    assert stacks(("text", 0, 300, 200, 400), second) == [[0], [1]]


@pytest.mark.parametrize(("left", "right", "align"), [(5, 300, "left"), (100, 195, "right")])
def test_a_text_that_flows_around_a_figure_is_stacked(left: int, right: int, align: str) -> None:
    found = page(("text", 0, 0, 200, 60), ("text", left, 70, right, 130), ("image", 0, 100, 400, 120))
    text, image = stack(found)
    assert (len(text.parts), text.aligns, image.label) == (2, (align,), "image")


@pytest.mark.parametrize(("top", "expected"), [(88, [[0, 1], [2]]), (90, [[0], [1], [2]])])
def test_a_text_far_below_is_read_alone(top: int, expected: list[list[float]]) -> None:
    assert stacks(("text", 0, 0, 200, 60), ("text", 0, top, 300, top + 50), ("image", 0, 60, 400, 80)) == expected


def test_paragraphs_that_touch_no_figure_are_read_alone() -> None:
    assert stacks(("text", 0, 0, 200, 60), ("text", 0, 70, 300, 130)) == [[0], [1]]


def test_paragraphs_of_the_same_width_are_read_alone() -> None:
    assert stacks(("text", 0, 0, 200, 60), ("text", 5, 70, 195, 130), ("image", 0, 0, 90, 90)) == [[0], [1], [2]]


def test_a_figure_between_the_texts_of_a_stack_comes_after_it() -> None:
    rows = [("text", 0, 300, 200, 400), ("image", 0, 100, 200, 250), ("text", 220, 0, 420, 80)]
    assert stacks(*rows) == [[0, 2], [1]]


def test_texts_too_tall_for_a_stack_keep_their_order() -> None:
    """Bug: PaddleX does not stack them either, but moves the figure behind both."""
    rows = [("text", 0, 200, 200, 500), ("image", 0, 100, 200, 190), ("text", 220, 0, 420, 300)]
    assert stacks(*rows) == [[0], [1], [2]]


def test_a_chart_that_is_read_keeps_a_text_from_going_on() -> None:
    rows = page(("text", 0, 300, 200, 400), ("chart", 0, 100, 200, 250), ("text", 220, 0, 420, 80))
    assert [len(block.parts) for block in stack(rows)] == [2, 1]
    assert [len(block.parts) for block in stack(rows, read={"chart"})] == [1, 1, 1]


def test_headers_footers_and_page_numbers_are_kept_and_marked() -> None:
    rows = page(("header", 0, 0, 300, 20), ("text", 0, 100, 300, 140), ("footnote", 0, 500, 300, 520))
    blocks = blocks_of([*rows, *page(("number", 140, 780, 160, 795))], LayoutOptions())
    assert {block.label: block.running for block in blocks} == {
        **{"header": True, "text": False, "footnote": False, "number": True}
    }
    assert all(block.task for block in blocks)


def test_texts_stay_apart_on_request() -> None:
    rows = page(("text", 0, 300, 200, 400), ("image", 0, 100, 200, 250), ("text", 220, 0, 420, 80))
    blocks = blocks_of(rows, LayoutOptions(merge_blocks=False))
    assert [block.parts for block in blocks] == [(row,) for row in rows]
    assert [block.task is not None for block in blocks] == [True, False, True]


def test_a_figure_in_a_table_is_part_of_its_block() -> None:
    table, figure, beside = page(("table", 0, 0, 400, 300), ("image", 50, 50, 100, 90), ("image", 380, 0, 420, 90))
    blocks = blocks_of([table, figure, beside], LayoutOptions())
    assert [block.parts[0] for block in blocks] == [table, beside]
    assert [one.found for one in blocks[0].figures] == [figure]


def test_a_figure_in_a_table_that_is_to_be_read_has_a_block_as_well() -> None:
    table, seal = page(("table", 0, 0, 400, 300), ("seal", 50, 50, 100, 90))
    blocks = blocks_of([table, seal], LayoutOptions(read=frozenset({"seal"})))
    assert [block.parts[0] for block in blocks] == [table, seal]
    assert len(blocks[0].figures) == 1
