"""Histograms and PSI."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.models.histogram import SMOOTHING, bin_of, count, psi, quantile_edges

VALUES = st.floats(-100, 100) | st.integers(-3, 3).map(float)
MAYBE = VALUES | st.just(math.nan)
COUNTS = st.lists(st.integers(0, 1_000), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("value", "number"),
    [(-math.inf, 0), (1.0, 0), (1.0000001, 1), (2.0, 1), (3.0, 2), (math.inf, 2), (math.nan, 3)],
)
def test_a_bin_holds_its_upper_edge(value: float, number: int) -> None:
    assert bin_of([1.0, 2.0], value) == number


def test_without_edges_there_are_two_bins() -> None:
    assert count([], [1.0, -1.0, math.nan]) == [2, 1]


@given(st.lists(VALUES, max_size=6, unique=True).map(sorted), st.lists(MAYBE, max_size=50))
def test_every_value_lies_in_one_bin(edges: list[float], values: list[float]) -> None:
    counts = count(edges, values)
    bounds = [-math.inf, *edges, math.inf]
    expected = [sum(1 for value in values if low < value <= high) for low, high in pairwise(bounds)]
    missing = sum(1 for value in values if math.isnan(value))
    assert counts == [*expected, missing]


@given(st.lists(MAYBE, max_size=60), st.integers(1, 10))
def test_quantile_edges_cut_into_bins_that_hold_something(values: list[float], bins: int) -> None:
    edges = quantile_edges(values, bins)
    known = [value for value in values if value == value]
    assert edges == sorted(set(edges))
    assert set(edges) <= set(known)
    assert len(edges) <= max(bins - 1, 0)
    if known:
        assert all(count(edges, known)[:-1])


@given(st.lists(VALUES, min_size=40, max_size=60, unique=True))
def test_bins_without_ties_are_about_equal(values: list[float]) -> None:
    counts = count(quantile_edges(values, 4), values)[:-1]
    assert len(counts) == 4
    assert max(counts) - min(counts) <= 2


def test_psi_by_hand() -> None:
    expected, actual = [8, 2, 0], [2, 7, 1]
    e = [(n + SMOOTHING) / 11.5 for n in expected]
    a = [(n + SMOOTHING) / 11.5 for n in actual]
    by_hand = (
        (a[0] - e[0]) * math.log(a[0] / e[0])
        + (a[1] - e[1]) * math.log(a[1] / e[1])
        + (a[2] - e[2]) * math.log(a[2] / e[2])
    )
    assert psi(expected, actual) == pytest.approx(by_hand, rel=1e-12)
    assert psi(expected, actual) == pytest.approx(0.6385 + 0.4777 + 0.0955, abs=1e-4)


@given(COUNTS.flatmap(lambda one: st.tuples(st.just(one), st.permutations(one))))
def test_psi_is_symmetric_positive_and_zero_for_equals(pair: tuple[list[int], list[int]]) -> None:
    one, other = pair
    assert psi(one, one) == 0.0
    assert psi(one, other) >= 0.0
    assert psi(one, other) == pytest.approx(psi(other, one), abs=1e-12)
    assert math.isfinite(psi(one, [0] * len(one)))


def test_psi_wants_the_same_bins() -> None:
    with pytest.raises(ValueError, match="shorter"):
        psi([1, 2, 3], [1, 2])
