"""What an event finds in a table."""

import json
from typing import Any

import pytest

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import json_decoder
from verdict.operators.events.event import Event
from verdict.operators.events.schema import parse
from verdict.operators.features.lookups import LookedUp, LookupReader, Lookups, RowReader

SCHEMA = parse(
    {
        "type": "record",
        "name": "Merchant",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "branch", "type": ["null", "long"]},
            {"name": "risk", "type": ["null", "double"]},
            {"name": "known", "type": ["null", "boolean"]},
            {
                "name": "until",
                "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
            },
        ],
    }
)


class Dict(dict[bytes, bytes]):
    """A table in memory, as operators see it."""

    name, rows, lag, bad = "merchants", 0, 0, 0

    def close(self) -> None:
        """Hold nothing."""


def row(**values: Any) -> bytes:
    return json.dumps({"id": "m1", **values}).encode()


def lookup(
    *asked: LookedUp,
    expires: str | None = None,
    key: tuple[str, ...] = ("merchant",),
    **values: Any,
) -> LookupReader:
    rows = RowReader(["known", "risk"], expires, SCHEMA, json_decoder())
    table = Dict({b"m1": rows.pack(row(**values)), b"7": rows.pack(row(**values))})
    table[b"m1|2"] = rows.pack(row(**values))
    return LookupReader(table, rows, key, expires is not None, asked)


def event(at: int = 0, **fields: Any) -> Event:
    return Event("e", at, ("c",), fields, {})


KNOWN, RISK = LookedUp("known", 0, None), LookedUp("risk", 1, 0.25)
LISTED = LookedUp("listed", None, None)


def test_numbers_of_the_row_that_has_the_key() -> None:
    find = lookup(RISK, KNOWN, LISTED, risk=0.5, known=True)
    assert find.names == ["risk", "known", "listed"]
    assert find(event(merchant="m1")) == [0.5, 1.0, 1.0]
    assert find(event(merchant=7)) == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("merchant", ["m2", None, ""])
def test_without_a_row_a_feature_has_its_default_and_a_list_says_0(merchant: str | None) -> None:
    find = lookup(RISK, KNOWN, LISTED, risk=0.5, known=True)
    assert find(event(merchant=merchant)) == [0.25, None, 0.0]


def test_a_null_in_the_row_is_no_value() -> None:
    assert lookup(RISK, KNOWN, LISTED)(event(merchant="m1")) == [0.25, None, 1.0]


def test_a_row_counts_until_its_time_that_time_excluded() -> None:
    find = lookup(RISK, LISTED, expires="until", risk=0.5, until=1000)
    assert find(event(999, merchant="m1")) == [0.5, 1.0]
    assert find(event(1000, merchant="m1")) == [0.25, 0.0]
    for_ever = lookup(RISK, LISTED, expires="until", risk=0.5)
    assert for_ever(event(10**14, merchant="m1")) == [0.5, 1.0]


def test_a_key_of_parts_is_the_one_that_entities_have() -> None:
    find = lookup(LISTED, key=("merchant", "branch"))
    assert find(event(merchant="m1", branch=2)) == [1.0]
    assert find(event(merchant="m1", branch=None)) == [0.0]
    rows = RowReader([], None, SCHEMA, json_decoder(), ["id", "branch"])
    assert rows.keyed(row(branch=2)) == (b"m1|2", b"")


def test_what_an_event_finds_is_not_shared() -> None:
    find = lookup(RISK)
    find(event(merchant="m2")).append(1.0)
    assert find(event(merchant="m2")) == [0.25]


def test_tables_one_after_the_other() -> None:
    both = Lookups([lookup(RISK, risk=0.5), lookup(LISTED, risk=0.5)])
    assert both.names == ["risk", "listed"] and len(both.tables) == 2
    assert both(event(merchant="m1")) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b"[]", "not-a-record"), (b"{", "not-json"), (b'{"risk": "high"}', "wrong-type")],
)
def test_a_bad_row_is_refused(value: bytes, kind: str) -> None:
    with pytest.raises(BadRecord) as refused:
        RowReader(["risk"], None, SCHEMA, json_decoder()).pack(value)
    assert refused.value.kind == kind


def test_a_row_of_a_file_without_its_key_is_refused() -> None:
    with pytest.raises(BadRecord, match="no key"):
        RowReader(["risk"], None, SCHEMA, json_decoder(), ["id", "branch"]).keyed(row())
