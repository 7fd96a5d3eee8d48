"""What is computed of exact sums, and which values are missing."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.exact import exact
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.values import (
    FADE_BITS,
    IS_MISSING,
    NULL,
    Code,
    deviation,
    divided,
    faded,
    fading,
    nearest,
    quotient,
    squared,
)

CODES: tuple[Code, ...] = ("q", "d", "?")


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


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(-99, 99)), min_size=1, max_size=20))
def test_a_total_that_fades_does_not_depend_on_the_order(events: list[tuple[int, int]]) -> None:
    """The landmark moves with the newest; what comes late is added as it stands by then."""
    now, half_life = 1_000, 100

    def total(each: list[tuple[int, int]]) -> int:
        return sum(
            fading(value, False, at, half_life) >> now // half_life - at // half_life
            for at, value in each
        )

    assert total(events) == total(events[::-1])
    found = faded(total(events), now, half_life, 1 << FADE_BITS)
    expected = math.fsum(value * 2 ** ((at - now) / half_life) for at, value in events)
    assert found is not None
    assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9 * 99 * len(events))


def test_missing_values_are_told_by_their_column() -> None:
    plan = Plan([], [Column(code) for code in CODES], 0)
    conditions = [plan.missing(i, "value") for i in range(3)]
    values = (NULL, math.nan, False)
    assert all(eval(text, {"value": value}) for text, value in zip(conditions, values, strict=True))
    assert all(IS_MISSING[code](value) for code, value in zip(CODES, values, strict=True))
    there = (0, 0.0, True)
    assert not any(
        eval(text, {"value": value}) for text, value in zip(conditions, there, strict=True)
    )
    assert not any(IS_MISSING[code](value) for code, value in zip(CODES, there, strict=True))
