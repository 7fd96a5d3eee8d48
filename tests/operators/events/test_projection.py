"""Straight from bytes to the event: what is taken is what the decoder and `Extract` make."""

import copy
import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import AvroDecoder, ConfluentDecoder, json_decoder
from verdict.operators.events.extract import Extract
from verdict.operators.events.projection import Projection
from verdict.operators.events.schema import Schema, parse

HEADER = b"\0\0\0\0\7"
ID = {"name": "id", "type": "string"}
AT = {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
CARD = {"name": "card", "type": ["null", "string"], "default": None}
DECIMAL = {"logicalType": "decimal", "precision": 9, "scale": 2}
LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70),
    "long": LONG,
    "float": st.floats(width=32),
    "double": st.floats(),
    "bytes": st.binary(max_size=9),
    "string": st.text(max_size=4) | st.text("a", min_size=60, max_size=70),
}
MOMENTS = st.integers(0, 2**42) | st.integers(1_500_000_000_000, 1_900_000_000_000)
TIMES = st.integers(1_500_000_000_000_000, 1_900_000_000_000_000) | MOMENTS | LONG


@st.composite
def types(draw: st.DrawFn, depth: int = 0) -> Any:
    """Draw a type; names are numbers that `named` makes unique."""
    simple = [*VALUES, "decimal", "fixed", "enum", "millis", "micros"]
    kinds = (
        simple if depth == 2 else [*simple, *["optional"] * 5, "record", "array", "map", "union"]
    )
    kind = draw(st.sampled_from(kinds))
    match kind:
        case "decimal":
            return {"type": "bytes", **DECIMAL}
        case "fixed":
            extra = draw(st.sampled_from([{}, DECIMAL]))
            return {"type": "fixed", "name": "F", "size": draw(st.integers(4, 9)), **extra}
        case "enum":
            return {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}
        case "millis" | "micros":
            return {"type": "long", "logicalType": f"timestamp-{kind}"}
        case "optional":
            inner = draw(types(depth + 1).filter(_is_one))
            return draw(st.permutations(["null", inner]))
        case "union":
            return draw(st.permutations(["null", "string", "double", "bytes"]))
        case "array":
            return {"type": "array", "items": draw(types(depth + 1).filter(_has_bytes))}
        case "map":
            return {"type": "map", "values": draw(types(depth + 1).filter(_has_bytes))}
        case "record":
            inside = draw(st.lists(types(depth + 1), min_size=1, max_size=3))
            return {"type": "record", "name": "R", "fields": _fields(inside)}
    return kind


def _is_one(type_: Any) -> bool:
    return type_ != "null" and not isinstance(type_, list)


def _has_bytes(type_: Any) -> bool:
    return type_ != "null" and not (isinstance(type_, dict) and type_["type"] == "record")


def _fields(inside: list[Any]) -> list[dict[str, Any]]:
    return [{"name": f"f{i}", "type": type_} for i, type_ in enumerate(inside)]


def named(node: Any, count: list[int]) -> Any:
    """Copy a schema so that no two of its types have one name."""
    if isinstance(node, list):
        return [named(each, count) for each in node]
    if not isinstance(node, dict):
        return node
    copied = {key: named(value, count) for key, value in node.items()}
    if "name" in copied and "type" in copied and copied["type"] in ("record", "fixed", "enum"):
        count[0] += 1
        copied["name"] += str(count[0])
    return copied


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    fields = _fields(draw(st.lists(types(), max_size=6)))
    definition = {
        "type": "record",
        "name": "T",
        "fields": draw(st.permutations([ID, AT, CARD, *fields])),
    }
    return parse(named(definition, [0]))


def values(node: Any) -> st.SearchStrategy[Any]:
    """Make values of a type; of a union with a hint, so that its branch is certain."""
    if isinstance(node, list):
        return st.one_of([values(branch) for branch in node])
    if isinstance(node, str):
        return VALUES[node]
    match node["type"]:
        case "record":
            return st.fixed_dictionaries(
                {field["name"]: values(field["type"]) for field in node["fields"]}
            )
        case "array":
            return st.lists(values(node["items"]), max_size=3)
        case "map":
            return st.dictionaries(st.text(max_size=2), values(node["values"]), max_size=3)
        case "enum":
            return st.sampled_from(node["symbols"])
        case "fixed":
            return st.binary(min_size=node["size"], max_size=node["size"])
    if "timestamp" in str(node):
        return TIMES
    return values(node["type"])


