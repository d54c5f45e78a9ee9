"""The folder for what is worked out for this machine once. All of it can be deleted, and is made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddleocr-vl"


def replace_file(file: Path, content: bytes) -> None:
    """Write a file that other processes see whole or not at all. Raises OSError."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    part.replace(file)
