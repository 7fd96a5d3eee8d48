"""Histograms over fixed edges, and how far one lies from another."""

import math
from bisect import bisect_left
from collections.abc import Sequence

SMOOTHING = 0.5
"""Added to every bin of both histograms before PSI, so that an empty one does not make it infinite
(Jeffreys' prior of a multinomial)."""


def bin_of(edges: Sequence[float], value: float) -> int:
    """Return the bin of a value: ``edges[i - 1] < value <= edges[i]`` is bin ``i``.

    There is a bin below the first edge, one above the last, and one more for NaN.

    >>> [bin_of([0.0, 1.0], value) for value in (-5, 0.0, 0.5, 2, math.nan)]
    [0, 0, 1, 2, 3]
    """
    if value != value:
        return len(edges) + 1
    return bisect_left(edges, value)


def quantile_edges(values: Sequence[float], bins: int) -> list[float]:
    """Choose edges that cut values into bins of about equal population, fewer where values tie.

    >>> quantile_edges([1, 2, 3, 4, 5, 6, 7, 8], 4)
    [2, 4, 6]
    >>> quantile_edges([0, 0, 0, 1], 4)
    [0]
    """
    ordered = sorted(value for value in values if value == value)
    if not ordered:
        return []
    last = ordered[-1]
    cuts = {ordered[max(len(ordered) * i // bins - 1, 0)] for i in range(1, bins)}
    return sorted(cut for cut in cuts if cut < last)


def count(edges: Sequence[float], values: Sequence[float]) -> list[int]:
    """Count values a bin.

    >>> count([0.0, 1.0], [-1, 0, 0.5, 7])
    [2, 1, 1, 0]
    """
    counts = [0] * (len(edges) + 2)
    for value in values:
        counts[bin_of(edges, value)] += 1
    return counts


def psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Population stability index of two histograms over the same edges.

    The sum over bins of (a - e) * ln(a / e), a and e being the bin's smoothed shares.

    Source: Siddiqi, *Credit Risk Scorecards*, 2006.

    >>> psi([100, 100], [100, 100])
    0.0
    >>> round(psi([500, 500], [300, 700]), 3)
    0.169
    """
    bins = len(expected)
    expected_total = sum(expected) + SMOOTHING * bins
    actual_total = sum(actual) + SMOOTHING * bins
    total = 0.0
    for e, a in zip(expected, actual, strict=True):
        share_e = (e + SMOOTHING) / expected_total
        share_a = (a + SMOOTHING) / actual_total
        total += (share_a - share_e) * math.log(share_a / share_e)
    return total
