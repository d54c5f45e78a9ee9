"""The folder for what is worked out for this machine once. All of it can be deleted, and is made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddleocr-vl"
