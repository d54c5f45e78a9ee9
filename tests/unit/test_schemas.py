from typing import Any

import pytest

from modes.schemas import SCHEMAS, ArrayNode, Leaf, ObjectNode, SchemaError, of_example, parse, shape_in


def leaf(**schema: Any) -> Any:
    node = parse({"type": "object", "properties": {"a": schema}})
    assert isinstance(node, ObjectNode)
    return node.properties["a"]


@pytest.mark.parametrize("mode", SCHEMAS)
def test_the_built_in_schemas_can_be_filled(mode: str) -> None:
    assert isinstance(parse(SCHEMAS[mode]), ObjectNode)


def test_null_next_to_a_type_changes_nothing_because_every_value_may_be_null() -> None:
    assert leaf(type=["string", "null"]) == leaf(anyOf=[{"type": "string"}, {"type": "null"}]) == Leaf("string")


def test_references_are_followed() -> None:
    node = parse(
        {
            "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/row"}, "maxItems": 3}},
            "$defs": {"row": {"properties": {"n": {"type": "integer"}}}},
        }
    )
    assert node == ObjectNode({"rows": ArrayNode(ObjectNode({"n": Leaf("integer")}), 3)})


def test_an_enum_and_a_boolean_are_choices() -> None:
    assert leaf(enum=["cash", "card"]).choices == ("cash", "card")
    assert leaf(type="boolean").choices == (True, False)


@pytest.mark.parametrize("more", [{"example": 1}, {"x-order": 2}, {"x_order": 2}, {"title": "A", "default": None}])
def test_annotations_restrict_nothing(more: dict[str, Any]) -> None:
    assert leaf(type="string", **more) == Leaf("string")


def test_one_member_of_all_of_is_that_member() -> None:
    """Pydantic 1 writes references so."""
    schema = {
        "properties": {"sums": {"title": "Sums", "allOf": [{"$ref": "#/definitions/Sums"}]}},
        "definitions": {"Sums": {"type": "object", "properties": {"total": {"type": "number"}}}},
    }
    assert parse(schema) == ObjectNode({"sums": ObjectNode({"total": Leaf("number")})})


def test_limits_are_kept_with_their_value() -> None:
    assert leaf(type="string", pattern="a", format="email").limits == {"pattern": "a", "format": "email"}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "string", "not": {"const": "a"}}, "'not'"),
        ({"type": "string", "allOf": [{}, {}]}, "'allOf'"),
        ({"type": ["string", "number"]}, "several types"),
        ({"oneOf": [{"type": "string"}, {"type": "number"}]}, "alternatives"),
        ({"type": "object"}, "names no properties"),
        ({"type": "array"}, "not an object"),
        ({"type": "date"}, "JSON does not have"),
        ({"$ref": "#/$defs/none"}, "does not exist"),
        ({"enum": [[1]]}, "plain values"),
        ({"enum": [float("nan")]}, "plain values"),
        ({"$ref": "#/$defs/text", "contains": "a"}, "'contains'"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": "x"}, "not a count"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": -1}, "not a count"),
        ({"properties": {"a.b": {"type": "string"}}}, "no dot"),
        (True, "not an object"),
    ],
)
def test_the_part_that_a_page_cannot_fill_is_named(schema: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=r"the schema\.a") as raised:
        parse({"type": "object", "properties": {"a": schema}, "$defs": {"text": {"type": "string"}}})
    assert says in str(raised.value)


def test_a_schema_that_refers_to_itself_is_refused() -> None:
    with pytest.raises(SchemaError, match="refers to itself"):
        parse({"properties": {"a": {"$ref": "#"}}})


@pytest.mark.parametrize(
    "text",
    [
        'Use {"shop": "name", "sum": 0, "rows": [{"n": "integer"}]} please',
        """Schema: {"type": "object", "properties": {"shop": {"type": "string"}, "sum": {"type": "number"},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}}}}""",
    ],
)
def test_a_schema_or_an_example_is_found_in_a_text(text: str) -> None:
    found = shape_in(text)
    assert found is not None
    number = Leaf("number")
    assert parse(found) == ObjectNode(
        {"shop": Leaf("string"), "sum": number, "rows": ArrayNode(ObjectNode({"n": number}))}
    )


def test_references_that_multiply_are_refused() -> None:
    levels = {f"l{i}": {"properties": {name: {"$ref": f"#/$defs/l{i + 1}"} for name in "abcd"}} for i in range(9)}
    with pytest.raises(SchemaError, match="more than 1000 parts"):
        parse({"$ref": "#/$defs/l0", "$defs": levels | {"l9": {"type": "string"}}})


@pytest.mark.parametrize(
    "text", ["", "no braces", "{not json}", "an empty {}", "{" * 10_000, '{"a":' * 600 + "1" + "}" * 600]
)
def test_a_text_without_a_schema_or_example_has_no_shape(text: str) -> None:
    assert shape_in(text) is None


def test_an_empty_list_in_an_example_is_a_list_of_strings() -> None:
    assert of_example([]) == {"type": "array", "items": {"type": "string"}}
