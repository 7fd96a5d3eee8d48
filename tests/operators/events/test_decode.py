"""Bytes to events: an event whose parts are what they say they are, or a `BadRecord`."""

import io
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import (
    FIRST_TIME,
    LAST_TIME,
    AvroDecoder,
    ConfluentDecoder,
    Decode,
    json_decoder,
)
from verdict.operators.events.event import Event
from verdict.operators.events.extract import Extract
from verdict.operators.events.schema import parse

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}
CHANNEL = {"type": "enum", "name": "Channel", "symbols": ["pos", "online"]}
TERMINAL = {
    "type": "record",
    "name": "Terminal",
    "fields": [{"name": "id", "type": "string"}, {"name": "floor", "type": "int"}],
}
SCHEMA = parse(
    {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": MILLIS},
            {"name": "card", "type": ["null", "string"], "default": None},
            {"name": "terminal", "type": ["null", TERMINAL], "default": None},
            {"name": "amount", "type": ["null", DECIMAL], "default": None},
            {"name": "count", "type": ["null", "long"], "default": None},
            {"name": "limit", "type": ["null", "double"], "default": None},
            {"name": "flag", "type": ["null", "boolean"], "default": None},
            {"name": "channel", "type": ["null", CHANNEL], "default": None},
            {"name": "seen", "type": ["null", MICROS], "default": None},
            {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        ],
    }
)
FIELDS = ["amount", "count", "limit", "flag", "channel", "seen", "terminal.floor"]
EXTRACT = Extract(SCHEMA, "id", "at", [["card"], ["terminal.id"]], FIELDS, ["amount", "count"])

RAW = {
    "id": "e1",
    "at": 5_000,
    "card": "c1",
    "terminal": {"id": "t1", "floor": 3},
    "amount": (12_345).to_bytes(3, "big"),
    "count": 7,
    "limit": 0.5,
    "flag": True,
    "channel": "online",
    "seen": 1_234_567,
    "tags": ["a", "b"],
}
"""As Avro has it on the wire: a decimal is bytes, times are integers."""
PLAIN = {**RAW, "amount": 123.45}
"""As JSON has it."""
EVENT = Event(
    "e1",
    5_000,
    ("c1", "t1"),
    {
        "amount": 123.45,
        "count": 7,
        "limit": 0.5,
        "flag": True,
        "channel": "online",
        "seen": 1_234,
        "terminal.floor": 3,
    },
    {"amount": 12_345, "count": 7},
)


def avro(record: dict[str, Any], schema: Any = SCHEMA.raw) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, record)
    return body.getvalue()


def confluent(record: dict[str, Any], schema_id: int = 1, schema: Any = SCHEMA.raw) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + avro(record, schema)


def known_schema(schema_id: int) -> Any:
    return {1: SCHEMA.raw}[schema_id]


DECODERS: dict[str, tuple[Decode, bytes]] = {
    "avro": (AvroDecoder(SCHEMA), avro(RAW)),
    "confluent": (ConfluentDecoder(SCHEMA, known_schema), confluent(RAW)),
    "json": (json_decoder(), json.dumps(PLAIN).encode()),
}


def from_json(**changes: str) -> Event:
    """The event of a JSON record in which fields are other JSON texts."""
    texts = {**{name: json.dumps(value) for name, value in PLAIN.items()}, **changes}
    body = ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items())
    return EXTRACT(json_decoder()(f"{{{body}}}".encode()))


def assert_sound(event: Event) -> None:
    """Every part of an event is what the operators behind take it for."""
    assert event.id
    event.id.encode()
    assert FIRST_TIME <= event.time <= LAST_TIME
    assert event.keys[0]
    for key in event.keys:
        assert key is None or (isinstance(key, str) and key.encode())
    kinds = {name: type(value) for name, value in event.fields.items() if value is not None}
    expected = {name: type(EVENT.fields[name]) for name in kinds}
    assert kinds == expected
    for value in event.fields.values():
        assert not isinstance(value, float) or math.isfinite(value)
    for unit in event.units.values():
        assert unit is None or abs(unit) < 2**63


# What is well formed


@pytest.mark.parametrize(("decode", "value"), DECODERS.values(), ids=DECODERS)
def test_the_same_event_in_every_encoding(decode: Decode, value: bytes) -> None:
    assert EXTRACT(decode(value)) == EVENT
    assert_sound(EVENT)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_decimals_are_exact_in_every_encoding(unscaled: int) -> None:
    text = f"{Decimal(unscaled).scaleb(-2):f}"
    raw = {**RAW, "amount": unscaled.to_bytes(9, "big", signed=True)}
    for event in (
        EXTRACT(AvroDecoder(SCHEMA)(avro(raw))),
        from_json(amount=text),
        from_json(amount=f'"{text}"'),
        from_json(amount=f"{unscaled}e-2"),
        from_json(amount=f"{text}000"),
    ):
        assert event.units["amount"] == unscaled
        assert event.fields["amount"] == float(Fraction(unscaled, 100))


