"""Aggregates over an entity's windows: what a feature asks of its key's log."""

import math
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from state.exact import exact_sum, rounded
from state.keyed import KeyedState
from state.windows import HEAD, LAYOUT, NULL, OPEN_MAX, Column, Number, Part, View, WindowLog

OPS = ("count", "sum", "mean", "min", "max")

LITTLE = sys.byteorder == "little"
"""Packed as the machine has its numbers: else the quick way is not taken."""

Aggregate = Callable[[View], float | None]
Reduce = Callable[[Sequence[Number]], float | None]


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

    An event that is the newest of a key whose log is all open (`state.windows`) takes a way of its
    own: the head is unpacked once, the windows are read off it, and it is packed again. Every other
    event goes through `WindowLog` and a `View`. Both make the same bits.

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
        self._columns = len(columns)
        self._integers = [
            i for i, code in enumerate(columns, 1) if code == "q" and i - 1 not in never_null
        ]
        self._windows = sorted({each.window for each in asked})
        self._aggregates: list[Aggregate] = []
        self._quick: list[tuple[int, int, Reduce | None]] = []
        """Of each aggregate: its window's index, its column's (0 is of the times), its function;
        None counts."""
        for op, window, column in asked:
            code: Column = "q" if column is None else columns[column]
            scale = 0 if column is None else scales[column]
            self._aggregates.append(aggregate(op, window, column, code, scale))
            at = self._windows.index(window)
            if column is None:
                self._quick.append((at, 0, None))
            else:
                self._quick.append((at, column + 1, reducer(op, code, scale)))
        self._codes = columns
        self._sizes = {HEAD.size + n * 8 * (1 + self._columns): n for n in range(OPEN_MAX + 1)}
        """Size of a head without chunks -> its entries."""

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
        head = state.get()
        if head is not None:
            found = self._update_open(state, head, at, values)
            if found is not None:
                return found
        return self._seen(self._log.update(state, at, values))

    def look(self, state: KeyedState, at: int) -> tuple[list[float | None], int, bool]:
        """Compute what an event sees without logging it; the number is that of the last logged."""
        return self._seen(self._log.look(state, at))

    def _seen(self, view: View) -> tuple[list[float | None], int, bool]:
        return [compute(view) for compute in self._aggregates], view.seq, view.late

    def _update_open(
        self, state: KeyedState, head: bytes, at: int, values: Sequence[Number]
    ) -> tuple[list[float | None], int, bool] | None:
        """Do as `update` does, or nothing and return None where the quick way does not lead."""
        entries = self._sizes.get(len(head))
        if entries is None or not LITTLE:
            return None
        layout, mark, n, chunks, first, seq, newest = HEAD.unpack_from(head)
        if chunks or at < newest or layout != LAYOUT or mark != self._log.mark:
            return None
        end = HEAD.size + 8 * n
        times = array("q", head[HEAD.size : end])
        forgotten = bisect_right(times, at - self._log.retention)
        n += 1 - forgotten
        if n > OPEN_MAX:
            return None
        runs: list[array[Any]] = [times]
        for code in self._codes:
            runs.append(array(code, head[end : end + 8 * entries]))
            end += 8 * entries
        if forgotten:
            for run in runs:
                del run[:forgotten]
        times.append(at)
        for run, value in zip(runs[1:], values, strict=True):
            run.append(value)
        for index in self._integers:
            if NULL in runs[index]:
                return None
        starts = [bisect_right(times, at - window) for window in self._windows]
        found = [
            float(n - starts[window]) if reduce is None else reduce(runs[index][starts[window] :])
            for window, index, reduce in self._quick
        ]
        seq += 1
        packed = HEAD.pack(LAYOUT, mark, n, 0, first, seq, at)
        state.put(b"".join([packed, *[run.tobytes() for run in runs]]))
        return found, seq, False


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
