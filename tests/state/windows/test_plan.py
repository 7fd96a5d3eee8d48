"""What is carried along, by hand."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.state.exact import SCALE_BITS, exact
from verdict.state.windows.plan import (
    DECAYED,
    LABELLED,
    LEAST_HORIZON,
    OPS,
    Asked,
    Column,
    Plan,
    Settled,
)
from verdict.state.windows.values import (
    FADE_BITS,
    NULL,
    deviation,
    divided,
    faded,
    fading,
    nearest,
    quotient,
    squared,
)

DAY = 86_400_000
CENTS, KM, ID = Column("q", 2, meaning="cents"), Column("d", meaning="km"), Column("q")


def test_aggregates_over_the_same_rows_share_what_is_carried() -> None:
    asked = [Asked(op, DAY, 0) for op in ("count", "sum", "mean", "std")]
    plan = Plan(asked, [CENTS], DAY)
    assert len(plan.cursors) == 1
    assert [tally.power for tally in plan.tallies] == [0, 1, 2]
    assert [plan.wide(tally) for tally in plan.tallies] == [False, False, True]


def test_a_delayed_window_lies_between_two_cursors() -> None:
    plan = Plan([Asked("count", 5, delay=3)], [], 8)
    assert [cursor.offset for cursor in plan.cursors] == [8, 3]
    assert plan.formulas == ["float((rows_0 - rows_1))"]


def test_no_key_is_forgotten_before_what_fades_has_faded() -> None:
    assert Plan([Asked("count", 5)], [], 5).horizon == LEAST_HORIZON
    assert Plan([Asked("count", 9 * DAY)], [], 9 * DAY).horizon == 9 * DAY
    assert Plan([Asked("count", DAY, decayed=True)], [], 0).horizon == 84 * DAY


def test_another_plan_asks_for_something_else() -> None:
    plans = [
        Plan([Asked("sum", 5, 0)], [CENTS], 5),
        Plan([Asked("sum", 6, 0)], [CENTS], 6),
        Plan([Asked("sum", 5, 0)], [CENTS], 9),
        Plan([Asked("sum", 5, 0)], [KM], 5),
        Plan([Asked("max", 5, 0)], [CENTS], 5),
    ]
    assert len({plan.asks for plan in plans}) == len(plans)
    assert Plan([Asked("mean", 5, 0)], [CENTS], 5).asks != plans[0].asks
    assert Plan([Asked("sum", 5, 0)], [CENTS], 5).asks == plans[0].asks


@pytest.mark.parametrize(
    "asked",
    [
        Asked("median", 5, 0),
        Asked("sum", 5),
        Asked("rate", 5, 0, 3),
        Asked("max", 5, 0, decayed=True),
        Asked("max", 5, 1, 3),
        Asked("rate", 5, 1, 4),
    ],
)
def test_what_cannot_be_is_refused(asked: Asked) -> None:
    label = Column("q", meaning="label", label=Settled(3, 0))
    with pytest.raises(ValueError, match=r"aggregates|of a column|of a label|half-life|labels"):
        Plan([asked], [ID, label], 10)


def test_the_aggregates_of_labels_and_of_what_fades_are_among_all() -> None:
    assert {*DECAYED, *LABELLED} <= set(OPS)


@given(st.lists(st.integers(-(10**9), 10**9), max_size=9), st.sampled_from([1, 100]))
def test_deviation_is_that_of_the_exact_variance(values: list[int], unit: int) -> None:
    count, total, squares = (
        sum(squared(value, power, False) for value in values) for power in (0, 1, 2)
    )
    found = deviation(count, total, squares, unit)
    if len(values) < 2:
        assert found is None
        return
    mean = Fraction(sum(values), len(values))
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1) / unit**2
    assert found == math.sqrt(variance)


def test_sums_of_doubles_are_rounded_once() -> None:
    total = sum(squared(value, 1, True) for value in (0.1, 0.2, 1e16, -1e16))
    assert nearest(total) == math.fsum((0.1, 0.2))
    assert nearest(exact(1.7e308) * 2) is None
    assert (divided(None, 3), divided(1.0, 0), divided(1.0, 4)) == (None, None, 0.25)


def test_what_fades_halves_with_each_half_life() -> None:
    one = fading(1, False, 0, 100)
    assert faded(one, 0, 100, 1 << FADE_BITS) == 1.0
    assert faded(one >> 2, 200, 100, 1 << FADE_BITS) == 0.25
    half_way = faded(fading(1, False, 50, 100), 50, 100, 1 << FADE_BITS)
    assert half_way is not None
    assert math.isclose(half_way, 1.0, rel_tol=1e-15)
    assert quotient(6 << FADE_BITS, 1 << FADE_BITS, 2 << FADE_BITS) == 3.0
    assert quotient(6, 1, 0) is None


def test_missing_values_are_told_by_their_column() -> None:
    plan = Plan([], [ID, KM, Column("?")], 0)
    conditions = [plan.missing(i, "value") for i in range(3)]
    values = (NULL, math.nan, False)
    assert all(eval(text, {"value": value}) for text, value in zip(conditions, values, strict=True))
    assert SCALE_BITS == 1074