@pytest.mark.parametrize(
    ("text", "unscaled"), [("0", 0), ("-0.0", 0), ("1e3", 100_000), ("0e99", 0), ("12", 1_200)]
)
def test_a_decimal_as_a_json_number(text: str, unscaled: int) -> None:
    assert from_json(amount=text).units["amount"] == unscaled


@pytest.mark.parametrize("missing", ["null", None])
def test_what_json_leaves_out_is_null(missing: str | None) -> None:
    optional = ["terminal", "amount", "count", "limit", "flag", "channel", "seen", "tags"]
    plain = {name: value for name, value in PLAIN.items() if name not in optional}
    if missing is not None:
        plain.update(dict.fromkeys(optional))
    event = EXTRACT(json_decoder()(json.dumps(plain).encode()))
    assert event.keys == ("c1", None)
    assert set(event.fields.values()) == {None}
    assert set(event.units.values()) == {None}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("5000", 5_000),
        ("5e3", 5_000),
        ('"1970-01-01T00:00:05Z"', 5_000),
        ('"1970-01-01T01:00:05.000999+01:00"', 5_000),
        ('"1969-12-31T23:59:59.9999Z"', -1),
        (str(FIRST_TIME), FIRST_TIME),
        (str(LAST_TIME), LAST_TIME),
        ('"0001-01-01T00:00:00Z"', FIRST_TIME),
        ('"9999-12-31T23:59:59.999999Z"', LAST_TIME),
    ],
)
def test_times_of_json(text: str, time: int) -> None:
    assert from_json(at=text).time == time


def test_integers_are_keys_by_their_digits() -> None:
    schema = parse(
        {
            "type": "record",
            "name": "T",
            "fields": [{"name": "id", "type": "long"}, {"name": "at", "type": MILLIS}],
        }
    )
    extract = Extract(schema, "id", "at", [["id"]], [], [])
    assert extract({"id": 0, "at": 1}) == Event("0", 1, ("0",), {}, {})
    assert extract({"id": -7, "at": 1}).keys == ("-7",)


