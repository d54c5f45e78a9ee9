#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Draws what a running server finds on pages: scripts/draw_blocks.py FILE

FILE is an image or a PDF. NAME.md gets its Markdown, and NAME.blocks.png the page with the box of each block, its place
in reading order and its label; several pages go to NAME-1.blocks.png and so on. The environment variables are those of
scripts/ocr.py. The server needs a layout model.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openai import OpenAI, OpenAIError
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from cli.documents import opened
from cli.errors import NoServerError, UnreadableFileError, UsageError
from cli.server import check, connect, model_name, needs_server, part_of
from images.decoding import open_file, open_page
from images.errors import InvalidImage

LINE = 0.002  # width of lines, in widths of the page
TYPE = 0.014  # size of labels, in heights of the page
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")

Block = Mapping[str, Any]  # an item of `ocr.blocks`


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        write(options.file, options.out)
    except (UsageError, NoServerError, UnreadableFileError, InvalidImage, OpenAIError, OSError) as error:
        print(f"draw_blocks: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw the blocks that a running server finds on pages.")
    parser.add_argument("file", type=Path, metavar="FILE", help="an image or a PDF")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="DIR", default=Path(), help="where to write (default: the current folder)"
    )
    return parser.parse_args(arguments)


def write(file: Path, folder: Path) -> None:
    """Write the files of one document. Raises UsageError and what `read` and `pages_of` raise."""
    client = connect()
    check(client)
    text, blocks = read(client, file)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{file.stem}.md").write_text(text + "\n", encoding="utf-8")
    count, images = pages_of(file.read_bytes())
    bar = tqdm(images, total=count, unit="page", file=sys.stderr, disable=count == 1)
    for number, image in enumerate(bar, 1):
        name = f"{file.stem}-{number}" if count > 1 else file.stem
        page = drawn(image, [block for block in blocks if block["page"] == number])
        page.save(folder / f"{name}.blocks.png", optimize=True)


def read(client: OpenAI, file: Path) -> tuple[str, list[Block]]:
    """The Markdown of a file, and its blocks. Raises NoServerError, UnreadableFileError, OSError, OpenAIError."""
    content: Any = [part_of(opened(file.name, file.read_bytes()))]
    with needs_server(client):
        answer = client.chat.completions.create(
            model=model_name(),
            messages=[{"role": "user", "content": content}],
            temperature=0,
            # A server without a layout model says so, instead of reading each page as one image.
            extra_body={"mode": "document", "layout": True},
        )
    (choice,) = answer.choices
    return choice.message.content or "", (choice.model_extra or {})["ocr"]["blocks"]


def pages_of(data: bytes) -> tuple[int, Iterator[Image.Image]]:
    """The number of a file's pages, and these as the server sees them, one at a time. Raises InvalidImage."""
    image_or_count = open_file(data, sys.maxsize, sys.maxsize)  # the server has its own limits, and has read the file
    if isinstance(image_or_count, Image.Image):
        return 1, iter([image_or_count])
    return image_or_count, (open_page(data, number, sys.maxsize) for number in range(image_or_count))


def drawn(page: Image.Image, blocks: Sequence[Block]) -> Image.Image:
    """A copy of the page with its blocks: boxes in colours by label; a block of several boxes has a tag on each."""
    copy = page.copy()
    pen = ImageDraw.Draw(copy)
    font = ImageFont.load_default(max(10, round(page.height * TYPE)))
    labels = sorted({block["label"] for block in blocks})
    for block in blocks:
        colour = COLOURS[labels.index(block["label"]) % len(COLOURS)]
        for box in block["parts"] or [block["box"]]:
            pen.rectangle(box, outline=colour, width=max(2, round(page.width * LINE)))
            corner = tuple(box[:2])
            pen.rectangle(pen.textbbox(corner, tag(block), font=font), fill=colour)
            pen.text(corner, tag(block), fill="white", font=font)
    return copy


def tag(block: Block) -> str:
    """Place in reading order and label, and what went wrong."""
    wrong = "unreadable" if block["error"] else "cut" if block["cut"] else None
    return f"{block['order']} {block['label']}" + (f" ({wrong})" if wrong else "")


if __name__ == "__main__":
    sys.exit(main())
