#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Regenerates the table in docs/settings.md from settings.py: scripts/settings_table.py"""

from pathlib import Path
from typing import Any

from settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = "| variable | default | meaning |\n| --- | --- | --- |\n"
MEBIBYTE = 2**20


def table() -> str:
    fields = Settings.model_fields.items()
    return HEAD + "".join(
        f"| `{name.upper()}` | {formatted(field.default)} | {field.description} |\n" for name, field in fields
    )


def formatted(default: Any) -> str:
    match default:
        case None | ():
            return "unset"
        case bool():
            return f"`{int(default)}`"
        case int() if default >= MEBIBYTE and default % MEBIBYTE == 0:
            return f"`{default}` ({default // MEBIBYTE} MiB)"
        case float():
            return f"`{default:g}`"
        case _:
            return f"`{default}`"


def with_table(text: str) -> str:
    """The page's text with the current table in place of its own."""
    start = text.index(HEAD)
    return text[:start] + table() + text[text.index("\n\n", start) + 1 :]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
