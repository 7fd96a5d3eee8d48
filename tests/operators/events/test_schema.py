"""Reading Avro schemas: which leaves there are, and what is refused."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.errors import SchemaError
from verdict.operators.events.schema import WAS, Field, load, mismatch, parse, without_logical_types
from verdict.operators.expressions import Kind


def record(*fields: dict[str, Any], name: str = "T") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def leaf(kind: Any) -> Field | None:
    """The one leaf of a schema with one field."""
    return parse(record({"name": "f", "type": kind})).fields.get("f")


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
FIXED = {**DECIMAL, "type": "fixed", "name": "Money", "size": 8}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
NOTHING = {"type": "fixed", "name": "Nothing", "size": 0}
EMPTY = {
    "type": "record",
    "name": "Empty",
    "fields": [{"name": "n", "type": "null"}, {"name": "f", "type": NOTHING}],
}
ENUM = {"type": "enum", "name": "E", "symbols": ["A"]}


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("int", Field("f", Kind.NUMBER, True, False)),
        ("long", Field("f", Kind.NUMBER, True, False)),
        ({"type": "long"}, Field("f", Kind.NUMBER, True, False)),
        ("float", Field("f", Kind.NUMBER, False, False)),
        ("double", Field("f", Kind.NUMBER, False, False)),
        ("boolean", Field("f", Kind.BOOLEAN, False, False)),
        ("string", Field("f", Kind.STRING, False, False)),
        ({"type": "string", "logicalType": "uuid"}, Field("f", Kind.STRING, False, False)),
        (ENUM, Field("f", Kind.STRING, False, False)),
        (MILLIS, Field("f", Kind.NUMBER, True, False, time="millis")),
        (MICROS, Field("f", Kind.NUMBER, True, False, time="micros")),
        (DECIMAL, Field("f", Kind.NUMBER, True, False, 2, is_decimal=True)),
        (FIXED, Field("f", Kind.NUMBER, True, False, 2, is_decimal=True)),
        ({**DECIMAL, "scale": 0}, Field("f", Kind.NUMBER, True, False, is_decimal=True)),
        (["null", "string"], Field("f", Kind.STRING, False, True)),
        (["string", "null"], Field("f", Kind.STRING, False, True)),
        (["null", DECIMAL], Field("f", Kind.NUMBER, True, True, 2, is_decimal=True)),
        (["long"], Field("f", Kind.NUMBER, True, False)),
    ],
)
def test_a_leaf(kind: Any, field: Field) -> None:
    assert leaf(kind) == field


@pytest.mark.parametrize(
    "kind",
    [
        "bytes",
        "null",
        [],
        ["int", "string"],
        ["null", "int", "string"],
        {"type": "array", "items": "int"},
        {"type": "map", "values": "int"},
        {"type": "fixed", "name": "F", "size": 4},
    ],
)
def test_what_has_no_one_value_is_no_leaf(kind: Any) -> None:
    assert leaf(kind) is None


def test_nested_leaves_go_by_their_path_and_may_be_null_with_what_holds_them() -> None:
    identity = {"name": "id", "type": "string"}
    inner = {"name": "inner", "type": record(identity, name="Inner")}
    sure = {"name": "sure", "type": record(inner, name="Sure")}
    maybe = {"name": "maybe", "type": ["null", record(identity, name="Maybe")]}
    fields = parse(record(sure, maybe)).fields
    assert {path: field.nullable for path, field in fields.items()} == {
        "sure.inner.id": False,
        "maybe.id": True,
    }


@pytest.mark.parametrize(
    ("event", "value"),
    [
        ({"a": {"b": {"c": 5}}}, 5),
        ({"a": {"b": {"c": None}}}, None),
        ({"a": {"b": None}}, None),
        ({"a": None}, None),
    ],
)
def test_a_getter_stops_at_null(event: dict[str, Any], value: Any) -> None:
    assert Field("a.b.c", Kind.NUMBER, True, True).getter()(event) == value


def test_exact_integers() -> None:
    assert Field("f", Kind.NUMBER, True, False, 2, is_decimal=True).exact(b"\xff\x85") == -123
    assert Field("f", Kind.NUMBER, True, False, time="millis").exact(-1) == -1
    assert Field("f", Kind.NUMBER, True, False, time="micros").exact(-1) == -1  # rounds down
    assert Field("f", Kind.NUMBER, True, False, time="micros").exact(1_999) == 1


def test_defaults_of_bytes_are_bytes() -> None:
    nested = record({"name": "b", "type": ["bytes", "null"], "default": "\u00ff"}, name="N")
    schema = parse(
        record(
            {"name": "a", "type": DECIMAL, "default": "\u0001\u0000"}, {"name": "n", "type": nested}
        )
    )
    outer, inner = schema.raw["fields"]
    assert outer["default"] == b"\x01\x00"
    assert inner["type"]["fields"][0]["default"] == b"\xff"


def test_logical_types_go_and_nothing_else() -> None:
    schema = record({"name": "f", "type": ["null", DECIMAL], "default": None, "doc": "x"})
    assert without_logical_types(schema) == record(
        {
            "name": "f",
            "type": ["null", {"type": "bytes", WAS: "decimal", "precision": 9, "scale": 2}],
            "default": None,
            "doc": "x",
        }
    )


def test_a_writer_in_micros_does_not_pass_for_one_in_millis() -> None:
    def timed(unit: str) -> dict[str, Any]:
        return record({"name": "at", "type": {"type": "long", "logicalType": f"timestamp-{unit}"}})

    assert mismatch(timed("millis"), parse(timed("millis"))) is None
    assert mismatch(record({"name": "at", "type": "long"}), parse(timed("millis"))) is None
    said = mismatch(without_logical_types(timed("micros")), parse(timed("millis")))
    assert said == "field 'at' is in micros there, and not so in the pipeline's schema"


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("int", "an event's schema is a record"),
        ({"type": "array", "items": "int"}, "an event's schema is a record"),
        (record({"name": "f", "type": "strng"}), "not an Avro schema: strng"),
        (record({"name": "f"}), "missing 'type'"),
        ({"type": "record", "name": "T"}, "not an Avro schema: 'fields'"),
        (record({"name": 5, "type": "int"}), "not an Avro schema"),
        (record({"name": "f", "type": {"type": "bytes", "logicalType": "decimal"}}), "'precision'"),
        (
            record({"name": "f", "type": {**DECIMAL, "precision": 19}}),
            "field 'f': decimal precision 19 does not fit 64 bits; use 18 digits at most",
        ),
        (record({"name": "f", "type": ["null", "T"]}), "record 'T' is within itself"),
        (record({"name": "f", "type": {"type": "map", "values": "T"}}), "'T' is within itself"),
        (record({"name": "f", "type": {"type": "array", "items": "null"}}), "without bytes"),
        (
            record({"name": "e", "type": EMPTY}, {"name": "f", "type": array("Empty")}),
            "an array of items without bytes: a few bytes of it could take the process down",
        ),
    ],
)
def test_refused(definition: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        parse(definition)


def test_what_has_bytes_may_be_repeated() -> None:
    twice = record({"name": "a", "type": array(["null", ENUM])}, {"name": "b", "type": array("E")})
    inner = record({"name": "n", "type": "int"}, name="y.T")
    parse(record({"name": "f", "type": inner}, {"name": "g", "type": array("y.T")}, name="x.T"))
    parse(twice)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.sampled_from(["int", "record", "f", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "fields", "logicalType", "precision", "scale", "items"]
            ),
            inner
            | st.sampled_from(["decimal", "bytes", "T", "timestamp-millis", "array", "fixed"]),
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(JSON | st.lists(JSON, max_size=2).map(lambda found: record(*found)))
def test_whatever_is_given_it_is_a_schema_or_an_error(definition: Any) -> None:
    with suppress(SchemaError):
        parse(definition)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps(record({"name": "id", "type": "string"})))
    assert list(load(path).fields) == ["id"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the schema .*event.avsc: No such file"),
        (b'{\n"type" 5}', "event.avsc:2: not JSON"),
        (b"\xff\xfe\xfa", "event.avsc: not JSON"),
        (b"[" * 100_000, "event.avsc: nested too deeply"),
        (b'{"type": "record"}', "event.avsc: not an Avro schema"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "event.avsc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SchemaError, match=message):
        load(path)
