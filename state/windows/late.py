"""Late events: those that are older than the newest of their key.

A late event goes into the rows where its time belongs, and into each window that would still hold
it. It sees its own windows: what the key carries along less the rows after its time, and with those
that have left the newest event's windows but not yet its own. So it costs what lies between.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from verdict.state.windows.distinct import DistinctValues
from verdict.state.windows.extremes import Candidates
from verdict.state.windows.head import Head
from verdict.state.windows.plan import Plan
from verdict.state.windows.rows import END, Place, Row, Rows
from verdict.state.windows.tallies import Tallies
from verdict.state.windows.values import NEVER, Number


class LateEvents:
    """Logs late events, and reads what they see.

    Parameters
    ----------
    plan
        What is asked.
    tallies, distinct, candidates
        The parts of a head, each of which knows what a row means to it.
    """

    def __init__(
        self, plan: Plan, tallies: Tallies, distinct: DistinctValues, candidates: Candidates
    ) -> None:
        self._plan = plan
        self._tallies = tallies
        self._distinct = distinct
        self._candidates = candidates

    def log(self, head: Head, at: int, values: Sequence[Number]) -> list[float | None]:
        """Log an event that is older than the newest, unless it would be forgotten at once."""
        plan = self._plan
        before = self.values(head, at) if plan.before else []
        if at > head.newest - plan.retention:
            self._insert(head, self._distinct.marked(head, (at, *values)))
            while spilled := head.rows.spill():  # one from ahead of time makes all others late
                self._distinct.spilled(head, spilled)
        found = self.values(head, at)
        for i in plan.before:
            found[i] = before[i]
        return found

    def _insert(self, head: Head, row: Row) -> None:
        cursors, age, is_missing = (
            self._plan.cursors,
            head.newest - row[0],
            self._tallies.is_missing,
        )
        latest = self._distinct.insert(head, row)

        def counts(i: int) -> bool:
            offset, column = cursors[i]
            return age < offset and (column is None or not is_missing(row, column))

        if head.rows.insert(row, counts) != END:
            for column in latest:
                self._distinct.put(head, column, row[column + 1], row[0])
        self._tallies.insert(head, row)
        self._candidates.insert(head, row)
        self._tallies.remember(head, row)
        self._tallies.fade(head, row)

    def values(self, head: Head, at: int) -> list[float | None]:
        """Read the aggregates as a late event sees them: without the rows after its time."""
        plan, rows, now = self._plan, head.rows, head.newest
        tallied, parts, of_cursor = (
            self._tallies.tallied,
            self._tallies.parts,
            self._tallies.of_cursor,
        )
        counts, tallies = list(head.counts), list(head.tallies)
        end = rows.end
        for place, row in rows.back(rows.end):
            if row[0] <= at:
                break
            end = place
            adds = [tallied(column, power, row) for column, power in parts]
            for i, cursor in enumerate(plan.cursors):
                if row[0] > now - cursor.offset:
                    counts[i] -= 1
                    for tally, part in of_cursor[i]:
                        tallies[tally] -= adds[part]
        begins: list[Place] = []
        for i, cursor in enumerate(plan.cursors):
            page, index = rows.cursors[i]
            begin = min((page, index), end)
            for place, row in rows.back(begin):
                if row[0] <= at - cursor.offset:
                    break
                begin = place
                if row[0] <= now - cursor.offset:
                    counts[i] += 1
                    for tally, part in of_cursor[i]:
                        tallies[tally] += tallied(*parts[part], row)
            begins.append(begin)
        slots: list[Any] = [*counts, *tallies]
        for which, column in plan.distincts:
            seen = {row[column + 1] for row in self._between(rows, begins[which], end, column)}
            slots.append(len(seen))
        for which in plan.firsts:
            filled = plan.cursors[which].column
            assert filled is not None
            slots.append(next(self._between(rows, begins[which], end, filled), None))
        for i, of in enumerate(plan.lasts):
            slots += self._last_before(head, i, of, end, at)
        slots += self._candidates.values_at(head, end, at)
        slots += [total for _, total in head.decays]
        return self._tallies.read(slots, at, now)

    def _between(self, rows: Rows, begin: Place, end: Place, column: int) -> Iterator[Row]:
        """Yield the rows from one place to another that have a value of a column."""
        found = []
        for place, row in rows.back(end):
            if place < begin:
                break
            if not self._tallies.is_missing(row, column):
                found.append(row)
        yield from reversed(found)

    def _last_before(
        self, head: Head, i: int, column: int | None, end: Place, at: int
    ) -> tuple[int, Number]:
        if head.lasts[i][0] <= at:
            return head.lasts[i]
        for _, row in head.rows.back(end):
            if column is None or not self._tallies.is_missing(row, column):
                return row[0], self._tallies.last_value(i, row)
        return NEVER, 0
