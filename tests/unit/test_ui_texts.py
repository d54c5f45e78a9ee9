"""The words of the pages for people: there in each language, and none for nothing."""

import re
from pathlib import Path

UI = Path(__file__).resolve().parents[2] / "ui"
SOURCE = (UI / "texts.js").read_text()
NAME = re.compile(r'(?:^|[{,]) *(?:"([\w.]+)"|(\w+)): *(?=["(])', re.M)


def names(language: str) -> set[str]:
    block = re.search(rf"^  {language}: \{{\n(.*?)^  \}},", SOURCE, re.M | re.S)
    assert block is not None
    return {quoted or plain for quoted, plain in NAME.findall(re.sub(r'"(?!:)(?:[^"\\]|\\.)*"(?!:)', '""', block[1]))}


def test_every_text_is_there_in_both_languages() -> None:
    assert names("en") == names("zh")
    assert len(names("en")) > 50


def test_every_text_that_a_page_names_exists() -> None:
    pages = "".join(file.read_text() for file in UI.glob("*.html"))
    scripts = "".join(file.read_text() for file in UI.glob("*.js"))
    named = set(re.findall(r'data-(?:text|label)="(\w+)"', pages)) | set(re.findall(r'text\("([\w.]+)"', scripts))
    assert named <= names("en"), named - names("en")