def records(schema: Any) -> st.SearchStrategy[Any]:
    """Make records, most of which are events."""
    fields, likely = {}, {}
    for field in schema["fields"]:
        name, type_ = field["name"], field["type"]
        fields[name] = likely[name] = values(type_)
        if (name, type_) in (("id", "string"), ("card", ["null", "string"])):
            likely[name] = st.just("c1") | st.text("ä", min_size=1, max_size=2)
        elif name == "at" and isinstance(type_, dict):
            likely[name] = MOMENTS
    return st.one_of([st.fixed_dictionaries(each) for each in (fields, *[likely] * 5)])


def written(schema: Any, record: Any) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, record)
    return body.getvalue()


def either(extract: Extract, decode: AvroDecoder, value: bytes) -> str:
    """Return the event of the long way, or why there is none; NaN is NaN in it."""
    try:
        return repr(extract(decode(value)))
    except BadRecord as error:
        return f"{error.kind}: {error}"


@st.composite
def spoiled(draw: st.DrawFn, body: bytes) -> bytes:
    """Draw a body that is as it was, or cut, longer, or of other bytes somewhere."""
    at = draw(st.integers(0, len(body)))
    other = draw(st.binary(max_size=3) | st.sampled_from([b"\x80", b"\xff", b"\x01", b"\x80\x00"]))
    how = draw(st.sampled_from(["as it was", "cut", "longer", "other"]))
    match how:
        case "cut":
            return body[:at]
        case "longer":
            return body[:at] + other + body[at:]
        case "other":
            return body[:at] + other + body[at + len(other) :]
    return body


@st.composite
def extracts(draw: st.DrawFn, schema: Schema) -> Extract:
    paths = sorted(schema.fields)
    exact = [path for path in paths if schema.fields[path].integer]
    read = draw(st.lists(st.sampled_from(paths), max_size=5))
    units = draw(st.lists(st.sampled_from(exact), max_size=3))
    return Extract(schema, "id", "at", [["card"], ["id", "card"]], read, units, typed=True)


