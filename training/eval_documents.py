#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Draws the pages of the exam of whole-page reading, with their truth.

    training/eval_documents.py --render DIR     the pages and their truth, and no exam
"""

import argparse
from pathlib import Path

from training.exam_pages import render_pages, require_renderers, save_pages

PAGES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", type=Path, metavar="DIR", required=True)
    parser.add_argument("--pages", type=int, default=PAGES)
    options = parser.parse_args()
    require_renderers()
    save_pages(render_pages(options.pages), options.render)


if __name__ == "__main__":
    main()
