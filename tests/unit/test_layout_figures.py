import re

import pytest

from layout.figures import figures_in, put_back
from models.detection import Box, Detection

TABLE = Detection("table", 0.9, Box(0, 0, 400, 300), 0)


def figure(*box: int, label: str = "image") -> Detection:
    return Detection(label, 0.9, Box(*box), 1)


def test_each_figure_has_a_token_of_clear_digits() -> None:
    figures = figures_in(TABLE, [figure(10 * i, 10, 10 * i + 40, 90) for i in range(30)])
    tokens = {one.token for one in figures}
    assert len(tokens) == 30
    assert all(re.fullmatch(r"\[F[2-8]+\]", token) for token in tokens)


def test_tokens_are_the_same_each_time() -> None:
    found = [figure(10, 10, 90, 90), figure(100, 10, 190, 90)]
    assert figures_in(TABLE, found) == figures_in(TABLE, found)


@pytest.mark.parametrize(("box", "has_token"), [((10, 10, 35, 90), True), ((10, 10, 34, 90), False)])
def test_a_figure_too_small_for_a_token_stays_as_it_is(box: tuple[int, int, int, int], has_token: bool) -> None:
    assert bool(figures_in(TABLE, [figure(*box)])) is has_token


@pytest.mark.parametrize("box", [(-5, 10, 90, 90), (10, 10, 90, 301), (500, 10, 590, 90)])
def test_a_figure_that_is_not_all_in_the_table_has_no_token(box: tuple[int, int, int, int]) -> None:
    assert figures_in(TABLE, [figure(*box)]) == ()


@pytest.mark.parametrize(("label", "has_token"), [("seal", True), ("text", False), ("chart", False)])
def test_images_and_seals_are_figures(label: str, has_token: bool) -> None:
    assert bool(figures_in(TABLE, [figure(10, 10, 90, 90, label=label)])) is has_token


def test_figures_are_put_back_where_their_tokens_are() -> None:
    text = "<td>[F2]</td><td>see [F34], [F2]</td>"
    assert put_back(text, {"[F2]": "![](a)", "[F34]": "![](b)"}) == "<td>![](a)</td><td>see ![](b), ![](a)</td>"


def test_a_figure_whose_token_the_model_left_out_follows_the_table() -> None:
    """Bug: PaddleX loses it."""
    assert put_back("<td>[F2]</td>", {"[F2]": "a", "[F3]": "b", "[F4]": "c"}) == "<td>a</td>\n\nb\n\nc"


def test_a_token_of_no_figure_stays() -> None:
    assert put_back("field [F5]", {}) == "field [F5]"
