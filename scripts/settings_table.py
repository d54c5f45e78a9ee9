#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Regenerates the tables in docs/settings.md from the settings of the server and of the OCR API."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs.settings import JobSettings
from settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
MODELS: tuple[type[BaseModel], ...] = (Settings, JobSettings)  # in the page's order
HEAD = "| variable | default | meaning |\n| --- | --- | --- |\n"
MEBIBYTE = 2**20


def table(model: type[BaseModel]) -> str:
    fields = model.model_fields.items()
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
        case timedelta():
            return f"`{default.days}d`"
        case Path():
            return "`~/" + str(default.relative_to(Path.home())) + "`"
        case tuple():
            return f"`{','.join(default)}`"
        case _:
            return f"`{default}`"


def with_tables(text: str) -> str:
    """The page's text with the current tables in place of its own."""
    start = 0
    for model in MODELS:
        start = text.index(HEAD, start)
        end = text.index("\n\n", start) + 1
        text = text[:start] + table(model) + text[end:]
        start += len(HEAD)
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
