"""The quick way, written for the paths that are read, makes the event of the careful one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.operators.events.test_decode import EVENT, FIELDS, RAW, SCHEMA
from verdict.operators.errors import BadRecord
from verdict.operators.events.extract import Extract

KEYS = [["card"], ["terminal.id", "count"]]
UNITS = ["amount", "count", "seen"]
QUICK = Extract(SCHEMA, "id", "at", KEYS, FIELDS, UNITS, typed=True)
CAREFUL = Extract(SCHEMA, "id", "at", KEYS, FIELDS, UNITS)
LONG = st.sampled_from([0, 1, -1, -(2**63), 2**63 - 1, 2**53 + 1]) | st.integers(-(2**40), 2**40)
TERMINAL = st.fixed_dictionaries({"id": st.text("t|"), "floor": st.integers(0, 2**31 - 1)})
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.text("a", max_size=1),
    "at": LONG,
    "card": st.none() | st.text("c|\\", max_size=2),
    "terminal": st.none()
    | st.fixed_dictionaries({"id": st.text("t|"), "floor": st.integers(0, 2**31 - 1)}),
    "amount": st.none() | st.binary(min_size=1, max_size=9),
    "count": st.none() | LONG,
    "limit": st.none() | st.floats(),
    "flag": st.none() | st.booleans(),
    "channel": st.none() | st.just("pos"),
    "seen": st.none() | LONG,
}
RECORDS = st.fixed_dictionaries({name: st.just(RAW[name]) | st_ for name, st_ in VALUES.items()})


def made(extract: Extract, record: dict[str, Any]) -> str:
    """Return the event, or why there is none, so that it can be compared: NaN is NaN."""
    try:
        return repr(extract(record))
    except BadRecord as error:
        return f"{error.stage} {error.kind}: {error}"


@given(RECORDS)
def test_both_ways_make_the_same(record: dict[str, Any]) -> None:
    assert made(QUICK, record) == made(CAREFUL, record)


def test_most_events_take_the_quick_way() -> None:
    event = QUICK._take({**RAW})
    assert event is not None
    assert (event.id, event.fields) == (EVENT.id, EVENT.fields)
    assert event.keys == ("c1", "t1|7")
    assert event.units == {"amount": 12_345, "count": 7, "seen": 1_234}
    assert QUICK._take({**RAW, "card": None}) is None
