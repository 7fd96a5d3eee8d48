"""When a value came last, in a packed head and in one that is taken out, against a list."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.distinct import DistinctValues, LastSeen
from verdict.state.windows.general import Windows
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.tallies import Tallies
from verdict.state.windows.values import NEVER

COLUMNS = [
    Column("?", meaning="flag"),
    Column("q", meaning="distinct shop"),
    Column("q", meaning="amount"),
]
SHOP = 1
PLAN = Plan([Aggregate("distinct", 10_000, SHOP)], COLUMNS, retention=10_000)
# Among them values whose bytes stand across two others in a row, and equal times.
VALUES = st.sampled_from([0, 1, 256, 1 << 8 * 7, -1, 65_537])


@given(st.lists(st.tuples(st.integers(0, 3), VALUES, VALUES), max_size=200))
def test_the_last_of_each_value_is_found(events: list[tuple[int, int, int]]) -> None:
    windows, state = Windows(PLAN), MemoryState()
    packing = windows.packing
    last: dict[int, int] = {}
    at = 0
    for gap, shop, amount in events:
        at += gap
        windows.update(state, at, [True, shop, amount])
        last[shop] = at
    if state.head is None:
        return
    head = packing.unpacked(state, state.head)
    distinct = DistinctValues(PLAN, Tallies(PLAN, packing))
    end = packing.head.size + len(head.rows.open) * packing.row.size
    for shop in (0, 1, 256, 1 << 8 * 7, -1, 65_537, 2):
        expected = last.get(shop, NEVER)
        assert distinct.last_seen(head, SHOP, shop) == expected
        found = LastSeen(packing)(state, state.head, end, head.rows.first, SHOP, shop)
        assert found == expected
