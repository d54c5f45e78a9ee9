"""Damage to valid inputs: to bytes, to PNG chunks, to the numbers of a PDF, and to JSON as a tree.

Every function takes its randomness from `rng` alone, so a seed reproduces an input.
"""

import json
import random
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

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
PNG_CHUNKS = (b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"IDAT", b"pHYs")
MAX_LOCATIONS = 500  # in one JSON tree, about


# --- bytes ------------------------------------------------------------------------------------------------------------


def damaged(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A copy with one to four random changes; `others` are spliced in."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not result:
            return bytes(result)
        start, length = rng.randrange(len(result)), rng.choice((1, 2, 4, 8, 64, 1024))
        match rng.randrange(8):
            case 0:
                result[start] ^= 1 << rng.randrange(8)
            case 1:
                result[start : start + length] = rng.randbytes(min(length, len(result) - start))
            case 2:
                del result[start:]
            case 3:
                del result[start : start + length]
            case 4:
                result[start:start] = result[start : start + length] * rng.choice((1, 2, 50))
            case 5:
                other = rng.choice(others)
                result[start:] = other[rng.randrange(len(other) + 1) :]
            case 6:
                size = rng.choice((1, 2, 4))
                number = rng.choice(NUMBERS) % 256**size
                result[start : start + size] = number.to_bytes(size, rng.choice(("big", "little")))
            case 7:
                header = rng.randrange(min(64, len(result)))  # sizes, types and offsets are here
                result[header] = rng.choice((0, 1, 255, rng.randrange(256)))
    return bytes(result)


def damaged_image(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.7 and data.startswith(b"\x89PNG"):
        return damaged_png(data, rng)
    return damaged(data, others, rng)


def damaged_png(data: bytes, rng: random.Random) -> bytes:
    """Damaged chunks with valid checksums; without these a decoder stops early."""
    chunks, start = [], 8
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        chunks.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += length + 12
    for _ in range(rng.randint(1, 3)):
        index = rng.randrange(len(chunks))
        kind, body = chunks[index]
        match rng.randrange(4):
            case 0 | 1:
                chunks[index] = (kind, damaged(body, [body], rng))
            case 2:
                kind = rng.choice(PNG_CHUNKS)
                chunks.insert(index, (kind, rng.choice((b"", rng.randbytes(20), zlib.compress(b"\0" * 10_000), body))))
            case 3:
                chunks.insert(index, chunks[rng.randrange(len(chunks))])
    parts = [
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    ]
    return data[:8] + b"".join(parts)


def damaged_document(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Damaged bytes, or one to four numbers of the PDF replaced."""
    if rng.random() < 0.5:
        return damaged(data, others, rng)
    numbers = list(re.finditer(rb"(?<![\w.])[0-9.]+", data[:100_000]))
    for found in sorted(rng.sample(numbers, min(len(numbers), rng.randint(1, 4))), key=lambda one: -one.start()):
        data = data[: found.start()] + rng.choice((*PDF_NUMBERS, b"1", b"3", b"2 0 R")) + data[found.end() :]
    return data


# --- JSON -------------------------------------------------------------------------------------------------------------


def edited(value: Any, others: Sequence[Any], rng: random.Random) -> Any:
    """A copy with one to three edits that keep it JSON, or nearly so; parts of `others` are copied in."""
    value = deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        location = rng.choice(locations(value))
        if location is None:
            continue
        parent, key = location
        match rng.randrange(7):
            case 0 | 1 | 2:
                parent[key] = deepcopy(rng.choice(VALUES))
            case 3:
                del parent[key]
            case 4:
                parent[key] = rng.choice(([parent[key]], {rng.choice(NAMES): parent[key]}, nested(parent[key], rng)))
            case 5:
                other = rng.choice([one for one in locations(rng.choice(others)) if one is not None])
                parent[key] = deepcopy(other[0][other[1]])
            case 6 if isinstance(parent, dict):
                parent[rng.choice(NAMES)] = deepcopy(rng.choice(VALUES))
            case _:
                parent[key] = str(parent[key])[:1000]
    return value


def locations(value: Any) -> list[tuple[Any, Any] | None]:
    """Parent and key of each value in the tree; None for the root."""
    found: list[tuple[Any, Any] | None] = [None]
    pending = [value]
    while pending and len(found) < MAX_LOCATIONS:
        parent = pending.pop()
        keys = parent if isinstance(parent, dict) else range(len(parent)) if isinstance(parent, list) else ()
        for key in keys:
            found.append((parent, key))
            pending.append(parent[key])
    return found


def nested(value: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice((3, 20, 100, 300, 600))):
        value = rng.choice(([value], {"a": value}, {"properties": {"a": value}}, {"items": value}))
    return value


def damaged_json(value: Any, rng: random.Random) -> bytes:
    """The value as JSON: now and then with damaged bytes, a duplicate key, another encoding or extreme nesting."""
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
