#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Throws damaged images, documents, addresses, requests and schemas at what reads them.

    benchmarks/fuzz.py                          100,000 inputs, in a quarter of an hour
    benchmarks/fuzz.py --inputs 2000 --seed 7   fewer, and others
    benchmarks/fuzz.py --replay FILE            one that an earlier run has saved

Good inputs are made from the sample documents, then bits are flipped, pieces cut, doubled and spliced, lengths and
numbers set to what programmers forget, PNG's checksums mended, and JSON edited as a tree. Each input may be taken or
refused with an error for the client; anything else (another exception, a status of 5xx, a decoder that hangs or
crashes, more than 5 seconds) is a finding, which is printed and saved to build/fuzz/. The same seed makes the same
inputs. The last line is JSON.
"""

import argparse
import asyncio
import base64
import faulthandler
import io
import json
import logging
import random
import re
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image
from tqdm import tqdm
from transformers import AutoTokenizer

from answers.extraction import node_to_fill, structure_to_hold
from api.app import create_app
from api.chat import task_of
from api.errors import ApiError
from api.sampling import sampling, structure_of
from api.schema import ChatRequest, TextPart
from api.serving import Serving
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import EngineError
from engine.request import SamplingParams, Structure
from engine.structured import Structures
from images import fetching
from images.errors import DecoderEnded, DecoderUnavailable, ImageError
from images.loading import ImageLimits, load_images, read_images
from images.processes import DecoderProcesses
from images.source import ImageSource
from modes.choose import Turn
from modes.schemas import SCHEMAS, SchemaError, parse, shape_in

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "models" / "tiny"
SECONDS = 5.0  # for one input
SECONDS_TO_GIVE_UP = 60.0  # on what hangs in this process, where nothing can interrupt it: the run ends
LIMITS = ImageLimits(max_image_bytes=2**20, max_image_pixels=4_000_000, max_pages=4)
WARM_UP = 0.1  # of the inputs, before memory is measured

NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
PDF_NUMBERS = (b"0", b"-1", b"1", b"99999", b"4294967296", b"1e9", b"0.0000001", b"9" * 30)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, 2**64, -(2**70), 10**400, 1e308, float("nan"), float("inf"),
    float("-inf"), "", " ", "0", "null", "\0", "\ud800", "\udfff\ud800", "\U0001f600", "a" * 5000,
    "<|IMAGE_PLACEHOLDER|>", "[" * 200, "(a+)+$", "(" * 500, "\\", "(?<=x)", "a{1,100000}", "start: start start",
    [], {}, [[]], [None], {"": None}, {"type": "object"}, {"$ref": "#"}, {"$ref": "#/properties/items"},
    {"type": ["string", "null"]}, {"enum": []}, {"type": "array", "items": {"$ref": "#"}, "minItems": 10**6},
    {"pattern": "(a*)*"}, {"not": {}}, {"anyOf": []},
)  # fmt: skip
NAMES = (
    "messages content type text image_url url detail role model n stop logit_bias mode response_format json_schema "
    "schema properties items enum const $ref anyOf required grounded guided_regex guided_json temperature max_tokens "
    "format additionalProperties maxItems"
).split()


# --- good inputs ------------------------------------------------------------------------------------------------------

FILES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(("PNG", mode, {}) for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "I;16")), ("JPEG", "RGB", {"quality": 60}),
    ("JPEG", "RGB", {"progressive": True}), ("JPEG", "L", {}), ("JPEG", "CMYK", {}), ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}), ("BMP", "RGB", {}), ("BMP", "P", {}), ("GIF", "P", {}),
    *(("TIFF", mode, {}) for mode in ("RGB", "L", "P", "1", "RGBA", "CMYK", "I;16")),
    *(("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
    ("TIFF", "1", {"compression": "group4"}),
)  # fmt: skip


def images() -> list[bytes]:
    made = []
    for name in ("document", "table", "receipt"):
        source = Image.open(ROOT / "tests" / "data" / f"test_{name}.png").convert("RGB")
        small = source.resize((source.width // 4, source.height // 4))
        made += [
            encoded((small.convert("L") if mode in ("LA", "I;16") else small).convert(mode), format_, options)
            for format_, mode, options in FILES
        ]
        made += [encoded(small, format_, {"save_all": True, "append_images": [small.rotate(90)] * 2})
                 for format_ in ("TIFF", "GIF", "WEBP", "PNG")]  # fmt: skip
    return made


def documents() -> list[bytes]:
    page = Image.open(ROOT / "tests" / "data" / "test_receipt.png").convert("RGB").resize((100, 200))
    text = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>>>endobj\n"
        b"4 0 obj<</Length 44>>stream\nBT /F 18 Tf 10 40 Td (Total 42.00) Tj ET\nendstream endobj\n"
        b"5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    options: list[dict[str, Any]] = [{}, {"resolution": 30}, {"save_all": True, "append_images": [page.rotate(90)]}]
    return [text, *(encoded(page, "PDF", own) for own in options), encoded(page.convert("1"), "PDF", {})]


def encoded(image: Image.Image, format_: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def requests(image: bytes) -> list[Any]:
    url = f"data:image/png;base64,{base64.b64encode(image[:300]).decode()}"
    part = {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    words = {"type": "text", "text": "Extract the receipt as JSON"}
    shape = {"name": "receipt", "schema": SCHEMAS["receipt"], "strict": True}
    return [
        {"model": "PaddleOCR-VL", "messages": [{"role": "user", "content": [part, {"type": "text", "text": "OCR:"}]}],
         "max_completion_tokens": 4096, "temperature": 0, "skip_special_tokens": True,
         "mm_processor_kwargs": {"min_pixels": 112896, "max_pixels": 1003520}},
        {"messages": [{"role": "system", "content": '{"total": 0, "items": [{"name": "string"}]}'},
                      {"role": "user", "content": [words, part]}], "stream": True,
         "stream_options": {"include_usage": True}, "grounded": True},
        {"messages": [{"role": "user", "content": [words, part]}], "n": 2, "seed": 1, "stop": ["a", "b"],
         "response_format": {"type": "json_schema", "json_schema": shape}, "logprobs": True, "top_logprobs": 3},
        {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "x"},
                      {"role": "user", "content": "again"}], "guided_regex": "[a-z]+", "logit_bias": {"5": -100},
         "presence_penalty": 1, "repetition_detection": {"max_pattern_size": 8, "min_count": 3},
         "metadata": {"a": "b"}},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": url, "filename": "a.pdf"}}]}],
         "mode": "table", "table_format": "html", "ocr": {"words": True}, "structured_outputs": {"choice": ["a", "b"]}},
    ]  # fmt: skip


URLS = (
    "http://127.0.0.1:8080/page.png?x=1#y", "https://user@images.example/a b/%20?q=ü", "http://[::1]:80/",
    "file:///srv/media/page.png", "https://bücher.example./..//x?y[]=z", "http://0x7f.1/", "data:image/png;base64,AAAA",
)  # fmt: skip
GRAMMARS = (
    ("regex", r"[A-Z]{2}-[0-9]{3}(\.[0-9]+)?"), ("regex", r"(?:yes|no|maybe) \w+"),
    ("choice", '["red", "green", "日本"]'), ("grammar", 'start: "a" b+\nb: /[0-9]+/ | "(" b ")"'),
    ("grammar", 'root ::= "x" ("," root)?'),
)  # fmt: skip


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One to four wounds, anywhere."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not result:
            return bytes(result)
        place, length = rng.randrange(len(result)), rng.choice((1, 2, 4, 8, 64, 1024))
        match rng.randrange(8):
            case 0:
                result[place] ^= 1 << rng.randrange(8)
            case 1:
                result[place : place + length] = rng.randbytes(min(length, len(result) - place))
            case 2:
                del result[place:]
            case 3:
                del result[place : place + length]
            case 4:
                result[place:place] = result[place : place + length] * rng.choice((1, 2, 50))
            case 5:
                other = rng.choice(others)
                result[place:] = other[rng.randrange(len(other) + 1) :]
            case 6:
                size = rng.choice((1, 2, 4))
                number = rng.choice(NUMBERS) % 256**size
                result[place : place + size] = number.to_bytes(size, rng.choice(("big", "little")))
            case 7:
                head = rng.randrange(min(64, len(result)))  # where sizes, kinds and offsets stand
                result[head] = rng.choice((0, 1, 255, rng.randrange(256)))
    return bytes(result)


def damaged_image(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.7 and data.startswith(b"\x89PNG"):
        return damaged_png(data, rng)
    return damaged(data, others, rng)


def damaged_png(data: bytes, rng: random.Random) -> bytes:
    """With checksums that hold, without which a reader looks no further."""
    chunks, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += length + 12
    for _ in range(rng.randint(1, 3)):
        index = rng.randrange(len(chunks))
        kind, body = chunks[index]
        match rng.randrange(4):
            case 0 | 1:
                chunks[index] = (kind, damaged(body, [body], rng))
            case 2:
                kind = rng.choice(
                    (b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"IDAT", b"pHYs")
                )
                chunks.insert(index, (kind, rng.choice((b"", rng.randbytes(20), zlib.compress(b"\0" * 10_000), body))))
            case 3:
                chunks.insert(index, chunks[rng.randrange(len(chunks))])
    parts = [
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    ]
    return data[:8] + b"".join(parts)


def damaged_document(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return damaged(data, others, rng)
    places = list(re.finditer(rb"(?<![\w.])[0-9.]+", data[:100_000]))
    for found in sorted(rng.sample(places, min(len(places), rng.randint(1, 4))), key=lambda one: -one.start()):
        data = data[: found.start()] + rng.choice((*PDF_NUMBERS, b"1", b"3", b"2 0 R")) + data[found.end() :]
    return data


def edited(value: Any, others: Sequence[Any], rng: random.Random) -> Any:
    """A copy with one to three edits, which keep it JSON, or nearly so."""
    value = deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        place = rng.choice(places(value))
        if place is None:
            continue
        holder, key = place
        match rng.randrange(7):
            case 0 | 1 | 2:
                holder[key] = deepcopy(rng.choice(VALUES))
            case 3:
                del holder[key]
            case 4:
                holder[key] = rng.choice(([holder[key]], {rng.choice(NAMES): holder[key]}, nested(holder[key], rng)))
            case 5:
                other = rng.choice([one for one in places(rng.choice(others)) if one is not None])
                holder[key] = deepcopy(other[0][other[1]])
            case 6 if isinstance(holder, dict):
                holder[rng.choice(NAMES)] = deepcopy(rng.choice(VALUES))
            case _:
                holder[key] = str(holder[key])[:1000]
    return value


def places(value: Any) -> list[tuple[Any, Any] | None]:
    found: list[tuple[Any, Any] | None] = [None]
    waiting = [value]
    while waiting and len(found) < 500:
        holder = waiting.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


def nested(value: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice((3, 20, 100, 300, 600))):
        value = rng.choice(([value], {"a": value}, {"properties": {"a": value}}, {"items": value}))
    return value


def written(value: Any, rng: random.Random) -> bytes:
    """As JSON, at times with wounds, with a key twice, in another encoding or in depths that no tree reaches."""
    with suppress(RecursionError):
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
        if rng.random() < 0.1:
            text = text.replace("{", '{"messages": 1, ', 1)
        if rng.random() < 0.02:
            text = text.replace("null", "[" * 100_000).replace(
                "1", rng.choice(("1e999", "9" * 5000, "NaN", "-", "0x1")), 1
            )
        data = text.encode(rng.choice(("utf-8",) * 20 + ("utf-16", "utf-8-sig")), errors="surrogatepass")
        return damaged(data, [data], rng) if rng.random() < 0.2 else data
    return b"[" * 1000


# --- what reads them --------------------------------------------------------------------------------------------------


class Refusal(Exception):  # noqa: N818 - no error: what a reader should do with what it cannot take
    """The client is told what is wrong."""


class Finding(Exception):  # noqa: N818
    """What no input should cause."""


class Targets:
    """Each takes an input, returns if it is good, and raises Refusal where the client would be told."""

    def __init__(self) -> None:
        self.decoders = DecoderProcesses(2, SECONDS, LIMITS.max_image_pixels, LIMITS.max_image_bytes)
        self.decoders.start()
        engine = Engine(EngineConfig(CHECKPOINT))  # never started: a good request hears that the model still loads
        app = create_app(2**20)
        app.state.serving = Serving(engine, "paddleocr-vl-tiny", LIMITS)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.loop = asyncio.new_event_loop()
        self.client = httpx.AsyncClient(transport=transport, base_url="http://here")
        tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
        self.structures = Structures(tokenizer, len(tokenizer), frozenset({tokenizer.eos_token_id}))

    def close(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()
        self.structures.shutdown()
        self.decoders.close()

    def file(self, data: bytes) -> None:
        try:
            for image in read_images(data, "param", LIMITS, self.decoders):
                image.open()
        except ImageError as error:
            if isinstance(error, DecoderEnded | DecoderUnavailable):
                raise Finding(str(error)) from error
            raise Refusal from error

    def address(self, data: bytes) -> None:
        url = data.decode(errors="surrogateescape")  # bytes that are no UTF-8 become halves of surrogate pairs
        try:
            if url.startswith("data:"):
                self.loop.run_until_complete(load_images(url, "param", LIMITS, self.decoders))
            else:
                fetching._http_url(fetching._split(url))
        except (ImageError, fetching._FetchError) as error:
            raise Refusal from error

    def request(self, data: bytes) -> None:
        """Through the app, as far as the engine, and through what comes before a prompt is made."""
        headers = {"Content-Type": "application/json"}
        answer = self.loop.run_until_complete(self.client.post("/v1/chat/completions", content=data, headers=headers))
        if answer.status_code != 503 or answer.json()["error"]["code"] != "engine_unavailable":
            if answer.status_code >= 500 or "message" not in answer.json()["error"]:
                raise Finding(f"{answer.status_code}: {answer.text[:300]}")
            raise Refusal
        body = ChatRequest.model_validate(json.loads(data))
        shown = [ImageSource(lambda: Image.new("RGB", (8, 8)))]
        turns = [
            Turn(message.role, " ".join(part.text for part in message.content if isinstance(part, TextPart)), shown)
            for message in body.messages
        ]
        try:
            task, structure = task_of(body, turns), structure_of(body)
            if node_to_fill(body, task, structure) is None:
                held = structure_to_hold(body, task, structure)
                for own in sampling(body, task, held, SamplingParams())[:1]:
                    if own.structure is not None:
                        self.structures.compile(own.structure)
        except (ApiError, EngineError) as error:
            raise Refusal from error

    def schema(self, data: bytes) -> None:
        """As a shape to fill from a page, and as a grammar that the model is held to."""
        text = data.decode(errors="replace")
        shape_in(text)
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError):
            raise Refusal from None
        refused = 0
        if isinstance(schema, dict):
            try:
                parse(schema)
            except SchemaError:
                refused += 1
        refused += self._compile(Structure("json_schema", text, "param"))
        if refused:
            raise Refusal

    def grammar(self, data: bytes) -> None:
        kind, _, definition = data.decode(errors="replace").partition("|")
        if kind not in ("regex", "choice", "grammar") or self._compile(Structure(kind, definition, "param")):  # type: ignore[arg-type]
            raise Refusal

    def _compile(self, structure: Structure) -> bool:
        """Whether it is refused. What is not gives masks."""
        try:
            grammar = self.structures.compile(structure)
            grammar.begin_mask()
            allowed = grammar.mask().nonzero()[0]
            if len(allowed):
                grammar.accept(int(allowed[0]))
        except EngineError:
            return True
        return False


@dataclass
class Kind:
    make: Callable[[random.Random], bytes]
    read: Callable[[bytes], None]
    share: int  # of all inputs, in percent
    outcomes: Counter[str] = field(default_factory=Counter)


def kinds(targets: Targets) -> dict[str, Kind]:
    files, papers = images(), documents()
    bodies, schemas = (
        requests(files[0]),
        [
            *SCHEMAS.values(),
            {"$defs": {"a": {"type": "string"}}, "properties": {"b": {"$ref": "#/$defs/a"}}, "type": "object"},
        ],
    )
    urls = [
        url.encode()
        for url in (*URLS, *(f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in files[:20]))
    ]
    grammars = [f"{kind}|{definition}".encode() for kind, definition in GRAMMARS]
    return {
        "image": Kind(lambda rng: damaged_image(rng.choice(files), files, rng), targets.file, 40),
        "document": Kind(lambda rng: damaged_document(rng.choice(papers), papers, rng), targets.file, 15),
        "address": Kind(lambda rng: damaged(rng.choice(urls), urls, rng), targets.address, 10),
        "request": Kind(lambda rng: written(edited(rng.choice(bodies), bodies, rng), rng), targets.request, 15),
        "schema": Kind(lambda rng: written(edited(rng.choice(schemas), schemas, rng), rng), targets.schema, 15),
        "grammar": Kind(lambda rng: damaged(rng.choice(grammars), grammars, rng), targets.grammar, 5),
    }


# --- the run ----------------------------------------------------------------------------------------------------------


def tried(read: Callable[[bytes], None], data: bytes) -> tuple[str, float, str]:
    """What came of it: fine, refused or finding; after how many seconds; of a finding, what it is."""
    began = time.perf_counter()
    outcome, what = "fine", ""
    try:
        read(data)
    except Refusal:
        outcome = "refused"
    except Exception:
        outcome, what = "finding", traceback.format_exc(limit=-6)
    seconds = time.perf_counter() - began
    if outcome != "finding" and seconds > SECONDS:
        outcome, what = "finding", f"it took {seconds:.1f} seconds"
    return outcome, seconds, what


def memory() -> float:
    """MiB of this process and its decoders."""
    own = psutil.Process()
    return sum(one.memory_info().rss for one in [own, *own.children()]) / 2**20


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    under_way = folder / "under-way"  # what is left there ended the run
    targets = Targets()
    try:
        all_kinds = kinds(targets)
        names, shares = list(all_kinds), [kind.share for kind in all_kinds.values()]
        slowest, before, findings = 0.0, memory(), 0
        for number in tqdm(range(count), unit="input", mininterval=1):
            rng = random.Random(f"{seed}-{number}")
            (name,) = rng.choices(names, shares)
            kind = all_kinds[name]
            data = kind.make(rng)
            saved = folder / f"{seed}-{number}.{name}"
            under_way.write_bytes(data)
            faulthandler.dump_traceback_later(SECONDS_TO_GIVE_UP, exit=True, file=2)
            outcome, seconds, what = tried(kind.read, data)
            kind.outcomes[outcome] += 1
            slowest = max(slowest, seconds)
            if outcome == "finding":
                findings += 1
                saved.write_bytes(data)
                tqdm.write(f"{saved}: {what}")
            if number == int(count * WARM_UP):
                before = memory()
        faulthandler.cancel_dump_traceback_later()
        under_way.unlink()
        return {
            "inputs": count,
            "findings": findings,
            "slowest_seconds": round(slowest, 2),
            "rss_mb": round(memory(), 1),
            "rss_mb_growth": round(memory() - before, 1),
            "by_kind": {name: dict(kind.outcomes) for name, kind in all_kinds.items()},
        }
    finally:
        targets.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", metavar="DIR")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # each refusal would have a line
    try:
        if given.replay is not None:
            replay(given.replay)
            return 0
        report = run(given.inputs, given.seed, given.out)
    finally:
        logging.disable(logging.NOTSET)
    print(json.dumps(report))
    return 1 if report["findings"] else 0


def replay(file: Path) -> None:
    targets = Targets()
    try:
        print(*tried(kinds(targets)[file.suffix[1:]].read, file.read_bytes()))
    finally:
        targets.close()


if __name__ == "__main__":
    sys.exit(main())
