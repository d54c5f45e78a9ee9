"""Images of page blocks for training: their text as printed, and centres that lie on the characters."""

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from training import block_words, render_text, typesetting
from training.rasterise import finish, turned, with_paper
from training.render_blocks import HELD_OUT_FAMILIES, TRAINING_FAMILIES, Shape, choose_shape, draw_block
from training.render_sheets import Style, draw_sheet, make_fitting
from training.render_tables import broken, table
from training.render_text import ANSWER_CHARACTERS, BUILT_IN, Page, Writer, load_font
from training.typesetting import AS_TYPED, BOLD, REGULAR, Look, Print, Typesetter, families, styled

WORDS = (["stone", "river", "mountainous", "light", "of", "window"], ["Anna", "Berlin", "Carter"])
FAMILY = ("built-in",) * 4
PARAGRAPH = Shape("paragraph", em=20, width=400, pitch=1.3, counts=(6,), gap=0)


@pytest.fixture(autouse=True)
def _without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Draws with Pillow's own font and a few words, so that no package of fonts or words is needed."""
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    (tmp_path / "font").write_bytes(font.font_bytes)
    monkeypatch.setattr(typesetting, "font_paths", lambda: {"built-in": str(tmp_path / "font")})
    monkeypatch.setattr(render_text, "words", lambda held_out: WORDS)  # noqa: ARG005 - the same for both
    yield
    typesetting.block_font.cache_clear()


def look(**other: Any) -> Look:
    fonts = [typesetting.block_font("built-in", 20, ImageFont.Layout.BASIC)] * 4
    plain = Look(fonts, align="left", hyphenates=False, indent=0.0, style=REGULAR, mixed=0.0, curly=False)
    return replace(plain, **other)


def typesetter(text: str, width: float, **other: Any) -> Typesetter:
    return Typesetter(random.Random(0), look(**other), ((word, REGULAR) for word in text.split()), width)


def ink(page: Page) -> np.ndarray:
    """How far every pixel is from the paper's colour: (H, W), 0 to 255."""
    pixels = np.asarray(page.image).astype(float)
    return np.abs(pixels - np.median(pixels.reshape(-1, 3), axis=0)).max(axis=2)


def share_on_ink(page: Page, reach: int) -> float:
    """The share of characters with ink within `reach` pixels of their centre."""
    near = Image.fromarray((ink(page) > 60).astype(np.uint8) * 255)
    found = [
        bool(
            np.asarray(
                near.crop((round(x) - reach, round(y) - reach, round(x) + reach + 1, round(y) + reach + 1))
            ).any()
        )
        for (x, y), piece in zip(page.centres, page.pieces, strict=True)
        if piece.isalnum()
    ]
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(8))
def test_every_character_has_its_centre_on_ink(seed: int) -> None:
    page = draw_block(random.Random(seed), PARAGRAPH, [FAMILY], held_out=False)
    assert share_on_ink(page, 4) > 0.99


def test_centres_of_blanks_and_of_line_ends_lie_between_and_behind_the_words() -> None:
    line = typesetter("stone river", 400).paragraph(1)[0]
    sheet = Print((500, 100), 40, 20, look())
    sheet.draw(line, 0)
    columns = np.flatnonzero(np.asarray(sheet.mask).any(axis=0))
    blank, end = sheet.centres[sheet.pieces.index(" ")][0], sheet.centres[sheet.pieces.index("\n")][0]
    assert not np.asarray(sheet.mask)[:, round(blank)].any()
    assert end == pytest.approx(columns[-1], abs=3)


@pytest.mark.parametrize("degrees", [-1.0, 0.6, 30.0])
def test_points_turn_with_their_image(degrees: float) -> None:
    image = Image.new("L", (200, 120))
    image.paste(255, (150, 30, 153, 33))
    found = np.argwhere(np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC)) > 100).mean(axis=0)[::-1] + 0.5
    assert turned(np.array([[151.5, 31.5]]), image.size, degrees)[0] == pytest.approx(found, abs=0.6)


