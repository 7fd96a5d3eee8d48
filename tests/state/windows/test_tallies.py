"""What is taken out again leaves nothing behind, and the order of rows does not matter."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.head import Packing
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.rows import Row
from verdict.state.windows.tallies import Tallies
from verdict.state.windows.values import NULL

COLUMNS = [Column("q", 2), Column("d"), Column("?")]
PLAN = Plan(
    [
        *(Aggregate(op, 100, column) for op in ("mean", "std") for column in (0, 1)),
        Aggregate("count", 30, 2),
        Aggregate("sum", 30, 0, delay=10),
        Aggregate("last", 100, 0),
    ],
    COLUMNS,
    retention=100,
)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 99),
        st.one_of(st.just(NULL), st.integers(-(1 << 62), 1 << 62)),
        st.floats(allow_infinity=False),
        st.booleans(),
    ),
    max_size=20,
)


@given(ROWS)
def test_what_was_added_can_be_taken_out(rows: list[Row]) -> None:
    packing = Packing(PLAN)
    tallies, head = Tallies(PLAN, packing), packing.empty(MemoryState())
    for row in rows:
        tallies.add(head, row)
    assert head.counts[0] == len(rows)
    for cursor in range(len(PLAN.cursors)):
        for row in reversed(rows):
            tallies.take_out(head, cursor, row)
    assert not any([*head.counts, *head.tallies])


@given(ROWS)
def test_a_late_row_counts_behind_the_cursors_it_lies_behind(rows: list[Row]) -> None:
    packing = Packing(PLAN)
    tallies = Tallies(PLAN, packing)
    late, in_order = packing.empty(MemoryState()), packing.empty(MemoryState())
    late.newest = in_order.newest = 100
    for row in rows:
        tallies.insert(late, row)
    for row in sorted(rows, key=lambda each: each[0]):
        tallies.add(in_order, row)
        for i, cursor in enumerate(PLAN.cursors):
            if row[0] <= 100 - cursor.offset:
                tallies.take_out(in_order, i, row)
    assert (late.counts, late.tallies) == (in_order.counts, in_order.tallies)


def test_the_last_value_is_that_of_the_newest_row_which_has_one() -> None:
    packing = Packing(PLAN)
    tallies, head = Tallies(PLAN, packing), packing.empty(MemoryState())
    for row in ((5, 50, 0.0, True), (9, NULL, 0.0, True), (3, 30, 0.0, True), (5, 51, 0.0, True)):
        tallies.remember(head, row)
    assert head.lasts == [(5, 51)]


def test_where_only_the_time_of_the_last_row_counts_its_value_is_none() -> None:
    plan = Plan([Aggregate("time_since_last", 100)], [Column("q")], retention=100)
    packing = Packing(plan)
    tallies, head = Tallies(plan, packing), packing.empty(MemoryState())
    tallies.remember(head, (5, 50))
    assert head.lasts == [(5, 0)]
