"""One field as a value, a text or an exact integer; `test_decode.py` asks whole records."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.operators.events.fields import exact_of, text_of, value_of
from verdict.operators.events.schema import parse

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}
FIELDS = parse(
    {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "text", "type": "string"},
            {"name": "whole", "type": ["null", "long"]},
            {"name": "real", "type": "double"},
            {"name": "flag", "type": "boolean"},
            {"name": "money", "type": DECIMAL},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "seen", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        ],
    }
).fields


@pytest.mark.parametrize(
    ("read", "name", "raw", "wanted"),
    [
        (text_of, "text", "c1", "c1"),
        (text_of, "whole", -7, "-7"),
        (exact_of, "whole", 7, 7),
        (exact_of, "whole", 7.0, 7),
        (exact_of, "whole", None, None),
        (exact_of, "money", (12_345).to_bytes(2, "big"), 12_345),
        (exact_of, "money", "123.45", 12_345),
        (exact_of, "money", 3, 300),
        (exact_of, "at", 5_000, 5_000),
        (exact_of, "at", "1970-01-01T00:00:05Z", 5_000),
        (exact_of, "seen", 5_000_999, 5_000),
        (value_of, "money", "123.45", 123.45),
        (value_of, "at", "1970-01-01T00:00:05Z", 5_000),
        (value_of, "real", 1, 1.0),
        (value_of, "flag", True, True),
        (value_of, "text", "a", "a"),
    ],
)
def test_what_is_read(read: Any, name: str, raw: Any, wanted: Any) -> None:
    found = read(FIELDS[name])({name: raw})
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("read", "name", "raw"),
    [
        (text_of, "text", 5),
        (text_of, "whole", True),
        (text_of, "real", 1.0),
        (text_of, "text", "\ud800"),
        (exact_of, "whole", 1.5),
        (exact_of, "whole", True),
        (exact_of, "whole", "7"),
        (exact_of, "whole", 1 << 63),
        (exact_of, "money", "1.005"),
        (exact_of, "money", 1.5),  # a float is no decimal
        (exact_of, "at", "1970-01-01T00:00:05"),  # of no zone
        (value_of, "flag", 1),
        (value_of, "real", float("nan")),
        (value_of, "real", "1"),
    ],
)
def test_what_is_refused(read: Any, name: str, raw: Any) -> None:
    with pytest.raises(BadRecord, match=f"field '{name}' has the wrong type: ") as caught:
        read(FIELDS[name])({name: raw})
    assert (caught.value.stage, caught.value.kind) == ("validate", "wrong-type")


def test_a_field_that_is_left_out_is_null() -> None:
    assert value_of(FIELDS["text"])({}) is None


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_a_decimal_is_exact_however_it_is_written(unscaled: int) -> None:
    read = exact_of(FIELDS["money"])
    value = Decimal(unscaled).scaleb(-2)
    size = (unscaled.bit_length() + 8) // 8
    for raw in (value, str(value), unscaled.to_bytes(size, "big", signed=True)):
        assert read({"money": raw}) == unscaled
