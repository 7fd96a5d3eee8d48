"""Aggregates over an entity's events: what features ask of its history."""

from collections.abc import Sequence

from verdict.state.store.keyed import KeyedState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.fast import Update, quick
from verdict.state.windows.general import Windows
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.result import WindowResult
from verdict.state.windows.rows import Row
from verdict.state.windows.values import Number


class Aggregates:
    """Logs an entity's events and computes all its aggregates.

    Parameters
    ----------
    aggregates
        The aggregates.
    columns
        What is kept of an event.
    retention
        Milliseconds for which an event is kept behind its entity's newest: the longest window with
        its delay, and the allowed lateness.
    name
        Of the kind of entity, for tracebacks.

    Examples
    --------
    >>> from verdict.state.store.keyed import MemoryState
    >>> asked = [Aggregate("sum", 60_000, 0), Aggregate("count", 10)]
    >>> aggregates, state = Aggregates(asked, [Column("q", scale=2)], 60_000), MemoryState()
    >>> aggregates.update(state, 0, [150])
    WindowResult(values=[1.5, 1.0], seq=1, late=False, cold=())
    >>> aggregates.update(state, 59_999, [50])
    WindowResult(values=[2.0, 1.0], seq=2, late=False, cold=())
    >>> aggregates.look(state, 59_999)
    WindowResult(values=[2.0, 1.0], seq=2, late=False, cold=())
    """

    def __init__(
        self,
        aggregates: Sequence[Aggregate],
        columns: Sequence[Column],
        retention: int,
        name: str = "",
    ) -> None:
        self._windows = Windows(Plan(aggregates, columns, retention), name)
        self._quick: Update = quick(self._windows)

    def update(self, state: KeyedState, at: int, values: Sequence[Number]) -> WindowResult:
        """Log one event and compute what it sees, as `Windows.update` does."""
        found = self._quick(state, state.get(), at, values)
        return self._windows.update(state, at, values) if found is None else found

    def label(self, state: KeyedState, row: Row) -> str:
        """Take a label of one of the key's events, as `Windows.label` does."""
        return self._windows.label(state, row)

    def remembered(self, state: KeyedState) -> tuple[WindowResult, int, list[Row], list[Row]]:
        """Return what `Windows.remembered` does."""
        return self._windows.remembered(state)

    def forget(self, state: KeyedState) -> None:
        """Erase what is remembered of the key."""
        self._windows.forget(state)

    @property
    def horizon(self) -> int:
        """Milliseconds of silence after which nothing of a key is left."""
        return self._windows.plan.horizon

    def look(self, state: KeyedState, at: int) -> WindowResult:
        """Compute what an event sees without logging it; `Windows.look` says what it returns."""
        return self._windows.look(state, at)
