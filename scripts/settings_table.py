#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Writes the README's table of settings anew from settings.py: scripts/settings_table.py"""

from pathlib import Path
from typing import Any

from settings import Settings

README = Path(__file__).resolve().parent.parent / "README.md"
HEAD = "| variable | default | meaning |\n| --- | --- | --- |\n"
MEBIBYTE = 2**20


def table() -> str:
    fields = Settings.model_fields.items()
    return HEAD + "".join(
        f"| `{name.upper()}` | {shown(field.default)} | {field.description} |\n" for name, field in fields
    )


def shown(default: Any) -> str:
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


def written(text: str) -> str:
    """The README's text with its table as it should be."""
    start = text.index(HEAD)
    return text[:start] + table() + text[text.index("\n\n", start) + 1 :]


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
