#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Reads local images with a running server: scripts/ocr.py FILE...

The text streams to the terminal, or with `-o DIR` goes to one NAME.md for each image. From the environment:
  OCR_ENGINE    vllm, the only one there is (the server speaks vLLM's API)
  VLLM_URL      where the server is (default http://127.0.0.1:8001)
  MODEL_NAME    default PaddlePaddle/PaddleOCR-VL
  VLLM_API_KEY  only where the server asks for one
"""

import argparse
import base64
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from openai import APIConnectionError, APITimeoutError, OpenAI, OpenAIError, Stream
from openai.types.chat import ChatCompletionChunk
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

PROMPT = "Extract all text from this image as markdown"


class InputError(ValueError):
    """A file, argument or environment variable that cannot be used; the message says what can."""


class NoServerError(ConnectionError):
    """No server at the address, so further files need not be tried."""


class CutShortError(ValueError):
    """An answer that ended at the server's limit of tokens; its text so far has been delivered."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        outputs = output_files(options.files, options.out)
        client = connect()
    except (InputError, OSError) as error:
        print(f"ocr: {error}", file=sys.stderr)
        return 1
    failed = []
    # Streamed text shows the progress by itself; a bar in the middle of it would be noise.
    quiet = len(options.files) == 1 or (options.out is None and sys.stdout.isatty())
    for file, output in zip(tqdm(options.files, unit="file", file=sys.stderr, disable=quiet), outputs, strict=True):
        try:
            if len(options.files) > 1 and output is None:
                print(f"==> {file} <==", flush=True)
            deliver(read(client, file, options.prompt), output)
        except NoServerError as error:
            failed.append(str(error))
            break
        except (OpenAIError, InputError, CutShortError, OSError) as error:
            failed.append(f"{file}: {error}")
    for line in failed:
        print(f"ocr: {line}", file=sys.stderr)
    return 1 if failed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Read local images with a running server.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an image: PNG, JPEG, WebP, TIFF, ...")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="write NAME.md files there, not to the terminal")
    parser.add_argument("--prompt", default=PROMPT, help='default: "%(default)s"')
    return parser.parse_args(arguments)


def connect() -> OpenAI:
    """A client for the server that the environment names. Raises InputError."""
    engine = os.environ.get("OCR_ENGINE", "vllm")
    if engine != "vllm":
        raise InputError(f"OCR_ENGINE has value {engine!r}. Only 'vllm' is served.")
    url = os.environ.get("VLLM_URL", "http://127.0.0.1:8001").rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise InputError(f"VLLM_URL has value {url!r}. Not an address like http://127.0.0.1:8001.")
    # Not OPENAI_API_KEY: that one is not this server's to see.
    return OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("VLLM_API_KEY") or "null")


def output_files(files: Sequence[Path], folder: Path | None) -> list[Path | None]:
    """Destination of each file's text; None is the terminal. Raises InputError if two are the same."""
    if folder is None:
        return [None] * len(files)
    folder.mkdir(parents=True, exist_ok=True)
    owners: dict[Path, Path] = {}
    for file in files:
        output = folder / f"{file.stem}.md"
        if output in owners:
            raise InputError(f"{owners[output]} and {file} would both become {output}. Give them in separate calls.")
        owners[output] = file
    return list(owners)


def deliver(pieces: Iterator[str], output: Path | None) -> None:
    """Write pieces to the terminal as they come; to a file once complete, so that no failure leaves half a file."""
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
    """The text of one image, piece by piece. Raises what `ask` does, and CutShortError."""
    for chunk in ask(client, file, prompt):
        for choice in chunk.choices:
            if choice.delta.content:
                yield choice.delta.content
            if choice.finish_reason == "length":
                raise CutShortError("the text was cut at the server's limit of tokens")


def ask(client: OpenAI, file: Path, prompt: str) -> Stream[ChatCompletionChunk]:
    """The answer about one image, as it begins. Raises NoServerError, InputError, OSError, OpenAIError."""
    image = data_uri(file)
    try:
        return client.chat.completions.create(
            model=os.environ.get("MODEL_NAME") or "PaddlePaddle/PaddleOCR-VL",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": prompt},
                        {"type": "image_url", "image_url": {"url": image}},
                    ],
                }
            ],
            temperature=0,
            stream=True,
        )
    except APITimeoutError:
        raise
    except APIConnectionError as error:
        url = str(client.base_url).removesuffix("/v1/")
        raise NoServerError(f"No server answers at {url}. Start one with scripts/serve, or set VLLM_URL.") from error


def data_uri(file: Path) -> str:
    """The image as a data URI with the type of its content. Raises InputError, OSError."""
    try:
        with Image.open(file) as image:
            mime = image.get_format_mimetype()
    except UnidentifiedImageError:
        raise InputError("this is not an image. A PDF must be turned into images first.") from None
    return f"data:{mime or 'application/octet-stream'};base64,{base64.b64encode(file.read_bytes()).decode()}"


if __name__ == "__main__":
    sys.exit(main())
