#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Reads local images, whole pages and PDFs with a running server: scripts/ocr.py FILE...

Where the server has a layout model, pages of a PDF or TIFF, and images that look like pages, are read block by block
and become Markdown in reading order. The text streams to the terminal or, with `-o DIR`, is written to one NAME.md for
each file. Environment variables:
  OCR_ENGINE    vllm, the only supported value (the server implements vLLM's API)
  VLLM_URL      address of the server (default http://127.0.0.1:8001)
  MODEL_NAME    name of the model (default PaddlePaddle/PaddleOCR-VL)
  VLLM_API_KEY  needed only if the server requires a key
"""

import argparse
import base64
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import APIConnectionError, APITimeoutError, OpenAI, OpenAIError, Stream
from openai.types.chat import ChatCompletionChunk
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

PROMPT = "Extract all text from this image as markdown"


class UsageError(ValueError):
    """Error for an unusable argument or environment variable; the message says what to use instead."""


class UnreadableFileError(ValueError):
    """Error for a file that is neither an image nor a PDF."""


class NoServerError(ConnectionError):
    """Error when no server answers; trying further files is pointless."""


class CutShortError(ValueError):
    """Error for an answer that the server's token limit cut short; its text up to there has been delivered."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        outputs = output_files(options.files, options.out)
        client = connect()
    except (UsageError, OSError) as error:
        print(f"ocr: {error}", file=sys.stderr)
        return 1
    failed = []
    # Streamed text already shows progress; a bar would interrupt it.
    quiet = len(options.files) == 1 or (options.out is None and sys.stdout.isatty())
    for file, output in zip(tqdm(options.files, unit="file", file=sys.stderr, disable=quiet), outputs, strict=True):
        try:
            if len(options.files) > 1 and output is None:
                print(f"==> {file} <==", flush=True)
            deliver(read(client, file, options.prompt), output)
        except NoServerError as error:
            failed.append(str(error))
            break
        except (OpenAIError, UnreadableFileError, CutShortError, OSError) as error:
            failed.append(f"{file}: {error}")
    for line in failed:
        print(f"ocr: {line}", file=sys.stderr)
    return 1 if failed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Read local images, whole pages and PDFs with a running server. Pages of a PDF or TIFF, and images "
        "that look like pages, are read block by block where the server has a layout model."
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="an image or a PDF: PNG, JPEG, WebP, TIFF, ..."
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="write NAME.md files to DIR instead of printing the text"
    )
    parser.add_argument(
        "--prompt",
        default=PROMPT,
        help='default: "%(default)s"; others choose other modes, such as "Read the whole page" for a small image',
    )
    return parser.parse_args(arguments)


def connect() -> OpenAI:
    """A client for the server that the environment names. Raises UsageError."""
    engine = os.environ.get("OCR_ENGINE", "vllm")
    if engine != "vllm":
        raise UsageError(f"OCR_ENGINE has value {engine!r}. Only 'vllm' is supported.")
    url = os.environ.get("VLLM_URL", "http://127.0.0.1:8001").rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"VLLM_URL has value {url!r}. Not an address like http://127.0.0.1:8001.")
    # Not OPENAI_API_KEY: it must not be sent to this server.
    return OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("VLLM_API_KEY") or "null")


def output_files(files: Sequence[Path], folder: Path | None) -> list[Path | None]:
    """The output file for each file; None is the terminal. Raises UsageError where two files share one, OSError."""
    if folder is None:
        return [None] * len(files)
    folder.mkdir(parents=True, exist_ok=True)
    owners: dict[Path, Path] = {}
    for file in files:
        output = folder / f"{file.stem}.md"
        if output in owners:
            raise UsageError(f"{owners[output]} and {file} would both become {output}. Give them in separate calls.")
        owners[output] = file
    return list(owners)


def deliver(pieces: Iterator[str], output: Path | None) -> None:
    """Print the pieces as they arrive, or write the file once all are there: a failure never leaves half a file."""
    if output is None:
        shown = False
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
                shown = True
        finally:
            if shown:
                print(flush=True)
        return
    text, cut = "", None
    try:
        for piece in pieces:
            text += piece
    except CutShortError as error:
        cut = error
    output.write_text(text + "\n", encoding="utf-8")
    if cut:
        raise cut


def read(client: OpenAI, file: Path, prompt: str) -> Iterator[str]:
    """The text of one file, piece by piece. Raises CutShortError and whatever `ask` raises."""
    for chunk in ask(client, file, prompt):
        for choice in chunk.choices:
            if choice.delta.content:
                yield choice.delta.content
            if choice.finish_reason == "length":
                raise CutShortError("the server's token limit cut the text short")


def ask(client: OpenAI, file: Path, prompt: str) -> Stream[ChatCompletionChunk]:
    """The streamed answer for one file. Raises NoServerError, UnreadableFileError, OSError, OpenAIError."""
    content: Any = [{"type": "text", "text": prompt}, part_of(file)]
    with needs_server(client):
        return client.chat.completions.create(
            model=model_name(),
            messages=[{"role": "user", "content": content}],
            temperature=0,
            stream=True,
        )


def model_name() -> str:
    return os.environ.get("MODEL_NAME") or "PaddlePaddle/PaddleOCR-VL"


@contextmanager
def needs_server(client: OpenAI) -> Iterator[None]:
    """Raises NoServerError where no server answers a request made inside."""
    try:
        yield
    except APITimeoutError:
        raise
    except APIConnectionError as error:
        url = str(client.base_url).removesuffix("/v1/")
        raise NoServerError(f"No server answers at {url}. Start one with scripts/serve, or set VLLM_URL.") from error


def part_of(file: Path) -> dict[str, Any]:
    """The part of a message that holds an image or PDF, by its content. Raises UnreadableFileError, OSError."""
    data = file.read_bytes()
    if b"%PDF-" in data[:1024]:  # the header may follow junk
        return {"type": "file", "file": {"filename": file.name, "file_data": data_uri(data, "application/pdf")}}
    try:
        with Image.open(file) as image:
            mime = image.get_format_mimetype()
    except UnidentifiedImageError:
        raise UnreadableFileError("this is neither an image nor a PDF.") from None
    return {"type": "image_url", "image_url": {"url": data_uri(data, mime or "application/octet-stream")}}


def data_uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


if __name__ == "__main__":
    sys.exit(main())