@settings(max_examples=400)
@given(st.data())
def test_the_event_is_that_of_the_long_way(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    extract, decode = data.draw(extracts(schema)), AvroDecoder(schema)
    take = Projection(decode, extract).take
    for _ in range(3):
        body = written(schema.raw, data.draw(records(schema.raw)))
        value = data.draw(spoiled(body))
        event = take(value)
        assert event is None or repr(event) == either(extract, decode, value)


@st.composite
def writers(draw: st.DrawFn, schema: Schema) -> Any:
    """Draw the schema of a writer of another day: fields are missing, new, or of another type.

    None of the new ones is an array: fastavro steps over as many doubles as its count claims.
    """
    definition = copy.deepcopy(schema.definition)
    fields = [field for field in definition["fields"] if draw(st.integers(0, 9))]
    fields += [
        {"name": f"new{i}", "type": named(draw(types(2)), [100 * (i + 1)])}
        for i in range(draw(st.integers(0, 2)))
    ]
    for field in fields:
        if not draw(st.integers(0, 9)):
            field["type"] = draw(st.sampled_from(["string", "int", "long", ["null", "double"]]))
            field.pop("default", None)
    definition["fields"] = fields
    return parse(definition).raw


def with_defaults(schema: Schema) -> Schema:
    definition = copy.deepcopy(schema.definition)
    for field in definition["fields"]:
        first = field["type"][0] if isinstance(field["type"], list) else field["type"]
        defaults = {"null": None, "string": "ä", "long": 7, "double": 1.5, "boolean": True}
        if isinstance(first, str) and first in defaults:
            field["default"] = defaults[first]
    return parse(definition)


@settings(max_examples=400)
@given(st.data())
def test_the_event_is_that_of_the_long_way_for_every_writer(data: st.DataObject) -> None:
    schema = data.draw(schemas().map(with_defaults))
    extract, writer = data.draw(extracts(schema)), data.draw(writers(schema))
    decode = ConfluentDecoder(schema, {7: writer}.__getitem__)
    take = Projection(decode, extract).take
    for _ in range(3):
        value = HEADER + data.draw(spoiled(written(writer, data.draw(records(writer)))))
        slow, event = either(extract, decode, value), take(value)
        assert event is None or repr(event) == slow


TERMINAL = {
    "type": "record",
    "name": "Terminal",
    "fields": [
        {"name": "city", "type": "string"},
        {"name": "since", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "km", "type": "float"},
    ],
}
FIELDS: list[dict[str, Any]] = [
    ID,
    {"name": "tags", "type": {"type": "array", "items": {"type": "map", "values": "double"}}},
    {"name": "terminal", "type": [TERMINAL, "null"]},
    {"name": "then", "type": "Terminal"},
    {"name": "before", "type": ["null", {**TERMINAL, "name": "Before"}]},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["POS", "WEB"]}},
    {"name": "amount", "type": {"type": "fixed", "name": "Cents", "size": 4, **DECIMAL}},
    {"name": "note", "type": "string", "default": ""},
    CARD,
    AT,
    {"name": "other", "type": ["null", "string", "boolean"]},
]
SCHEMA = parse({"type": "record", "name": "T", "fields": FIELDS})
READ = ["terminal.city", "terminal.km", "terminal.since", "before.city", "kind", "note", "card"]
EXTRACT = Extract(SCHEMA, "id", "at", [["card"], ["terminal.city"]], READ, ["amount"], typed=True)
SHOP = {"city": "Łódź", "since": 1_700_000_000_123_456, "km": 0.5}
RECORD = {
    "id": "e" * 100,
    "tags": [{"a": 1.5, "b": 2.5}, {}],
    "before": None,
    "terminal": SHOP,
    "then": SHOP,
    "kind": "WEB",
    "other": "x",
    "amount": (-1234).to_bytes(4, "big", signed=True),
    "note": "n",
    "card": "c1",
    "at": 1_700_000_000_123,
}


def test_an_event_in_which_nothing_is_unusual_is_taken() -> None:
    event = Projection(AvroDecoder(SCHEMA), EXTRACT).take(written(SCHEMA.raw, RECORD))
    assert event is not None
    assert (event.id, event.time, event.keys) == ("e" * 100, 1_700_000_000_123, ("c1", "Łódź"))
    assert event.units == {"amount": -1234}
    assert event.fields == {
        "terminal.city": "Łódź",
        "terminal.km": 0.5,
        "before.city": None,
        "terminal.since": 1_700_000_000_123,
        "kind": "WEB",
        "note": "n",
        "card": "c1",
    }


@pytest.mark.parametrize("drop", ["note", "tags"])
def test_a_writer_of_another_day_is_read_as_well(drop: str) -> None:
    ours = parse({"type": "record", "name": "T", "fields": FIELDS[:-1]})
    fields = [field for field in FIELDS[:-1] if field["name"] != drop]
    writer = parse(
        {"type": "record", "name": "T", "fields": [*fields, {"name": "new", "type": "int"}]}
    )
    decode = ConfluentDecoder(ours, {7: writer.raw}.__getitem__)
    take = Projection(decode, EXTRACT).take
    value = HEADER + written(writer.raw, {**RECORD, "new": 70_000})
    assert take(value) is None  # nobody has decoded one yet
    if drop != "note":  # without default, so there is no event
        with pytest.raises(BadRecord):
            EXTRACT(decode(value))
        return
    event = EXTRACT(decode(value))
    assert (event.fields["note"], take(value)) == ("", event)


def test_what_is_not_utf_8_is_refused_though_nobody_reads_it() -> None:
    body = written(SCHEMA.raw, {**RECORD, "other": "zzz"})
    take = Projection(AvroDecoder(SCHEMA), EXTRACT).take
    assert take(body) is not None
    assert take(body.replace(b"zzz", b"z\xffz")) is None
    assert take(body.replace("Łódź".encode(), b"\xff" * 7)) is None


def test_of_json_nothing_is_taken() -> None:
    extract = Extract(SCHEMA, "id", "at", [["card"]], [], [])
    assert Projection(json_decoder(), extract).take(b"{}") is None
