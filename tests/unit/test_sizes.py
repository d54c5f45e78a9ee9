"""Files and functions stay small enough to be read at one go."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_SERVICE_LINES = 150  # the composition root has no logic of its own

listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
FILES = [file for file in listed.split() if (ROOT / file).exists()]


@pytest.mark.parametrize("file", FILES)
def test_a_file_and_its_functions_are_short(file: str) -> None:
    text = (ROOT / file).read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    long = {
        node.name: length
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and (length := node.end_lineno - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert not long


def test_the_service_only_puts_things_together() -> None:
    assert len((ROOT / "service.py").read_text().splitlines()) <= MAX_SERVICE_LINES
