import math
from collections.abc import Iterable

import pytest

from answers.transcript import Part, Transcript


def transcript(*tokens: tuple[str, float | None]) -> Transcript:
    """A transcript of texts, each with the probability of the token that brought it."""
    one = Transcript()
    for text, probability in tokens:
        one.add(text, None if probability is None else math.log(probability))
    one.end()
    return one


def shown(one: Transcript, parts: Iterable[Part]) -> list[tuple[str, float]]:
    """Text and confidence, rounded."""
    return [(one.text[part.start : part.end], round(part.confidence, 6)) for part in parts]


def lines(one: Transcript) -> list[tuple[str, float]]:
    return shown(one, one.lines())


def test_a_line_has_the_geometric_mean_of_its_own_tokens() -> None:
    one = transcript(("ab", 0.5), ("c\n", 0.5), ("de", 0.9), ("", 0.1))
    assert lines(one) == [("abc", 0.5), ("de", 0.9)]


def test_the_whole_counts_the_end_token_too() -> None:
    assert transcript(("a", 0.9), ("", 0.4)).confidence == pytest.approx(0.6)


def test_a_token_whose_text_comes_late_counts_where_the_text_is() -> None:
    assert lines(transcript(("a\n", 1.0), ("", 0.25), ("é", 1.0))) == [("a", 1.0), ("é", 0.5)]


def test_words_are_those_of_their_line() -> None:
    one = transcript(("one ", 0.5), ("two\n", 0.25), ("three", 1.0))
    first, _ = one.lines()
    assert shown(one, one.words(first)) == [("one", 0.5), ("two", 0.25)]


def test_a_page_separator_has_no_confidence() -> None:
    assert lines(transcript(("a", 0.5), ("\n\n---\n\n", None), ("b", 0.5))) == [
        ("a", 0.5),
        ("b", 0.5),
    ]


def test_what_is_cut_no_longer_counts() -> None:
    one = transcript(("a", 0.9), ("b", 0.1), ("b", 0.1))
    one.cut(1)
    assert lines(one) == [("a", 0.9)]


def test_nothing_has_no_confidence() -> None:
    assert transcript().confidence is None
