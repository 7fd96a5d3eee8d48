"""Extremes: of a column's values those that can still be the smallest, or the largest, of a window.

A value that a later one surpasses can be none any more. So the candidates stand in the order of
their times and of their values at once, and a window's extreme is the first that is in it.
"""

from verdict.state.windows.head import Head
from verdict.state.windows.plan import Extreme, Plan
from verdict.state.windows.rows import Place, Row
from verdict.state.windows.tallies import Tallies
from verdict.state.windows.values import Number


class Candidates:
    """Keeps the candidates of a plan's extremes.

    Parameters
    ----------
    plan
        What is asked.
    tallies
        Knows what is missing.
    """

    def __init__(self, plan: Plan, tallies: Tallies) -> None:
        self._plan = plan
        self._is_missing = tallies.is_missing

    def advance(self, head: Head) -> None:
        """Let go of those that have left their windows."""
        now = head.newest
        for rows, windows in zip(head.extremes, self._plan.windows, strict=True):
            for j, window in enumerate(windows):
                rows.skip(j, now - window)
            rows.forget(now - windows[0])

    def add(self, head: Head, row: Row) -> None:
        """Add a row that comes behind all others: whatever it surpasses can be none any more."""
        for rows, extreme in zip(head.extremes, self._plan.extremes, strict=True):
            if self._is_missing(row, extreme.column):
                continue
            value = row[extreme.column + 1]
            while (newest := rows.newest) is not None and _surpasses(value, newest[1], extreme):
                rows.pop()
            rows.append((row[0], value))
            rows.spill()

    def insert(self, head: Head, row: Row) -> None:
        """Add a late row, where no later one surpasses it."""
        for i, extreme in enumerate(self._plan.extremes):
            self._insert(head, i, extreme, row)

    def _insert(self, head: Head, i: int, extreme: Extreme, row: Row) -> None:
        at, value = row[0], row[extreme.column + 1]
        if self._is_missing(row, extreme.column) or at <= head.newest - self._plan.windows[i][0]:
            return
        rows = head.extremes[i]
        later: list[Row] = []
        while (newest := rows.newest) is not None and newest[0] > at:
            if _surpasses(newest[1], value, extreme):
                break
            later.append(newest)
            rows.pop()
        else:
            while (newest := rows.newest) is not None and _surpasses(value, newest[1], extreme):
                rows.pop()
            later.append((at, value))
        for candidate in reversed(later):
            rows.append(candidate)
            rows.spill()
        for j, window in enumerate(self._plan.windows[i]):
            edge = head.newest - window
            cursor = rows.end
            for place, candidate in rows.back(rows.end):
                if candidate[0] <= edge:
                    break
                cursor = place
            rows.cursors[j][:] = cursor

    def values(self, head: Head) -> list[Number | None]:
        """Return each extreme over each of its windows, as the newest event sees it."""
        found = []
        for rows in head.extremes:
            for page, index in rows.cursors:
                row = rows.at((page, index))
                found.append(None if row is None else row[1])
        return found

    def values_at(self, head: Head, end: Place, at: int) -> list[Number | None]:
        """Return them as a late event sees them, whose rows end at a place."""
        found: list[Number | None] = []
        for i, extreme in enumerate(self._plan.extremes):
            candidates, longest = head.extremes[i], self._plan.windows[i][0]
            for window in self._plan.windows[i]:
                # What is extreme of all that is newer than the window's begin is so within the
                # window, if it is not newer than the event.
                best = None
                for _, row in candidates.back(candidates.end):
                    if row[0] <= at - window:
                        break
                    best = row
                if at - window >= head.newest - longest and (best is None or best[0] <= at):
                    found.append(None if best is None else best[1])
                    continue
                found.append(self._of_rows(head, extreme, end, at - window))
        return found

    def _of_rows(self, head: Head, extreme: Extreme, end: Place, edge: int) -> Number | None:
        """Look at all the rows between a time and a place."""
        value = None
        for _, row in head.rows.back(end):
            if row[0] <= edge:
                break
            if not self._is_missing(row, extreme.column):
                number = row[extreme.column + 1]
                if value is None or _surpasses(number, value, extreme):
                    value = number
        return value


def _surpasses(value: Number, other: Number, extreme: Extreme) -> bool:
    return value >= other if extreme.largest else value <= other
