import json
from itertools import pairwise

import pytest

from modes.spotting import SpottingFinisher

CORNERS = (100, 200, 300, 200, 300, 250, 100, 250)
POINTS = [[200, 100], [600, 100], [600, 125], [200, 125]]  # CORNERS in an image of 2000 x 500


def coordinates(*thousandths: int) -> str:
    return "".join(f"<|LOC_{number}|>" for number in thousandths)


def line(text: str) -> str:
    return text + coordinates(*CORNERS)


def spotted(raw: str, width: int = 2000, height: int = 500) -> list[tuple[str, list[list[int]] | None]]:
    finisher = SpottingFinisher(width, height)
    return [(found["text"], found["points"]) for found in json.loads(finisher.push(raw) + finisher.end())]


@pytest.mark.parametrize("between", ["\n", "", "\n\n", " \n "])
def test_lines_have_their_corners_in_pixels(between: str) -> None:
    assert spotted(line("one") + between + line("two words")) == [("one", POINTS), ("two words", POINTS)]


def test_a_line_in_a_frame_is_the_same_line() -> None:
    raw = f"<|TEXT_START|>one<|TEXT_END|><|LOC_BEGIN|>{coordinates(*CORNERS)}<|LOC_END|>"
    assert spotted(raw * 2) == [("one", POINTS), ("one", POINTS)]


def test_pixels_are_rounded_and_stay_in_the_image() -> None:
    raw = "a" + coordinates(0, 0, 999, 1, 1000, 1000, 1001, 9999)
    assert spotted(raw, width=333, height=777) == [("a", [[0, 0], [333, 1], [333, 777], [333, 777]])]


@pytest.mark.parametrize(
    "rest",
    ["", "<|LOC_1", coordinates(1), coordinates(*CORNERS[:7]), "\n", "<|TEXT_END|>", "<|"],
    ids=["text", "half a token", "one coordinate", "seven coordinates", "a line", "framed", "a bar"],
)
def test_text_that_breaks_off_before_its_corners_is_not_lost(rest: str) -> None:
    assert spotted(line("one") + "\ntwo" + rest) == [("one", POINTS), ("two", None)]


@pytest.mark.parametrize("corners", ["", coordinates(1, 2, 3)])
def test_a_line_with_too_few_coordinates_uses_none_of_the_next_line(corners: str) -> None:
    assert spotted(f"one{corners}\n{line('two')}") == [("one", None), ("two", POINTS)]


def test_text_after_too_few_coordinates_is_another_line() -> None:
    assert spotted(f"one{coordinates(1, 2)} {line('two')}") == [("one", None), ("two", POINTS)]


def test_coordinates_on_the_line_below_belong_to_the_text() -> None:
    assert spotted("one\n" + coordinates(*CORNERS[:4]) + "\n" + coordinates(*CORNERS[4:])) == [("one", POINTS)]


def test_coordinates_without_text_are_not_lost() -> None:
    assert spotted(line("") + line("two")) == [("", POINTS), ("two", POINTS)]


@pytest.mark.parametrize("raw", ["", " \n\n", coordinates(1, 2), "<|LOC_"])
def test_nothing_spotted_is_an_empty_list(raw: str) -> None:
    assert spotted(raw) == []


@pytest.mark.parametrize("text", ["<", "a < b", "<|", "<|IMAGE|>", "<|LOC_x|>", "<|LOC_123456|>", 'a "quoted" \\'])
def test_text_that_looks_like_tokens_or_json_is_text(text: str) -> None:
    assert spotted(line(text)) == [(text, POINTS)]


def test_letters_are_not_escaped() -> None:
    finisher = SpottingFinisher(1000, 1000)
    assert finisher.push(line("发票 №")).startswith('[{"text": "发票 №", "points": [[')


def test_an_element_is_streamed_with_its_last_coordinate() -> None:
    finisher = SpottingFinisher(2000, 500)
    first = finisher.push(line("one"))
    assert json.loads(first + "]") == [{"text": "one", "points": POINTS}]
    assert finisher.push("\ntwo" + coordinates(*CORNERS[:7])) == ""
    assert json.loads("[" + finisher.push(coordinates(CORNERS[7])).removeprefix(", ") + "]")[0]["text"] == "two"


def test_an_answer_cut_anywhere_is_json_with_all_its_lines() -> None:
    raw = f"{line('one')}\n{line('deux')}\n<|TEXT_START|>三<|TEXT_END|>{coordinates(*CORNERS)}"
    found = [spotted(raw[:length]) for length in range(len(raw) + 1)]
    assert all(len(before) <= len(after) for before, after in pairwise(found))
    assert found[-1] == [("one", POINTS), ("deux", POINTS), ("三", POINTS)]
