"""What columns hold, and what is computed of sums: exact integers to numbers."""

import math
from collections.abc import Callable
from typing import Any, Literal

from verdict.state.exact import SCALE_BITS, exact, rounded

Number = int | float
Code = Literal["q", "d", "?"]
NULL = -(1 << 63)
"""What stands for a missing value in an integer column; a double column has NaN, a flag False."""
NEVER = NULL
"""The time of what has not been yet."""
IS_MISSING: dict[Code, Callable[[Any], bool]] = {
    "q": lambda value, null=NULL: value == null,  # type: ignore[misc]
    "d": lambda value: value != value,
    "?": lambda value: not value,
}
"""Whether a value is missing, by its column's code."""


def nearest(total: int) -> float | None:
    """Round an exact sum of doubles; None where it lies beyond the largest."""
    try:
        return rounded(total)
    except OverflowError:
        return None


def divided(total: float | None, count: int) -> float | None:
    """Divide a sum of doubles by how many they are."""
    return total / count if total is not None and count else None


UNITS = 1 << SCALE_BITS
"""Of exact sums of doubles, in one."""


def deviation(count: int, total: int, squares: int, unit: int) -> float | None:
    """Return a sample's standard deviation, of less than two values None.

    The variance is the double nearest to the exact one; its root is rounded once more.

    >>> deviation(4, 20, 120, 1)  # of 2, 4, 4, 10 less 0: the variance is 20/3
    2.581988897471611
    """
    if count < 2:
        return None
    try:
        return math.sqrt((count * squares - total * total) / (count * (count - 1) * unit * unit))
    except OverflowError:
        return None


FADE_BITS, FADE_BITS_D = 84, 200
"""A total that fades is an integer number of 2**-84 of the column's units; of doubles, 2**-200."""
_FACTOR_BITS = 52


def fading(value: Number, doubles: bool, at: int, half_life: int) -> int:
    """Return what a value adds to a total whose landmark is the last whole half-life before it.

    So all that is added to a total is multiplied by a number from 1 to 2; when the landmark moves,
    the total is halved, which an integer can be without a rounding that depends on the order.
    """
    factor = int(math.ldexp(math.exp2(at % half_life / half_life), _FACTOR_BITS))
    if doubles:
        return exact(value) * factor >> (SCALE_BITS + _FACTOR_BITS - FADE_BITS_D)
    return int(value) * factor << (FADE_BITS - _FACTOR_BITS)


def faded(total: int, now: int, half_life: int, unit: int) -> float | None:
    """Return a total as it stands now; None where it lies beyond the largest double."""
    try:
        value = total / unit
    except OverflowError:
        return None
    return value * math.exp2(-(now % half_life / half_life))


def quotient(total: int, unit: int, count: int) -> float | None:
    """Return the mean of what fades: how much it has faded cancels."""
    try:
        return (total << FADE_BITS) / (count * unit) if count else None
    except OverflowError:
        return None


def squared(value: Number, power: int, doubles: bool) -> int:
    """Return what a value adds to a tally: a count, a sum or a sum of squares.

    >>> squared(-3, 2, False), squared(0.5, 1, True) == 1 << 1073
    (9, True)
    """
    if not power:
        return 1
    number = exact(value) if doubles else int(value)
    return number if power == 1 else number * number


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "nearest": nearest,
    "divided": divided,
    "deviation": deviation,
    "faded": faded,
    "quotient": quotient,
    "float": float,
}
"""What formulas call."""
SCOPE: dict[str, Any] = {**FUNCTIONS, "units": UNITS}
"""What formulas name, beside the slots."""
