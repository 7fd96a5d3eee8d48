"""Candidates against the rows: none is there that can be no extreme, and none is missing."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.extremes import Candidates
from verdict.state.windows.head import Packing
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.tallies import Tallies
from verdict.state.windows.values import NULL

LONG, SHORT = 100, 20
PLAN = Plan(
    [Aggregate(op, over, 0) for op in ("min", "max") for over in (SHORT, LONG)],
    [Column("q", nullable=False)],
    retention=LONG,
)


@given(st.lists(st.tuples(st.integers(-30, 15), st.integers(-9, 9)), min_size=1, max_size=50))
def test_candidates_are_the_rows_that_no_later_one_surpasses(events: list[tuple[int, int]]) -> None:
    packing = Packing(PLAN)
    candidates = Candidates(PLAN, Tallies(PLAN, packing))
    head = packing.empty(MemoryState())
    head.newest = 0
    known: list[tuple[int, int]] = []
    for gap, value in events:
        row = head.newest + gap, value
        if gap < 0:
            candidates.insert(head, row)
        else:
            head.newest = row[0]
            candidates.advance(head)
            candidates.add(head, row)
        known.append(row)
        known.sort(key=lambda each: each[0])  # of one time, in the order in which they came
        inside = [each for each in known if each[0] > head.newest - LONG]
        for rows, sign in zip(head.extremes, (-1, 1), strict=True):
            best = [
                each
                for i, each in enumerate(inside)
                if all(sign * later[1] < sign * each[1] for later in inside[i + 1 :])
            ]
            assert [each for _, each in rows.back(rows.end)][::-1] == best
        found = candidates.values(head)
        for over, (low, high) in ((LONG, found[::2]), (SHORT, found[1::2])):
            values = [number for time, number in inside if time > head.newest - over]
            assert (low, high) == (min(values, default=None), max(values, default=None))


def test_a_late_row_without_a_value_or_out_of_the_window_is_no_candidate() -> None:
    plan = Plan([Aggregate("min", LONG, 0)], [Column("q")], retention=2 * LONG)
    packing = Packing(plan)
    candidates, head = Candidates(plan, Tallies(plan, packing)), packing.empty(MemoryState())
    head.newest = LONG
    for row in ((50, NULL), (0, -9), (1, -8)):
        candidates.insert(head, row)
    (rows,) = head.extremes
    assert [row for _, row in rows.back(rows.end)] == [(1, -8)]


def test_a_late_row_puts_the_windows_where_they_belong() -> None:
    """Beside another column, with a row at the very edge of the shorter window."""
    asked = [Aggregate("min", over, 1) for over in (SHORT, LONG)]
    plan = Plan(asked, [Column("q"), Column("q")], retention=LONG)
    packing = Packing(plan)
    candidates, head = Candidates(plan, Tallies(plan, packing)), packing.empty(MemoryState())
    head.newest = 100
    candidates.add(head, (100 - SHORT, 1, -9))
    candidates.insert(head, (90, 2, -5))
    assert candidates.values(head) == [-9, -5]
