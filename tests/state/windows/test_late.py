"""A late event sees what it would have seen in its place."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.general import Windows
from verdict.state.windows.plan import Aggregate, Column, Plan
from verdict.state.windows.values import NULL

ASKED = [
    *(
        Aggregate(op, 50, 0)
        for op in ("count", "sum", "std", "min", "max", "first", "last", "distinct")
    ),
    Aggregate("mean", 50, 0, delay=20),
    Aggregate("time_since_last", 50, 0),
]
PLAN = Plan(ASKED, [Column("q", nullable=False)], retention=1_000)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(-9, 9)), min_size=2, max_size=200),
    st.data(),
)
def test_one_that_comes_last_sees_what_it_would_have_seen_in_its_place(
    gaps: list[tuple[int, int]], data: st.DataObject
) -> None:
    events, at = [], 0
    for gap, value in gaps:
        at += gap
        events.append((at, value))
    newest = len(events) - 1
    first = next(i for i, (time, _) in enumerate(events) if time > at - 900)
    which = data.draw(st.integers(min(first, newest - 1), newest - 1))
    windows, in_order, late = Windows(PLAN), MemoryState(), MemoryState()
    for i, (time, value) in enumerate(events):
        found = windows.update(in_order, time, [value])
        if i == which:
            expected = found
    for time, value in (*events[:which], *events[which + 1 :], events[which]):
        found = windows.update(late, time, [value])
    assert (found.values, found.late, found.seq) == (expected.values, True, len(events))
    after = at + 1
    assert windows.look(late, after).values == windows.look(in_order, after).values


def test_one_that_is_older_than_all_rows_sees_the_last_value_of_its_own_time() -> None:
    windows, state = Windows(Plan([Aggregate("last", 10, 0)], [Column("q")], 10)), MemoryState()
    for at, value in ((0, 5), (100, NULL)):
        windows.update(state, at, [value])
    assert windows.update(state, 0, [NULL]).values == [5.0]