# What is not


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "null"}, "field 'id' is missing, the event cannot go on without it"),
        ({"id": '""'}, "field 'id' is missing"),
        ({"id": "5"}, "field 'id' has the wrong type: 5 is no string"),
        ({"id": r'"\ud800"'}, r"field 'id' has the wrong type: '\\ud800' is no string"),
        ({"at": "null"}, "field 'at' is missing"),
        ({"at": "true"}, "field 'at' has the wrong type: True is no number"),
        ({"at": "1.5"}, "wrong type"),
        ({"at": '"5000"'}, "wrong type"),
        ({"at": '"1970-01-01T00:00:05"'}, "wrong type"),  # no zone
        ({"at": '"soon"'}, "wrong type"),
        ({"at": str(LAST_TIME + 1)}, "field 'at' lies outside the years 1 to 9999: 2534023008"),
        ({"at": str(FIRST_TIME - 1)}, "outside the years"),
        ({"at": str(2**63)}, "wrong type"),
        ({"at": "1e999999999"}, "wrong type"),
        ({"card": "null"}, "field 'card' is missing"),
        ({"card": '""'}, "field 'card' is missing"),
        ({"card": r'"\udfff"'}, "field 'card' has the wrong type"),
        ({"card": '["c1"]'}, "field 'card' has the wrong type"),
        ({"terminal": '"t1"'}, "field 'terminal.id' lies in what is no record"),
        ({"terminal": '["t1"]'}, "lies in what is no record"),
        ({"terminal": "5"}, "lies in what is no record"),
        ({"terminal": '{"id": {}}'}, "field 'terminal.id' has the wrong type"),
        ({"amount": "1.005"}, "field 'amount' has the wrong type"),
        ({"amount": "1.0000000000000000000000000000000000000000001"}, "wrong type"),
        ({"amount": str(2**63)}, "wrong type"),
        ({"amount": "1" * 4000}, "wrong type"),
        ({"amount": "1e999999999"}, "wrong type"),
        ({"amount": "1e-999999999"}, "wrong type"),
        ({"amount": '"1e999999"'}, "wrong type"),
        ({"amount": '"NaN"'}, "wrong type"),
        ({"amount": '"sNaN"'}, "wrong type"),
        ({"amount": '"-Infinity"'}, "wrong type"),
        ({"amount": '""'}, "wrong type"),
        ({"amount": '"12 EUR"'}, "wrong type"),
        ({"amount": "true"}, "wrong type"),
        ({"amount": "[0, [1, 2], -2]"}, "wrong type"),  # which Python's Decimal would take
        ({"amount": "{}"}, "wrong type"),
        ({"count": "1.5"}, "wrong type"),
        ({"count": "true"}, "wrong type"),
        ({"count": '"7"'}, "wrong type"),
        ({"count": "1e999999999"}, "wrong type"),
        ({"count": str(-(2**63))}, "wrong type"),  # stands for null in the log
        ({"limit": "true"}, "field 'limit' has the wrong type"),
        ({"limit": '"0.5"'}, "wrong type"),
        ({"limit": "1e400"}, "wrong type"),
        ({"limit": "[]"}, "wrong type"),
        ({"limit": "9" * 400}, "wrong type"),
        ({"flag": "1"}, "field 'flag' has the wrong type: 1 is no boolean"),
        ({"flag": '"true"'}, "wrong type"),
        ({"channel": "1"}, "field 'channel' has the wrong type"),
        ({"channel": r'"\ud800"'}, "wrong type"),
        ({"limit": "NaN"}, "not JSON: NaN is not of JSON"),
        ({"limit": "-Infinity"}, "not JSON"),
        ({"limit": "1" * 5000}, "not JSON"),  # Python reads 4300 digits
        ({"limit": "01"}, "not JSON"),
        ({"tags": "[" * 5000 + "]" * 5000}, "not JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.timeout(20)  # 1e999999999 as an integer would take hours
def test_json_of_the_wrong_kind(changes: dict[str, str], message: str) -> None:
    with pytest.raises(BadRecord, match=message):
        from_json(**changes)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "not JSON"),
        (b"null", "a JSON object is wanted, not NoneType"),
        (b"[1]", "a JSON object is wanted, not list"),
        (b"\xff\xff", "not JSON"),
        (b'{"id": "e1"} x', "not JSON"),
        (b'{"id": "e1", "x": -1e99999999999999999999}', "an exponent of too many digits"),
        (b'{"id": "e1", "x": %s}' % (b"1" * 5_000), "not JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_json_object(value: bytes, message: str) -> None:
    with pytest.raises(BadRecord, match=message) as caught:
        json_decoder()(value)
    assert caught.value.stage == "decode"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"card": None},
        {"at": 2**63 - 1},
        {"at": -(2**63)},
        {"amount": b"\1" + bytes(8)},
        {"count": -(2**63)},  # stands for null in the log
        {"limit": math.nan},
        {"limit": math.inf},
    ],
)
def test_avro_of_the_wrong_kind(changes: dict[str, Any]) -> None:
    with pytest.raises(BadRecord) as caught:
        EXTRACT(AvroDecoder(SCHEMA)(avro({**RAW, **changes})))
    assert caught.value.stage == "validate"


@pytest.mark.parametrize("name", ["avro", "confluent"])
def test_bytes_missing_or_left_over(name: str) -> None:
    decode, value = DECODERS[name]
    with pytest.raises(BadRecord, match="3 bytes are left over"):
        decode(value + b"abc")
    for length in range(len(value)):
        with pytest.raises(BadRecord):
            decode(value[:length])


