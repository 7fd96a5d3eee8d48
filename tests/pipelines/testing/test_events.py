"""An event of a file of tests is what a producer would send, and nothing that none could."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.events.decode import AvroDecoder
from verdict.operators.events.schema import Schema, parse
from verdict.pipelines.spec.yaml_file import Fault
from verdict.pipelines.testing.events import EventEncoder, JsonLoader, merged

SHOP = {
    "type": "record",
    "name": "Shop",
    "namespace": "a.b",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "country", "type": "string", "default": "FR"},
    ],
}
SCHEMA = parse(
    {
        "type": "record",
        "name": "Payment",
        "namespace": "a.b",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {
                "name": "seen",
                "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
            },
            {
                "name": "amount",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                "default": "\u0001",
            },
            {
                "name": "fee",
                "type": [
                    "null",
                    {
                        "type": "fixed",
                        "name": "Fee",
                        "size": 4,
                        "logicalType": "decimal",
                        "precision": 7,
                        "scale": 3,
                    },
                ],
            },
            {"name": "shop", "type": ["null", SHOP]},
            {"name": "before", "type": {"type": "array", "items": "a.b.Shop"}, "default": []},
            {"name": "tags", "type": {"type": "map", "values": "int"}, "default": {}},
            {
                "name": "channel",
                "type": {"type": "enum", "name": "Channel", "symbols": ["pos", "online"]},
                "default": "pos",
            },
            {"name": "trusted", "type": ["null", "boolean"]},
            {"name": "distance", "type": ["null", "double"]},
            {"name": "note", "type": ["null", "int", "string"]},
            {"name": "raw", "type": ["null", "bytes"]},
        ],
    }
)
LEAST = {"id": "p1", "at": 5}


def from_yaml(text: str) -> Any:
    return yaml.load(text, JsonLoader)  # a SafeLoader


def read_back(event: dict[str, Any], schema: Schema = SCHEMA) -> Any:
    """Encode, and read by the schema with its logical types."""
    body = EventEncoder(schema, "avro")(event)
    AvroDecoder(schema)(body)  # the pipeline's own decoder takes all of it
    return fastavro.schemaless_reader(io.BytesIO(body), schema.definition, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("0742", "0742"),
        ("10:30", "10:30"),
        ("1_000", "1_000"),
        ("2026-03-01", "2026-03-01"),
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
        ("true", True),
        ("~", None),
        ("", None),
        ("-12", -12),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("'12'", "12"),
    ],
)
def test_a_plain_word_means_what_it_means_in_json(text: str, value: object) -> None:
    found = from_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value) or isinstance(value, float)


def test_anchors_and_merges_work() -> None:
    found = from_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}")
    assert found["b"] == {"x": 1, "y": 3}


def test_json_goes_out_as_it_was_written() -> None:
    event = from_yaml(
        'id: "a\\"b\\u00e9"\nat: 2026-03-01T10:00:00Z\namount: 12345678901234567.10\n'
        "before: [{id: x}, null]\ntrusted: true\ndistance: -1.50e-3\ntags: {a: 1}"
    )
    body = EventEncoder(SCHEMA, "json")(event)
    assert json.loads(body, parse_float=str) == {
        "id": 'a"bé',
        "at": "2026-03-01T10:00:00Z",
        "amount": "12345678901234567.10",
        "before": [{"id": "x"}, None],
        "trusted": True,
        "distance": "-1.50e-3",
        "tags": {"a": 1},
    }


@pytest.mark.parametrize("format_", ["avro", "confluent"])
def test_avro_has_the_values_of_the_event(format_: str) -> None:
    event = from_yaml(
        "id: p1\nat: 2026-03-01T11:00:00+01:00\nseen: 2026-03-01T10:00:00.000250Z\n"
        "amount: 12.5\nfee: '-0.125'\nshop: {id: s1}\nbefore: [{id: s2, country: DE}]\n"
        "tags: {a: 7}\nchannel: online\ntrusted: false\ndistance: 3\nnote: text\nraw: 'a\u00ff'"
    )
    assert EventEncoder(SCHEMA, format_)(event) == EventEncoder(SCHEMA, "avro")(event)
    assert read_back(event) == {
        "id": "p1",
        "at": datetime(2026, 3, 1, 10, tzinfo=UTC),
        "seen": datetime(2026, 3, 1, 10, 0, 0, 250, tzinfo=UTC),
        "amount": Decimal("12.50"),
        "fee": Decimal("-0.125"),
        "shop": {"id": "s1", "country": "FR"},
        "before": [{"id": "s2", "country": "DE"}],
        "tags": {"a": 7},
        "channel": "online",
        "trusted": False,
        "distance": 3.0,
        "note": "text",
        "raw": b"a\xff",
    }


def test_what_is_left_out_is_the_default_or_null() -> None:
    found = read_back({"id": "p1", "at": 5})
    assert (found["amount"], found["channel"], found["shop"]) == (Decimal("0.01"), "pos", None)


@given(st.decimals(-9_999_999, 9_999_999, places=2), st.sampled_from(["{}", "'{}'"]))
def test_every_decimal_that_fits_is_exact(amount: Decimal, quoted: str) -> None:
    event = from_yaml(f"id: p\nat: 5\namount: {quoted.format(amount)}")
    assert read_back(event)["amount"] == amount


@pytest.mark.parametrize("amount", ["0", "0.000", "-0", "0e9", "1e1", "10.000", "1000000e-1"])
def test_zeros_do_not_count_as_digits(amount: str) -> None:
    event = from_yaml(f"id: p\nat: 5\namount: {amount}")
    assert read_back(event)["amount"] == Decimal(amount)


@pytest.mark.parametrize(
    ("event", "place", "says"),
    [
        ({"iid": "x"}, ("iid",), "the schema has no field 'iid'. Did you mean 'id'?"),
        ({"shop": {"x": 1}}, ("shop", "x"), "no field 'shop.x'. There are: id, country."),
        ({"before": [{"idd": 1}]}, ("before", 0, "idd"), "no field 'before.0.idd'"),
    ],
)
@pytest.mark.parametrize("format_", ["avro", "json"])
def test_a_field_that_the_schema_has_not_is_a_mistake(
    event: dict[str, Any], place: tuple[str | int, ...], says: str, format_: str
) -> None:
    with pytest.raises(Fault, match=says.replace(".", r"\.").replace("?", r"\?")) as caught:
        EventEncoder(SCHEMA, format_)({**LEAST, **event})
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id: null", "'id' may not be null by the schema: no producer could send it; fill it"),
        ("id: 12", "'id' is a string by the schema, not 12: write '12' in quotes"),
        ("id: true", "'id' is a string by the schema, not true: write 'true' in quotes"),
        ("id: [a]", "'id' is a string by the schema, not"),
        ("at: 2026-03-01T10:00:00", "'at' is a time with its zone, such as 2026-03-01T10:00:00Z"),
        ("at: 1.5", "'at' is a whole number of 64 bits, or a time such as 2026-"),
        ("amount: 12.505", "'amount' has 2 decimal places by the schema, 12.505 has more"),
        ("amount: 12345678.00", "'amount' has 9 digits by the schema, 12345678.00 has more"),
        ("amount: 1e999999999", "'amount' has 9 digits by the schema, 1e999999999 has more"),
        (f"amount: 1.{'0' * 50}1", "'amount' has 2 decimal places by the schema, 1.000"),
        ("amount: twelve", "'amount' is a decimal by the schema, not twelve"),
        ("amount: .nan", "'amount' is a decimal by the schema, not .nan"),
        ("amount: true", "'amount' is a decimal by the schema, not true"),
        ("shop: {country: FR}", "'shop.id' is missing, and has no default in the schema: add it"),
        ("shop: s1", "'shop' is a record by the schema, not s1"),
        ("before: s1", "'before' is a list by the schema, not s1"),
        ("tags: [1]", "'tags' is a mapping by the schema"),
        ("tags: {a: 2147483648}", "'tags.a' is a whole number of 32 bits by the schema"),
        ("channel: post", "'channel' is one of pos, online by the schema, not post"),
        ("trusted: 'no'", "'trusted' is true or false by the schema, not no"),
        ("distance: far", "'distance' is a number by the schema, not far"),
        ("note: 1.5", "'note' is a"),
        ("raw: \u20ac", "'raw' is bytes by the schema"),
    ],
)
def test_what_avro_cannot_hold_is_a_mistake_of_the_file(text: str, says: str) -> None:
    event = {**LEAST, **from_yaml(text)}
    with pytest.raises(Fault) as caught:
        EventEncoder(SCHEMA, "avro")(event)
    assert says in str(caught.value)
    assert caught.value.place[0] == text.partition(":")[0]


def test_json_has_no_nan() -> None:
    with pytest.raises(Fault, match=r"'shop\.id' is \.nan, which JSON cannot say"):
        EventEncoder(SCHEMA, "json")(from_yaml("shop: {id: .nan}"))


def test_given_fields_fill_records_too_but_not_over_null() -> None:
    given_ = {"shop": {"id": "s1", "country": "FR"}, "tags": {"a": 1}}
    assert merged(given_, {"shop": {"country": "DE"}}) == {
        "shop": {"id": "s1", "country": "DE"},
        "tags": {"a": 1},
    }
    assert merged(given_, {"shop": None, "tags": 3}) == {"shop": None, "tags": 3}
    assert given_["shop"] == {"id": "s1", "country": "FR"}
