"""Features that are new: cold while they reach back behind what was kept for them."""

import math

import pytest

from verdict.state.store.keyed import MemoryState
from verdict.state.windows import rows
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.general import Windows
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.values import Code

INTEGERS = Column("q")


def windows(asked: Aggregate, retention: int, column: Column = INTEGERS) -> Aggregates:
    return Aggregates([asked], [column], retention)


def test_a_longer_window_is_cold_until_it_is_full() -> None:
    short, long = (
        windows(Aggregate("count", 10), retention=10),
        windows(Aggregate("count", 50), retention=50),
    )
    state = MemoryState()
    for at in range(0, 100, 5):
        short.update(state, at, [0])
    found = [long.update(state, at, [0]) for at in range(100, 160, 5)]
    assert [each.cold for each in found] == [(0,)] * 7 + [()] * 5
    assert [each.values for each in found[-5:]] == [[10.0]] * 5
    # One whose events are all there is warm at once.
    state = MemoryState()
    short.update(state, 0, [0])
    assert long.update(state, 5, [0]).cold == ()


def test_a_column_of_another_meaning_is_another_column() -> None:
    old = windows(Aggregate("sum", 10, 0), column=Column("q", meaning="amount"), retention=10)
    new = windows(Aggregate("sum", 10, 0), column=Column("q", meaning="items"), retention=10)
    state = MemoryState()
    old.update(state, 0, [7])
    found = new.update(state, 5, [1])
    assert (found.values, found.seq, found.cold) == ([1.0], 2, (0,))
    assert new.update(state, 10, [1]).cold == ()


@pytest.mark.parametrize("code", ["q", "d"])
def test_rows_of_before_lack_a_column_even_if_no_new_event_does(code: Code) -> None:
    """While it is cold, a feature is over what there is, never over what stands for nothing."""
    kept = Column("q", meaning="kept")
    added = Column(code, nullable=False, meaning="added")
    ops = ("count", "sum", "mean", "std", "min", "max", "first", "last")
    asked = [Aggregate(op, 100, 1) for op in ops] + [
        Aggregate("sum", 100, 1, decayed=True),
        Aggregate("sum", 90, 1, 10),
        Aggregate("time_since_last", 100, 1),
    ]
    old = Aggregates([Aggregate("count", 100, 0)], [kept], 100)
    plan = Plan(asked, [kept, added], 100)
    new, general = Aggregates(asked, [kept, added], 100), Windows(plan)
    state, other = MemoryState(), MemoryState()
    for each in (state, other):
        for at in range(5):
            old.update(each, at, [1])
    at = 5
    found = new.update(state, at, [1, 7])
    assert found.values == [1.0, 7.0, 7.0, None, 7.0, 7.0, 7.0, 7.0, found.values[8], 0.0, None]
    assert math.isclose(found.values[8] or 0, 7.0)
    general.update(other, at, [1, 7])
    for at in (50, 101, 103, 104, 105, 300):
        found = new.update(state, at, [1, 9])
        assert found == general.update(other, at, [1, 9])
        assert (state.head, state.chunks) == (other.head, other.chunks), at
    assert found.values[:3] == [1.0, 9.0, 9.0]


def test_what_fades_knows_no_more_than_the_rows_it_is_made_of() -> None:
    """Of a column that was added two plans ago, or over rows that were kept from two plans ago."""
    column = Column("q", meaning="amount")
    count = Aggregates([Aggregate("count", 50)], [], 1_000)
    summed = Aggregates([Aggregate("count", 50), Aggregate("sum", 50, 0)], [column], 1_000)
    faded = Aggregates(
        [Aggregate("sum", 20, 0, decayed=True), Aggregate("sum", 50, 0)], [column], 1_000
    )
    state = MemoryState()
    for at in range(5):
        count.update(state, at, [])
    assert summed.update(state, 5, [1]).cold == (1,)
    found = [faded.update(state, at, [1]).cold for at in (6, 53, 54, 203, 204)]
    assert found == [(0, 1), (0, 1), (0,), (0,), ()]

    short = Aggregates([Aggregate("count", 10)], [], 10)
    long = Aggregates([Aggregate("count", 500)], [], 500)
    fading = Aggregates([Aggregate("count", 30, decayed=True)], [], 500)
    state = MemoryState()
    for at in range(100):
        short.update(state, at, [])
    assert long.update(state, 100, []).cold == (0,)
    # Whole from 89 on, as the first plan had kept it.
    assert [fading.update(state, at, []).cold for at in (101, 388, 389)] == [(0,), (0,), ()]


def test_a_log_that_looks_whole_may_have_forgotten_since_when() -> None:
    """Pages are dropped whole: rows that are older than all windows are there for a while."""
    column = Column("q", meaning="amount")
    count = Aggregates([Aggregate("count", 50)], [], 50)
    summed = Aggregates([Aggregate("sum", 50, 0)], [column], 50)
    longer = Aggregates([Aggregate("sum", 200, 0)], [column], 200)
    state = MemoryState()
    for _ in range(10):
        count.update(state, 0, [])
    assert summed.update(state, 1, [1]).cold == (0,)
    for at in range(2, 2 + rows.OPEN_MAX):
        summed.update(state, min(at, 49), [1])
    assert summed.update(state, 51, [1]).cold == ()
    assert longer.update(state, 52, [1]).cold == (0,)


def test_both_ways_forget_since_when_at_the_same_event() -> None:
    """Two changes, one after the other: the first stops to matter while the other still does."""
    columns = [Column("q", meaning=name) for name in "ab"]
    plans = [
        (asked, columns[:length])
        for length, asked in enumerate(
            (
                [Aggregate("count", 100)],
                [Aggregate("count", 100), Aggregate("sum", 100, 0)],
                [Aggregate("count", 100), Aggregate("sum", 100, 0), Aggregate("sum", 100, 1)],
            )
        )
    ]
    quick, general = MemoryState(), MemoryState()
    for at in range(250):
        asked, kept = plans[min(at // 50, 2)]
        values = [1] * len(kept)
        found = Aggregates(asked, kept, 100).update(quick, at, values)
        assert found == Windows(Plan(asked, kept, 100)).update(general, at, values)
        assert quick.head == general.head, at
