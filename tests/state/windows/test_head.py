"""A head that is packed comes back as it was, whatever its key has been through."""

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows import fast, rows
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.general import Windows
from verdict.state.windows.head import Packing
from verdict.state.windows.layout import COLD, HEAD, LABELLED, ROWS, WIDE, Since
from verdict.state.windows.plan import Column, Plan, Settled
from verdict.state.windows.values import NULL

ID, AMOUNT, KM, SHOP, LABEL = range(5)
COLUMNS = [
    Column("q", nullable=False, meaning="id"),
    Column("q", 2, meaning="amount"),
    Column("d", meaning="km"),
    Column("q", meaning="distinct shop"),
    Column("q", meaning="label", label=Settled(50, ID)),
]
PLAN = Plan(
    [
        Aggregate("count", 30, delay=5),
        Aggregate("sum", 300, AMOUNT),
        Aggregate("std", 30, KM),
        Aggregate("min", 300, KM),
        Aggregate("max", 30, AMOUNT),
        Aggregate("max", 300, AMOUNT),
        Aggregate("first", 300, AMOUNT),
        Aggregate("last", 30, KM),
        Aggregate("distinct", 300, SHOP),
        Aggregate("mean", 20, KM, decayed=True),
        Aggregate("rate", 300, LABEL, 50),
    ],
    COLUMNS,
    retention=400,
)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a short stream has many."""
    monkeypatch.setattr(rows, "PAGE", 4)
    monkeypatch.setattr(rows, "OPEN_MAX", 8)
    monkeypatch.setattr(fast, "OPEN_MAX", 8)


EVENT = st.tuples(
    st.integers(-60, 30),
    st.one_of(st.just(NULL), st.integers(-99, 99), st.just(1 << 62)),
    st.one_of(st.just(float("nan")), st.floats(-1e9, 1e9)),
    st.integers(0, 5),
    st.booleans(),
)


@pytest.mark.usefixtures("small_pages")
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENT, min_size=1, max_size=60))
def test_what_is_unpacked_is_packed_to_the_same_bytes(events: list[tuple[Any, ...]]) -> None:
    windows, state, newest = Windows(PLAN), MemoryState(), 0
    for number, (gap, amount, km, shop, labelled) in enumerate(events):
        at = newest + gap
        newest = max(newest, at)
        windows.update(state, at, [number, amount, km, shop, NULL])
        if labelled:
            windows.label(state, (at, number, at + 1, number % 2, 0))
        head, chunks = state.head, dict(state.chunks)
        assert head is not None
        assert windows.packing.packed(windows.packing.unpacked(state, head)) == head
        assert state.chunks == chunks


def test_flags_say_what_stands_behind_the_rows() -> None:
    packing = Packing(Plan([Aggregate("sum", 9, 0)], [Column("q")], 9))
    state = MemoryState()
    head = packing.empty(state)
    head.newest = 5
    assert HEAD.unpack_from(packing.packed(head))[1] == 0
    head.tallies = [1 << 63]
    head.since = [Since(ROWS, 0, 0)]
    packed = packing.packed(head)
    assert HEAD.unpack_from(packed)[1] == WIDE | COLD
    again = packing.unpacked(state, packed)
    assert (again.tallies, again.since) == ([1 << 63], [Since(ROWS, 0, 0)])
    head.newest = 10  # nothing reaches back to it any more
    assert HEAD.unpack_from(packing.packed(head))[1] == WIDE


def test_a_head_that_waits_for_labels_says_so() -> None:
    windows, state = Windows(PLAN), MemoryState()
    windows.label(state, (7, 1, 8, 1, 0))
    assert state.head is not None
    assert HEAD.unpack_from(state.head)[1] == LABELLED
    assert struct.unpack("<q", state.head[-8:]) == (7,)
