"""The wording check finds what it should, where it is, and nothing else."""

import pytest

from scripts import prose


def words(name: str, text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.word) for finding in prose.findings(name, text)]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("load_pictures(data)", "load_pictures"),
        ("class Picture: ...", "Picture"),
        ("# a picture's size", "picture"),
        ('"""Whoever asks."""', "Whoever"),
        ("def test_nobody_waits() -> None: ...", "nobody"),
        ("# for everybody", "everybody"),
        ("_MOST_TOKENS = 3", "_MOST_TOKENS"),
        ("LEAST_ROWS = 2", "LEAST_ROWS"),
    ],
)
def test_a_forbidden_word_is_found_with_its_line(line: str, word: str) -> None:
    assert words("api/some.py", f"x = 1\n{line}\n") == [(2, word)]


@pytest.mark.parametrize(
    "line",
    [
        "settings.picture_cache_bytes",
        "`PICTURE_CACHE_BYTES=0`",
        "paddleocr_vl:picture_cache_hits_total",
        'facts["pictures"] = 1',
        "# at most three",
        "counter.most_common(3)",
        "print(last)",
    ],
)
def test_published_names_and_plain_words_pass(line: str) -> None:
    assert words("deploy/some.yaml", line) == []


def test_a_docstring_begins_with_its_noun() -> None:
    assert words("a.py", 'def f():\n    """Of a page."""\n') == [(2, "Of")]
    assert words("a.py", 'LIMIT = 3\n"""That holds."""\n') == [(2, "That")]
    assert words("a.py", 'def f():\n    """Height of a page, which is in pixels."""\n') == []


def test_a_comment_begins_with_its_noun() -> None:
    assert words("a.py", "x = 1  # of a page\n") == [(1, "of")]
    assert words("scripts/run", "#!/bin/sh\nrun # where it is\n") == [(2, "where")]
    assert words("deploy/a.conf", "  # Whose address it is\n") == [(1, "Whose")]


def test_only_the_first_line_of_a_comment_is_its_beginning() -> None:
    block = "# The height\n# of a page\n"
    assert words("a.py", f"{block}x = 1\n") == []
    assert words("deploy/a.yaml", block) == []


def test_a_heading_begins_with_its_noun_and_a_code_block_has_none() -> None:
    assert words("a.md", "## Where to read on\n") == [(1, "Where")]
    assert words("a.md", "```sh\n# where it is\n```\n") == []


def test_a_string_is_no_comment() -> None:
    assert words("a.py", 'x = "# of a page"\n') == []


def test_data_licences_and_the_list_itself_are_not_checked() -> None:
    skipped = ["tests/data/test_form.txt", "models/tiny/config.json", "licences.txt", "scripts/prose.py", "LICENSE"]
    assert [name for name in skipped if prose.is_checked(name)] == []
    checked = ["README.md", "api/app.py", "scripts/check", "deploy/nginx.conf", "deploy/paddleocr-vl.container"]
    assert [name for name in checked if not prose.is_checked(name)] == []
