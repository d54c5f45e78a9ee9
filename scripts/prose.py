#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Checks the wording of code and documents: one word for one thing, and sentences that begin with their noun.

scripts/prose.py           checks every file that git knows or would add
scripts/prose.py FILE...   checks these files only

Prints `FILE:LINE: "WORD": ADVICE` for each finding, and fails if there is one.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {
    *("scripts/prose.py", "tests/unit/test_prose.py"),  # they quote what is forbidden
    *("LICENSE", "licences.txt", "constraints.txt", "requirements.bento.txt"),
}
SKIPPED_FOLDERS = ("tests/data/",)
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".conf", ".env", ".service", ".container", ".toml"}
SHELL_FOLDERS = ("scripts/", ".ci/", "tests/faults/")  # shell scripts have no suffix

# Names that clients, operators and dashboards see.
PUBLISHED = re.compile(
    r"(?i:picture_cache_bytes)|paddleocr_vl:\w+|waiting_picture_bytes|picture_cache_(?:queries|hits)|picture_pixels"
    r"|\"pictures\"|`pictures`|pictures\.example"
)
WORDS = (
    (re.compile(r"\w*picture\w*", re.IGNORECASE), "use image"),
    (
        re.compile(r"\b(?:who|whoso|whom|what|where)soever\b|\bwhoever\b", re.IGNORECASE),
        "say which: client, caller, request, ...",
    ),
    (
        re.compile(r"(?<![A-Za-z])(?:nobody|somebody|anybody|everybody)(?![A-Za-z])", re.IGNORECASE),
        "say which: client, caller, request, sequence, ...",
    ),
    (re.compile(r"\b_?MOST_\w+"), "use MAX_..."),
    (re.compile(r"\b_?LEAST_\w+"), "use MIN_..."),
)
OPENERS = re.compile(r"\s*(of|that|which|where|whose)\b", re.IGNORECASE)
BEGIN = "begin with the noun"


@dataclass(frozen=True, order=True)
class Finding:
    """One forbidden word and its place."""

    line: int
    word: str
    advice: str


def findings(name: str, text: str) -> list[Finding]:
    """What is wrong in a file, by line; `name` says which kind of file it is."""
    found = list(_words(text))
    found += [
        Finding(line, word.group(1), BEGIN) for line, said in openings(name, text) if (word := OPENERS.match(said))
    ]
    return sorted(found)


def _words(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        checked = PUBLISHED.sub(lambda match: " " * len(match.group()), line)
        for pattern, advice in WORDS:
            yield from (Finding(number, match.group(), advice) for match in pattern.finditer(checked))


def openings(name: str, text: str) -> Iterable[tuple[int, str]]:
    """Line and beginning of each docstring and comment or, in Markdown, of each heading."""
    if name.endswith(".md"):
        return _headings(text)
    if name.endswith(".py"):
        return [*_docstrings(text), *_python_comments(text)]
    return _comments(text)


def _headings(text: str) -> Iterator[tuple[int, str]]:
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (heading := re.match(r"#+ +(.*)", line)):
            yield number, heading.group(1)


def _docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Also strings below an attribute, which describe it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def _python_comments(text: str) -> Iterator[tuple[int, str]]:
    above = -1  # the last line that is nothing but a comment: the next one continues its text
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            alone = not token.line[: token.start[1]].strip()
            if not (alone and line == above + 1):
                yield line, token.string.lstrip("#:! ")
            above = line if alone else -1


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """In shell scripts and configuration files, where `#` opens a comment at the start of a line or after a blank."""
    above = -1
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.search(r"(?:^|(?<=\s))#(?!!)\s*(.*)", line)
        if comment is None:
            continue
        alone = not line[: comment.start()].strip()
        if not (alone and number == above + 1):
            yield number, comment.group(1)
        above = number if alone else -1


def is_checked(name: str) -> bool:
    """Whether a file, by its path from the root, holds prose of ours."""
    if name in SKIPPED or name.startswith(SKIPPED_FOLDERS):
        return False
    path = Path(name)
    return path.suffix in SUFFIXES or (not path.suffix and name.startswith(SHELL_FOLDERS))


def files() -> list[str]:
    """Paths from the root of all files that git tracks or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return sorted(name for name in set(done.stdout.split("\0")) if is_checked(name) and (ROOT / name).is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help="default: all")
    chosen = parser.parse_args().files
    names = [str(Path(name).resolve().relative_to(ROOT)) for name in chosen] or files()
    count = 0
    for name in names:
        for finding in findings(name, (ROOT / name).read_text()):
            print(f'{name}:{finding.line}: "{finding.word}": {finding.advice}')
            count += 1
    print(f"prose: {len(names)} files, {count} findings", file=sys.stderr)
    return bool(count)


if __name__ == "__main__":
    sys.exit(main())
