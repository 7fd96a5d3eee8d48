"""Exact sums against `Fraction` and `math.fsum`."""

import math
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.state.exact import SCALE_BITS, exact, pack_integer, rounded, unpack_integer

SMALLEST, LARGEST = math.ulp(0.0), sys.float_info.max
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def exact_sum(values: list[float]) -> int:
    return sum(map(exact, values))


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (0.0, 0),
        (-0.0, 0),
        (SMALLEST, 1),
        (-SMALLEST, -1),
        (1.0, 1 << SCALE_BITS),
        (-2.5, -5 << (SCALE_BITS - 1)),
    ],
)
def test_a_float_is_a_whole_number_of_the_smallest(value: float, units: int) -> None:
    assert exact(value) == units


@given(FINITE)
def test_exact_loses_nothing(value: float) -> None:
    assert Fraction(exact(value), 1 << SCALE_BITS) == Fraction(value)
    assert rounded(exact(value)) == value


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.1] * 10,
        [1e16, 1.0, -1e16],
        [1.0, 2.0**-53, SMALLEST],  # a hair above the tie, so it rounds up
        [1.0, 2.0**-53],  # the tie itself goes to even
        [LARGEST, LARGEST, -LARGEST],  # passes beyond the largest double and comes back
    ],
)
def test_a_sum_is_rounded_once(values: list[float]) -> None:
    assert rounded(exact_sum(values)) == float(sum(map(Fraction, values)))


def test_a_sum_beyond_the_largest_double_is_an_overflow() -> None:
    with pytest.raises(OverflowError):
        rounded(exact_sum([LARGEST, LARGEST]))


@settings(max_examples=200)
@given(st.lists(FINITE, max_size=30), st.integers(0, 30))
def test_sums_of_two_parts_make_the_sum_of_all(values: list[float], cut: int) -> None:
    total = exact_sum(values[:cut]) + exact_sum(values[cut:])
    try:
        expected = math.fsum(values)
    except OverflowError:  # fsum's own partial sums overflow where the whole may not
        assert total == sum(map(Fraction, values)) * (1 << SCALE_BITS)
    else:
        assert rounded(total) == expected


@given(
    st.integers() | st.builds(lambda n, zeros: n << zeros, st.integers(), st.integers(0, 3000)),
    st.binary(max_size=5),
)
def test_a_packed_integer_comes_back(value: int, before: bytes) -> None:
    packed = pack_integer(value)
    end = len(before) + len(packed)
    assert unpack_integer(before + packed + b"behind", len(before)) == (value, end)


def test_a_sum_of_ordinary_floats_packs_small() -> None:
    assert len(pack_integer(exact_sum([12.34, 1e6, -0.001]))) < 20
