"""Extraction on papers of six languages and ten styles of numbers, as training/eval_extraction.py measures it."""

from training.eval_extraction import Result, report
from training.plot_confidence import bins
from training.render_paper import papers


def test_papers_of_all_languages_and_styles_are_read_right() -> None:
    results = [Result(paper) for paper in papers(60, 99)]
    found = report(results)
    assert {result.paper.language for result in results} == {"en", "de", "fr", "es", "pl", "ja"}
    assert found["f1"] >= 0.97
    assert found["unmarked_share"] <= 0.002


def test_papers_are_the_same_for_a_seed() -> None:
    assert papers(6, 5) == papers(6, 5)


def test_confidence_is_compared_in_ranges() -> None:
    assert bins([(0.6, True), (0.6, False), (0.95, True)]) == [(0.6, 0.5, 2), (0.95, 1.0, 1)]