def test_centres_shrink_with_their_image() -> None:
    own, others = Image.new("L", (400, 300)), Image.new("L", (400, 300))
    own.paste(255, (100, 100, 300, 108))
    own.paste(255, (196, 140, 204, 148))
    for seed in range(6):
        image, centres = finish(random.Random(seed), own, others, np.array([[200.0, 144.0]]), 4, 0)
        page = Page(image, "x", centres)
        lower = ink(page)[image.height // 2 :]
        y, x = np.argwhere(lower > lower.max() / 2).mean(axis=0) + 0.5
        assert centres[0] == pytest.approx((x, y + image.height // 2), abs=1.5)


def test_the_answer_has_a_line_for_each_printed_one() -> None:
    page = draw_block(random.Random(1), PARAGRAPH, [FAMILY], held_out=False)
    assert page.text.count("\n") == 5
    middles = page.centres[:, 1]
    assert np.ptp(middles) == pytest.approx(5 * 1.3 * 20, rel=0.05)


def test_a_word_divided_at_a_line_end_is_answered_as_printed() -> None:
    lines = typesetter("of mountainous", 90, hyphenates=True).paragraph(2)
    first, second = ([word.printed for word in line.words] for line in lines)
    assert first[1].endswith("-")
    assert first[1].removesuffix("-") + second[0] == "mountainous"


def test_a_word_wider_than_its_line_is_divided_even_without_hyphenation() -> None:
    lines = typesetter("mountainous", 70).paragraph(3)
    assert next(word.printed for word in lines[0].words).endswith("-")


def test_full_lines_of_justified_text_end_at_its_width() -> None:
    lines = typesetter("stone river light " * 20, 400, align="justified").paragraph(4)
    assert [line.end for line in lines[:3]] == pytest.approx([400] * 3)


def test_the_lines_of_an_item_hang_below_its_text() -> None:
    lines = typesetter("stone river light " * 20, 300, indent=30.0).paragraph(3, "•")
    assert [line.words[0].x for line in lines] == [0.0, 30.0, 30.0]
    assert [word.x for word in lines[0].words][1] == 30.0


def test_bullets_dashes_and_curly_quotes_are_answered_in_ascii() -> None:
    assert "• – “it’s”".translate(AS_TYPED) == '- - "it\'s"'


@pytest.mark.parametrize("seed", range(40))
def test_answers_hold_only_what_the_vocabulary_has(seed: int) -> None:
    rng = random.Random(seed)
    page = draw_block(rng, choose_shape(rng, 4), [FAMILY], held_out=False)
    assert page.text.strip() == page.text
    assert set(page.text) <= set(ANSWER_CHARACTERS + "\n")
    assert len(page.pieces) == len(page.centres)


@pytest.mark.parametrize("most", [4, 14])
def test_blocks_have_as_many_lines_as_wanted_at_most(most: int) -> None:
    rng = random.Random(0)
    assert max(sum(choose_shape(rng, most).counts) for _ in range(300)) == most


def test_blocks_grow_with_the_training() -> None:
    rng = random.Random(0)
    small, large = ([choose_shape(rng, 4, growth) for _ in range(300)] for growth in (0.0, 1.0))
    widths = [max(shape.width for shape in shapes if shape.kind == "paragraph") for shapes in (small, large)]
    assert widths[0] <= 500 < widths[1] <= 960


@pytest.mark.parametrize(
    ("text", "lines"),
    [("Walnut bread", ["Walnut ", "bread"]), ("Walnut", ["Walnut"]), ("Walnutbread", ["Walnut", "bread"])],
)
def test_a_cell_is_broken_at_blanks_and_else_within_a_word(text: str, lines: list[str]) -> None:
    font = load_font(BUILT_IN, 20)
    assert broken(font, text, font.getlength("Walnut") + 2) == lines


@pytest.mark.parametrize("seed", range(20))
def test_a_cell_of_several_lines_is_one_cell(seed: int) -> None:
    rng = random.Random(seed)
    style = Style(BUILT_IN, size=20, width=900, pitch=1.3, items=4, held_out=False, wrapped=1.0)
    sheet = make_fitting(partial(table, rng, style))
    page = draw_sheet(rng, sheet)
    assert len(page.pieces) == len(page.centres)
    rows = [row.replace("<ecel>", "<fcel>").split("<fcel>")[1:] for row in sheet.text.split("<nl>")[:-1]]
    assert rows == sheet.truth or any(tag in sheet.text for tag in ("<lcel>", "<ucel>"))


def test_paper_around_an_image_moves_the_centres_with_it() -> None:
    page = Page(Image.new("RGB", (40, 20), (200, 210, 220)), "x", np.array([[10.0, 12.0]]))
    page.image.putpixel((10, 12), (0, 0, 0))
    for seed in range(5):
        wide = with_paper(random.Random(seed), page, 100, 40)
        assert wide.image.size == (90, 36)
        assert wide.image.getpixel((int(wide.centres[0][0]), int(wide.centres[0][1]))) == (0, 0, 0)
        assert wide.image.getpixel((89, 0)) == (200, 210, 220)


def test_no_family_of_the_evaluation_is_in_the_training() -> None:
    assert not {name for family in HELD_OUT_FAMILIES for name in family} & {
        name for family in TRAINING_FAMILIES for name in family
    }


def test_a_family_without_italics_uses_its_bold_font() -> None:
    assert families("A B\nC") == [("A", "B", "B", "B"), ("C", "C", "C", "C")]


def test_a_few_words_are_printed_in_another_style() -> None:
    words = styled(random.Random(0), iter(["stone"] * 200), look(mixed=0.1))
    assert {REGULAR, BOLD} <= {style for _, style in words}


def test_running_titles_are_short() -> None:
    assert all(len(list(block_words.running(Writer(random.Random(seed), held_out=False)))) < 12 for seed in range(50))
