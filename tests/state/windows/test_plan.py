"""What is carried along, by hand."""

import pytest

from verdict.state.windows.aggregates import DECAYED, LABELLED, OPS, Aggregate
from verdict.state.windows.plan import LEAST_HORIZON, Column, Plan, Settled

DAY = 86_400_000
CENTS, KM, ID = Column("q", 2, meaning="cents"), Column("d", meaning="km"), Column("q")


def test_aggregates_over_the_same_rows_share_what_is_carried() -> None:
    asked = [Aggregate(op, DAY, 0) for op in ("count", "sum", "mean", "std")]
    plan = Plan(asked, [CENTS], DAY)
    assert len(plan.cursors) == 1
    assert [tally.power for tally in plan.tallies] == [0, 1, 2]
    assert [plan.wide(tally) for tally in plan.tallies] == [False, False, True]


def test_a_delayed_window_lies_between_two_cursors() -> None:
    plan = Plan([Aggregate("count", 5, delay=3)], [], 8)
    assert [cursor.offset for cursor in plan.cursors] == [8, 3]
    assert plan.formulas == ["float((rows_0 - rows_1))"]


def test_no_key_is_forgotten_before_what_fades_has_faded() -> None:
    assert Plan([Aggregate("count", 5)], [], 5).horizon == LEAST_HORIZON
    assert Plan([Aggregate("count", 9 * DAY)], [], 9 * DAY).horizon == 9 * DAY
    assert Plan([Aggregate("count", DAY, decayed=True)], [], 0).horizon == 84 * DAY


def test_another_plan_asks_for_something_else() -> None:
    plans = [
        Plan([Aggregate("sum", 5, 0)], [CENTS], 5),
        Plan([Aggregate("sum", 6, 0)], [CENTS], 6),
        Plan([Aggregate("sum", 5, 0)], [CENTS], 9),
        Plan([Aggregate("sum", 5, 0)], [KM], 5),
        Plan([Aggregate("max", 5, 0)], [CENTS], 5),
    ]
    assert len({plan.asks for plan in plans}) == len(plans)
    assert Plan([Aggregate("mean", 5, 0)], [CENTS], 5).asks != plans[0].asks
    assert Plan([Aggregate("sum", 5, 0)], [CENTS], 5).asks == plans[0].asks


@pytest.mark.parametrize(
    "asked",
    [
        Aggregate("median", 5, 0),
        Aggregate("sum", 5),
        Aggregate("rate", 5, 0, 3),
        Aggregate("max", 5, 0, decayed=True),
        Aggregate("max", 5, 1, 3),
        Aggregate("rate", 5, 1, 4),
    ],
)
def test_what_cannot_be_is_refused(asked: Aggregate) -> None:
    label = Column("q", meaning="label", label=Settled(3, 0))
    with pytest.raises(ValueError, match=r"aggregates|of a column|of a label|half-life|labels"):
        Plan([asked], [ID, label], 10)


def test_the_aggregates_of_labels_and_of_what_fades_are_among_all() -> None:
    assert {*DECAYED, *LABELLED} <= set(OPS)
