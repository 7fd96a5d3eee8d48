"""Aggregates over an entity's windows: what a feature asks of its key's log."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from state.exact import exact_sum, rounded
from state.keyed import KeyedState
from state.running import LITTLE, Reduce, Running, Wanted
from state.windows import NULL, Column, Number, Part, View, WindowLog

OPS = ("count", "sum", "mean", "min", "max")

Aggregate = Callable[[View], float | None]


class Asked(NamedTuple):
    """One aggregate; `Aggregates` says what it is over.

    Attributes
    ----------
    op
        ``count``, ``sum``, ``mean``, ``min`` or ``max``.
    window
        Milliseconds.
    column
        Index of the logged column; None counts events.
    """

    op: str
    window: int
    column: int | None


class Aggregates:
    """Logs an entity's events and computes all its aggregates.

    The newest event of a key whose log is all open takes a way of its own (`state.running`); every
    other one goes through `WindowLog` and a `View`. Both make the same bits.

    Parameters
    ----------
    asked
        The aggregates.
    columns, retention, meaning
        Of the log, as `WindowLog` takes them.
    scales
        Decimal places of each column that holds unscaled decimals; 0 for the others.
    never_null
        Indices of columns in which no value is missing.

    Examples
    --------
    >>> from state.keyed import MemoryState
    >>> asked = [Asked("sum", 60_000, 0), Asked("count", 10, None)]
    >>> aggregates, state = Aggregates(asked, ["q"], [2], 60_000), MemoryState()
    >>> aggregates.update(state, 0, [150])
    ([1.5, 1.0], 1, False)
    >>> aggregates.update(state, 59_999, [50])
    ([2.0, 1.0], 2, False)
    >>> aggregates.look(state, 59_999)
    ([2.0, 1.0], 2, False)
    """

    def __init__(
        self,
        asked: Sequence[Asked],
        columns: Sequence[Column],
        scales: Sequence[int],
        retention: int,
        meaning: str = "",
        never_null: Collection[int] = (),
    ) -> None:
        self._log = WindowLog(columns, retention, meaning)
        self._aggregates: list[Aggregate] = []
        wanted: list[Wanted] = []
        for op, window, column in asked:
            code: Column = "q" if column is None else columns[column]
            scale = 0 if column is None else scales[column]
            self._aggregates.append(aggregate(op, window, column, code, scale))
            reduce = None if column is None else reducer(op, code, scale)
            wanted.append(Wanted(op, window, column, 10**scale, reduce))
        self._quick = Running(self._log, wanted, never_null).update if LITTLE else None

    def update(
        self, state: KeyedState, at: int, values: Sequence[Number]
    ) -> tuple[list[float | None], int, bool]:
        """Log one event and compute what it sees; `WindowLog.update` says what it takes and raises.

        Returns
        -------
        tuple
            One value an aggregate, the event's number in its key's sequence, and whether it is
            older than the newest of its key.
        """
        if self._quick is not None:
            found = self._quick(state, state.get(), at, values)
            if found is not None:
                return found
        return self._seen(self._log.update(state, at, values))

    def look(self, state: KeyedState, at: int) -> tuple[list[float | None], int, bool]:
        """Compute what an event sees without logging it; the number is that of the last logged."""
        return self._seen(self._log.look(state, at))

    def _seen(self, view: View) -> tuple[list[float | None], int, bool]:
        return [compute(view) for compute in self._aggregates], view.seq, view.late


def aggregate(op: str, window: int, column: int | None, code: Column, scale: int) -> Aggregate:
    """Compile one aggregate to a function of a `View`.

    Parameters
    ----------
    op
        ``count``, ``sum``, ``mean``, ``min`` or ``max``.
    window
        Milliseconds.
    column, code
        The logged column and its struct code; column None counts events.
    scale
        Decimal places of an integer column that holds unscaled decimals.

    Returns
    -------
    Aggregate
        Its value is None for a mean, min or max over nothing, and where a sum of floats lies
        beyond the largest double. A sum is the correctly rounded exact sum; a mean of integers or
        decimals is the correctly rounded quotient, one of floats the rounded sum divided by the
        count.
    """
    if column is None:
        return lambda view: float(view.entries(window))
    reduce, of_part = reducer(op, code, scale), _of_part(op, code, 10**scale)

    def compute(view: View) -> float | None:
        values = view.values(column, window)
        if values is None or (code == "q" and NULL in values):
            return of_part(view.part(column, window))
        return reduce(values)

    return compute


def reducer(op: str, code: Column, scale: int) -> Reduce:
    """Compile an aggregate to a function of a run of values, none of which is `NULL`."""
    if op not in OPS:
        raise ValueError(f"no aggregate is called {op!r}")
    unit = 10**scale
    if code == "q":
        integers: dict[str, Reduce] = {
            "count": _length,
            "sum": lambda values: sum(values) / unit,
            "mean": lambda values: sum(values) / (len(values) * unit) if values else None,
            "min": lambda values: min(values) / unit if values else None,
            "max": lambda values: max(values) / unit if values else None,
        }
        return integers[op]
    floats: dict[str, Reduce] = {
        "count": lambda values: float(len(_known(values))),
        "sum": _float_sum,
        "mean": _float_mean,
        # Adding 0.0 takes a zero's sign off: which of 0.0 and -0.0 is met first is the chunks'
        # doing.
        "min": lambda values: min(_known(values), default=math.nan) + 0.0,
        "max": lambda values: max(_known(values), default=math.nan) + 0.0,
    }
    reduce = floats[op]
    return _nan_as_none(reduce) if op in ("min", "max") else reduce


def _of_part(op: str, code: Column, unit: int) -> Callable[[Part], float | None]:
    """Compile an aggregate to a function of a summary."""
    parts: dict[str, Callable[[Part], float | None]] = {
        "count": lambda part: float(part.n),
        "sum": lambda part: part.total / unit,
        "mean": lambda part: part.total / (part.n * unit) if part.n else None,
        "min": lambda part: None if part.low is None else part.low / unit + 0.0,
        "max": lambda part: None if part.high is None else part.high / unit + 0.0,
    }
    if code == "d":
        parts["sum"] = lambda part: _rounded(part.total)
        parts["mean"] = lambda part: _divided(_rounded(part.total), part.n)
    return parts[op]


def _length(values: Sequence[Number]) -> float:
    return float(len(values))


def _known(values: Sequence[Number]) -> list[Number]:
    return [value for value in values if value == value]


def _nan_as_none(reduce: Reduce) -> Reduce:
    def reduced(values: Sequence[Number]) -> float | None:
        value = reduce(values)
        return value if value == value else None

    return reduced


def _float_sum(values: Sequence[Number]) -> float | None:
    """Add up floats: ``math.fsum`` gives the same bits as the exact sum rounded."""
    try:
        total = math.fsum(values)
        return total if total == total else math.fsum(_known(values))
    except OverflowError:  # of a partial sum perhaps: values of both signs may still add up
        return _rounded(exact_sum(_known(values)))


def _float_mean(values: Sequence[Number]) -> float | None:
    total = _float_sum(values)
    count = len(values)
    if any(value != value for value in values):
        count = len(_known(values))
    return _divided(total, count)


def _divided(total: float | None, count: int) -> float | None:
    return total / count if total is not None and count else None


def _rounded(total: int) -> float | None:
    try:
        return rounded(total)
    except OverflowError:
        return None
