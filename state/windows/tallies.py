"""What a row adds to what is carried along: counts, sums, last values, what fades."""

from collections.abc import Callable, Sequence
from typing import Any

from verdict.state.codegen import define
from verdict.state.windows.head import Head, Packing
from verdict.state.windows.plan import Plan
from verdict.state.windows.rows import END, Row
from verdict.state.windows.values import IS_MISSING, SCOPE, Number, fading, squared


class Tallies:
    """Adds rows to a head's integers, takes them out again, and reads the aggregates from them.

    Parameters
    ----------
    plan
        What is asked.
    packing
        Of the plan.
    name
        For tracebacks.

    Attributes
    ----------
    read
        The aggregates, given what the plan's ``slots`` name, the event's time, and that of the
        key's newest event.
    parts
        What a row may add to a tally: column and power.
    of_cursor
        Of each cursor its tallies, each with the part that a row adds to it.

    Examples
    --------
    >>> from verdict.state.store.keyed import MemoryState
    >>> from verdict.state.windows.aggregates import Aggregate
    >>> from verdict.state.windows.plan import Column
    >>> plan = Plan([Aggregate("sum", 10, 0)], [Column("q")], retention=10)
    >>> packing = Packing(plan)
    >>> tallies, head = Tallies(plan, packing), packing.empty(MemoryState())
    >>> tallies.add(head, (1, 5))
    >>> tallies.add(head, (2, 7))
    >>> tallies.take_out(head, 0, (1, 5))
    >>> head.counts, head.tallies
    ([1], [7])
    """

    def __init__(self, plan: Plan, packing: Packing, name: str = "windows") -> None:
        self._plan = plan
        self._with_value = packing.with_value
        self._missing = [IS_MISSING[column.code] for column in plan.columns]
        self._doubles = [column.code == "d" for column in plan.columns]
        self.read: Callable[[Sequence[Any], int, int], list[float | None]] = define(
            "read",
            "slots, at, now",
            [
                f"{', '.join(plan.slots)}, = slots" if plan.slots else "pass",
                "return [",
                *(f"    {formula}," for formula in plan.formulas),
                "]",
            ],
            SCOPE,
            f"{name} read",
        )
        self.parts = list(dict.fromkeys((tally.column, tally.power) for tally in plan.tallies))
        self.of_cursor = [
            [
                (i, self.parts.index((tally.column, tally.power)))
                for i, tally in enumerate(plan.tallies)
                if tally.cursor == cursor
            ]
            for cursor in range(len(plan.cursors))
        ]

    def is_missing(self, row: Row, column: int) -> bool:
        """Whether a row has no value of a column."""
        return self._missing[column](row[column + 1])

    def tallied(self, column: int, power: int, row: Row) -> int:
        """Return what a row adds to a tally."""
        if self._missing[column](row[column + 1]):
            return 0
        return squared(row[column + 1], power, self._doubles[column])

    def add(self, head: Head, row: Row) -> None:
        """Count a row that comes behind all others, which it is about to be appended to."""
        place = len(head.rows.open)
        for i, cursor in enumerate(self._plan.cursors):
            head.counts[i] += cursor.column is None
            passed = head.rows.cursors[i]
            if cursor.column is not None and passed[0] == END and passed[1] == place:
                passed[1] += self.is_missing(row, cursor.column)
        for i, tally in enumerate(self._plan.tallies):
            head.tallies[i] += self.tallied(tally.column, tally.power, row)

    def insert(self, head: Head, row: Row) -> None:
        """Count a row of any time behind the cursors that it lies behind."""
        plan, age = self._plan, head.newest - row[0]
        for i, cursor in enumerate(plan.cursors):
            if age < cursor.offset:
                head.counts[i] += cursor.column is None
        for i, (which, column, power) in enumerate(plan.tallies):
            if age < plan.cursors[which].offset:
                head.tallies[i] += self.tallied(column, power, row)

    def take_out(self, head: Head, cursor: int, row: Row) -> None:
        """Count a row no longer that a cursor has passed."""
        head.counts[cursor] -= self._plan.cursors[cursor].column is None
        for i, part in self.of_cursor[cursor]:
            head.tallies[i] -= self.tallied(*self.parts[part], row)

    def remember(self, head: Head, row: Row) -> None:
        """Take a row's values for the last ones, where they are."""
        for i, column in enumerate(self._plan.lasts):
            if head.lasts[i][0] <= row[0] and (column is None or not self.is_missing(row, column)):
                head.lasts[i] = row[0], self.last_value(i, row)

    def last_value(self, last: int, row: Row) -> Number:
        """Return what a row has to say of a last value: 0 where only its time counts."""
        value: Number = row[(self._plan.lasts[last] or 0) + 1] if self._with_value[last] else 0
        return value

    def fade(self, head: Head, row: Row) -> None:
        """Add a row to what fades."""
        for i, (column, power, half_life) in enumerate(self._plan.decays):
            if column is not None and self.is_missing(row, column):
                continue
            landmark, total = head.decays[i]
            doubles = column is not None and power > 0 and self._doubles[column]
            value = row[column + 1] if column is not None and power else 1
            added = fading(value, doubles, row[0], half_life)
            head.decays[i] = landmark, total + (added >> (landmark - row[0] // half_life))