@pytest.mark.parametrize("depth", [*range(900, 1000, 3), 100_000])
def test_deep_json(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    with pytest.raises(BadRecord):
        from_json(limit=nested)
    with pytest.raises(BadRecord):
        from_json(card='{"a":' * depth + "1" + "}" * depth)


# Confluent's wire format


def test_confluent_headers() -> None:
    decode = ConfluentDecoder(SCHEMA, known_schema)
    with pytest.raises(BadRecord, match="a zero byte, the schema's id"):
        decode(b"\1" + confluent(RAW)[1:])
    with pytest.raises(BadRecord, match="not Confluent's wire format"):
        decode(b"\0\0\0")
    with pytest.raises(BadRecord, match="unknown schema id 77"):
        decode(confluent(RAW, 77))


def test_an_older_writers_events_resolve() -> None:
    fields = [
        {"name": "id", "type": "string"},
        {"name": "at", "type": "long"},
        {"name": "card", "type": "string"},
        {"name": "count", "type": "int"},
        {"name": "dropped", "type": "string"},
    ]
    writer = fastavro.parse_schema({"type": "record", "name": "Payment", "fields": fields})
    asked = []

    def writer_schema(schema_id: int) -> Any:
        asked.append(schema_id)
        return writer

    decode = ConfluentDecoder(SCHEMA, writer_schema)
    record = {"id": "e1", "at": 1, "card": "c1", "count": 7, "dropped": "x"}
    for _ in range(2):
        event = EXTRACT(decode(confluent(record, 9, writer)))
        assert (event.fields["count"], event.fields["limit"]) == (7, None)
    assert asked == [9]  # once an id


def test_a_writer_whose_events_could_end_the_process() -> None:
    """Deep enough they overflow the stack; an array of nothing fills the memory."""
    node = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
    nothing = {"type": "array", "items": "null"}
    for number, kind in enumerate((node, nothing)):
        fields = [{"name": "more", "type": kind}]
        writer = fastavro.parse_schema({"type": "record", "name": f"W{number}", "fields": fields})
        decode = ConfluentDecoder(SCHEMA, {2: writer}.__getitem__)
        with pytest.raises(BadRecord, match="schema id 2: ") as refused:
            decode(b"\0\0\0\0\2" + b"\2" * 100_000)
        assert refused.value.kind == "schema-mismatch"


@pytest.mark.parametrize("items", ["double", "float", "boolean", "long"])
@pytest.mark.parametrize("kind", ["array", "map"])
def test_a_list_that_is_left_out_ends_where_the_bytes_do(kind: str, items: str) -> None:
    """fastavro skips what a reader does not ask for without looking whether it is there."""
    listed = {"type": kind, "items" if kind == "array" else "values": items}
    last = {"name": "history", "type": listed}
    writer = fastavro.parse_schema({**SCHEMA.raw, "fields": [*SCHEMA.raw["fields"], last]})
    decode = ConfluentDecoder(SCHEMA, {2: writer}.__getitem__)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, writer, {**RAW, "history": [] if kind == "array" else {}})
    whole = b"\0" + (2).to_bytes(4, "big") + body.getvalue()
    assert decode(whole)["id"] == RAW["id"]
    claim = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"  # 2**62 - 1 of them
    with pytest.raises(BadRecord, match="not Avro of the schema") as caught:
        decode(whole[:-1] + claim)
    assert caught.value.kind == "not-avro"


def test_a_writer_that_does_not_resolve() -> None:
    other = fastavro.parse_schema(
        {"type": "record", "name": "Payment", "fields": [{"name": "id", "type": "string"}]}
    )
    decode = ConfluentDecoder(SCHEMA, {2: other}.__getitem__)
    with pytest.raises(BadRecord, match="not Avro of the schema"):
        decode(confluent({"id": "e1"}, 2, other))


def test_a_registry_that_does_not_answer_is_no_bad_record() -> None:
    def unreachable(schema_id: int) -> Any:
        raise ConnectionError(schema_id)

    with pytest.raises(ConnectionError):
        ConfluentDecoder(SCHEMA, unreachable)(confluent(RAW))


# Fuzz


def attempt(decode: Decode, value: bytes) -> None:
    try:
        event = EXTRACT(decode(value))
    except BadRecord as error:
        assert error.stage in ("decode", "validate")
        str(error).encode("utf-8")
    else:
        assert_sound(event)


def mutated(value: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, cut, put in edits:
        at %= len(value) + 1
        value = value[:at] + put + value[at + cut :]
    return value


EDITS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 3),
        st.binary(max_size=3)
        | st.sampled_from(
            [b'"', b"{", b"[", b"null", b"1e99", b"\\ud800", b"\xff" * 9, b"\x01" * 5]
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=400)
@given(st.sampled_from(sorted(DECODERS)), EDITS)
def test_mutated_records(name: str, edits: list[tuple[int, int, bytes]]) -> None:
    decode, value = DECODERS[name]
    attempt(decode, mutated(value, edits))


@settings(max_examples=150)
@given(st.binary(max_size=60))
def test_arbitrary_bytes(value: bytes) -> None:
    for decode, _ in DECODERS.values():
        attempt(decode, value)
        attempt(decode, b"\0\0\0\0\1" + value)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([2**63, -(2**63), 10**400, "1e999999", "\ud800", "2024-01-01", "NaN"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from([*PLAIN, "floor"]), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(sorted(PLAIN)), ANY_JSON, max_size=4))
def test_any_json_in_any_field(changes: dict[str, Any]) -> None:
    attempt(json_decoder(), json.dumps({**PLAIN, **changes}).encode())
