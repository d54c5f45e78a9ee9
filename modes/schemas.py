"""The schemas that extraction fills: built-in ones for receipts, invoices and forms, a caller's own, or an example.

Each becomes one tree of objects, lists and leaves.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modes.limits import KEYWORDS
from modes.values import Json

Schema = dict[str, Any]


def _nullable(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _rows(**properties: Schema) -> Schema:
    return {"type": "array", "items": _object(**properties)}


TEXT, NUMBER = _nullable("string"), _nullable("number")

SCHEMAS: dict[str, Schema] = {
    "receipt": _object(
        merchant=TEXT, date=TEXT, currency=TEXT, subtotal=NUMBER, tax=NUMBER, total=NUMBER,
        items=_rows(name=TEXT, qty=NUMBER, price=NUMBER),
    ),
    "invoice": _object(
        vendor=TEXT, customer=TEXT, invoice_number=TEXT, date=TEXT, due_date=TEXT, currency=TEXT, subtotal=NUMBER,
        tax=NUMBER, total=NUMBER, line_items=_rows(description=TEXT, quantity=NUMBER, unit_price=NUMBER, amount=NUMBER),
    ),
    "form": _object(fields=_rows(label=TEXT, value=TEXT)),
}  # fmt: skip
"""JSON schema of each extracting mode. An answer has every property, null where the page has no value."""

ANNOTATIONS = {
    "title", "description", "default", "examples", "example", "$schema", "$id", "$comment", "$defs", "definitions",
    "required", "additionalProperties", "nullable", "deprecated", "readOnly", "writeOnly",
}  # fmt: skip
"""Keywords that do not matter to the values: an answer has all properties and no others in any case."""

MAX_NODES = 1000  # parts of a caller's schema, references followed
MAX_DEPTH = 16  # levels of a caller's schema
MAX_STARTS = 20  # braces of a text that are tried as the start of a schema


class SchemaError(ValueError):
    """A schema cannot be filled from a page; the message names the part that is the reason."""


@dataclass(frozen=True)
class Leaf:
    """A single value."""

    kind: str  # string | number | integer | boolean
    choices: tuple[Json, ...] | None = None  # from enum, const or boolean
    limits: Mapping[str, Any] = field(default_factory=dict)  # keywords of `limits.KEYWORDS`


@dataclass(frozen=True)
class ObjectNode:
    """An object with exactly these properties."""

    properties: dict[str, "Node"]


@dataclass(frozen=True)
class ArrayNode:
    """A list of values of one shape."""

    items: "Node"
    max_items: int | None = None


Node = Leaf | ObjectNode | ArrayNode


def parse(schema: Schema) -> Node:
    """The tree of a schema. Raises SchemaError for keywords that values read off a page cannot follow."""
    return _parse(schema, schema, "the schema", 0, itertools.count())


def _parse(schema: Any, root: Schema, where: str, depth: int, nodes: Iterator[int]) -> Node:
    if next(nodes) > MAX_NODES:
        raise SchemaError(f"the schema has more than {MAX_NODES} parts")
    if not isinstance(schema, dict):
        raise SchemaError(f"{where} is not an object")
    if depth > MAX_DEPTH:
        raise SchemaError(f"{where} is nested deeper than {MAX_DEPTH} levels, or refers to itself")
    schema = _resolved(schema, root, where)
    kind = _kind(schema, where)
    node: Node
    if kind == "object":
        known = {"properties"}
        inside = _properties(schema, where)
        node = ObjectNode(
            {name: _parse(own, root, f"{where}.{name}", depth + 1, nodes) for name, own in inside.items()}
        )
    elif kind == "array":
        known = {"items", "maxItems", "minItems", "uniqueItems"}  # the page has as many as it has
        max_items = _max_items(schema, where)
        node = ArrayNode(_parse(schema.get("items"), root, f"{where}[]", depth + 1, nodes), max_items)
    elif kind in ("string", "number", "integer", "boolean"):
        known = {"enum", "const", *KEYWORDS}
        node = _leaf(kind, schema, where)
    else:
        raise SchemaError(f"{where} has the type {kind!r}, which JSON does not have")
    unknown = sorted(name for name in set(schema) - known - {"type", *ANNOTATIONS} if not name.startswith(("x-", "x_")))
    if unknown:
        raise SchemaError(f"{where} has the keyword {unknown[0]!r}, which grounded extraction cannot follow")
    return node


def _kind(schema: Schema, where: str) -> Any:
    """The one type of a schema that is not null."""
    kinds = schema.get("type", _implied(schema))
    named = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    if len(named) != 1:
        raise SchemaError(f"{where} allows several types ({named}); a grounded field has one type, and may be null")
    return named[0]


def _properties(schema: Schema, where: str) -> dict[str, Any]:
    inside = schema.get("properties")
    if not isinstance(inside, dict) or not inside:
        raise SchemaError(f"{where} is an object that names no properties")
    unclear = next((name for name in inside if re.search(r"[.\[\]]", name)), None)
    if unclear is not None:
        raise SchemaError(f"{where} has the property {unclear!r}; a grounded one has no dot or bracket in its name")
    return inside


def _max_items(schema: Schema, where: str) -> int | None:
    count = schema.get("maxItems")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise SchemaError(f"{where} has a maxItems that is not a count")
    return count


def _resolved(schema: Schema, root: Schema, where: str) -> Schema:
    """A schema with its reference followed and with `anyOf: [X, null]` replaced by X."""
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, dict) and part else target
        if not isinstance(target, dict) or "$ref" in target:
            raise SchemaError(f"{where} refers to {schema['$ref']!r}, which does not exist")
        return target | {name: own for name, own in schema.items() if name != "$ref"}
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1 and isinstance(schema["allOf"][0], dict):
        rest = {name: own for name, own in schema.items() if name != "allOf"}
        return _resolved(schema["allOf"][0] | rest, root, where)
    several = schema.get("anyOf", schema.get("oneOf"))
    if several is None:
        return schema
    real = [own for own in several if own != {"type": "null"}] if isinstance(several, list) else []
    if len(real) != 1 or not isinstance(real[0], dict):
        raise SchemaError(f"{where} has alternatives; a grounded field has one type, and may be null")
    rest = {name: own for name, own in schema.items() if name not in ("anyOf", "oneOf")}
    return rest | _resolved(real[0], root, where)


def _implied(schema: Schema) -> str:
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _leaf(kind: str, schema: Schema, where: str) -> Leaf:
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None and (not isinstance(choices, list) or not all(map(_is_plain, choices))):
        raise SchemaError(f"{where} has an enum that is not a list of plain values")
    if kind == "boolean" and choices is None:
        choices = [True, False]
    limits = {name: own for name, own in schema.items() if name in KEYWORDS}
    return Leaf(kind, None if choices is None else tuple(one for one in choices if one is not None), limits)


def _is_plain(value: Any) -> bool:
    return not isinstance(value, list | dict) and (not isinstance(value, float) or math.isfinite(value))


def shape_in(text: str) -> Schema | None:
    """The first JSON schema in a text, or the schema of the first JSON example; None if there is neither."""
    decoder = json.JSONDecoder()
    for match in itertools.islice(re.finditer(r"\{", text), MAX_STARTS):
        try:
            found, _ = decoder.raw_decode(text, match.start())
            if found:
                return found if isinstance(found.get("properties"), dict) else of_example(found)
        except (ValueError, RecursionError):  # not JSON, a number of thousands of digits, a thousand brackets
            continue
    return None


def of_example(example: Any) -> Schema:
    """`{"total": 0, "items": [{"name": "string"}]}` -> its schema; the name of a type as a value means the type."""
    if isinstance(example, dict):
        return {"type": "object", "properties": {name: of_example(value) for name, value in example.items()}}
    if isinstance(example, list):
        return {"type": "array", "items": of_example(example[0] if example else "")}
    if isinstance(example, bool) or example in ("boolean", "bool"):
        return {"type": "boolean"}
    if isinstance(example, int | float) or example in ("number", "integer", "int", "float", "decimal"):
        return {"type": "number"}
    return {"type": "string"}
