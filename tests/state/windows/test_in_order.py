"""An event's three steps, by hand: what has left goes, the event comes, the aggregates are read."""

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.distinct import DistinctValues
from verdict.state.windows.extremes import Candidates
from verdict.state.windows.head import Packing
from verdict.state.windows.in_order import InOrder
from verdict.state.windows.labels import WaitingLabels
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.tallies import Tallies


def test_each_step_by_hand() -> None:
    asked = [Aggregate("count", 10), Aggregate("max", 10, 0), Aggregate("distinct", 10, 1)]
    plan = Plan(asked, [Column("q"), Column("q", meaning="distinct shop")], retention=10)
    packing = Packing(plan)
    tallies = Tallies(plan, packing)
    in_order = InOrder(
        plan,
        tallies,
        DistinctValues(plan, tallies),
        Candidates(plan, tallies),
        WaitingLabels(plan, tallies),
    )
    head = packing.empty(MemoryState())
    for row in ((0, 9, 1), (4, 5, 2), (8, 7, 2)):
        head.newest = row[0]
        in_order.advance(head)
        in_order.add(head, row)
    assert in_order.values(head, 8) == [3.0, 9.0, 2.0]
    head.newest = 10
    in_order.advance(head)  # the first is exactly a window older
    assert in_order.values(head, 10) == [2.0, 7.0, 1.0]
    assert head.rows.open == [(4, 5, 2), (8, 7, 2)]
