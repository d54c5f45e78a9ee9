"""Titles of a document -> levels of headings."""

import pytest

from layout.markdown.headings import SAME_SIZE, Title, letter_size, levels


def titles(*texts: str, sizes: tuple[float, ...] = ()) -> list[Title]:
    """Titles of sections; `!` marks the document's own."""
    found = zip(texts, sizes or (0.02,) * len(texts), strict=True)
    return [Title(text.removeprefix("!"), text.startswith("!"), size) for text, size in found]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["!Title", "1 A", "1.1 B", "1.1.1 C", "2 D"], [1, 2, 3, 4, 2]),
        (["1. A", "1.1. B", "2. C"], [2, 3, 2]),
        (["1Introduction", "1.1背景"], [2, 3]),
        (["Chapter 1 A", "1.1 B", "1.1.1 C", "Chapter 2 D"], [2, 3, 4, 2]),
        (["Chapter 1 A", "1. B", "2. C"], [2, 3, 3]),
        (["Part I", "Chapter 1", "1.1 B"], [2, 3, 4]),
        (["第一章 总则", "第一节 目的", "第二章 范围"], [2, 3, 2]),
        (["一、总则", "（一）目的", "二、范围"], [2, 3, 2]),
        (["I. A", "A. B", "1) C", "B. D", "II. E"], [2, 3, 4, 3, 2]),
        (["1 A", "1.2 B", "Appendix A", "References"], [2, 3, 2, 2]),
        (["1 A", "1.1.1.1.1.1.1 B"], [2, 6]),
        ([], []),
    ],
)
def test_numbers_give_levels(texts: list[str], expected: list[int]) -> None:
    assert levels(titles(*texts)) == expected


def test_sizes_give_the_levels_of_titles_without_numbers() -> None:
    found = titles("A", "b", "C", "d", "e", sizes=(0.030, 0.020, 0.031, 0.0205, 0.0195))
    assert levels(found) == [2, 3, 2, 3, 3]


def test_a_title_without_a_number_takes_the_level_of_numbered_ones_of_its_size() -> None:
    found = titles("1 A", "1.1 B", "Remarks", "Outlook", sizes=(0.030, 0.020, 0.0202, 0.029))
    assert levels(found) == [2, 3, 3, 2]


def test_a_title_smaller_than_all_numbered_ones_lies_below_them() -> None:
    assert levels(titles("1 A", "Remarks", sizes=(0.03, 0.02))) == [2, 3]


def test_a_new_kind_of_number_takes_the_level_of_its_size() -> None:
    found = titles("1 A", "1.1 B", "A. Proofs", sizes=(0.030, 0.020, 0.030))
    assert levels(found) == [2, 3, 2]


def test_words_that_head_a_part_of_any_document_are_at_the_top() -> None:
    found = titles("Abstract", "1 A", "1.1 B", "参考文献", sizes=(0.02, 0.03, 0.02, 0.02))
    assert levels(found) == [2, 2, 3, 2]


def test_only_titles_of_the_document_are_at_level_one() -> None:
    assert levels(titles("!Title", "A", "!2 B", "1 C")) == [1, 2, 2, 2]


@pytest.mark.parametrize("text", ["3D models", "2024 in review", "Iron", "A good idea"])
def test_what_only_looks_like_a_number_gives_no_level(text: str) -> None:
    assert levels(titles("1 A", "1.1 B", text, sizes=(0.03, 0.02, 0.02)))[-1] == 3


@pytest.mark.parametrize(
    ("lines", "height"), [(["Pinch"], 18), (["Gauging"], 23), (["moss"], 12), (["Total of", "all pages"], 49)]
)
def test_titles_of_one_size_are_told_apart_from_their_letters(lines: list[str], height: float) -> None:
    """Bug: a title without descenders, or of two lines, got another level than others of its size, here 25 pixels."""
    size = letter_size(lines[0], lines[-1], len(lines), height)
    assert 1 / SAME_SIZE < size / 25 < SAME_SIZE


def test_chinese_letters_are_as_high_as_their_size() -> None:
    assert letter_size("总则", "总则", 1, 25) == 25
