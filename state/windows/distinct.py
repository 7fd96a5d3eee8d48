"""Distinct values: when a key had each of its values last.

A value counts in a window that its last row is in. The rows in the head are searched for it; of
those that have left the head, a chunk by the value's last bits knows the time of the last row.
"""

import struct
from collections.abc import Sequence

from verdict.state.store.keyed import KeyedState
from verdict.state.windows.head import Head, Packing
from verdict.state.windows.layout import LAST_SEEN, seen_in_pages, seen_number
from verdict.state.windows.plan import Plan
from verdict.state.windows.rows import Row
from verdict.state.windows.tallies import Tallies
from verdict.state.windows.values import NEVER


class DistinctValues:
    """Counts the distinct values behind cursors.

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
        self._columns = sorted({column for _, column in plan.distincts})

    def marked(self, head: Head, row: Row) -> Row:
        """Take out what adds nothing to the distinct values: a row of that time has it already."""
        for column in self._columns:
            if self._is_missing(row, column):
                continue
            for _, other in head.rows.back(head.rows.end):
                if other[0] < row[0]:
                    break
                if other[0] == row[0] and other[column + 1] == row[column + 1]:
                    row = (*row[: column + 1], NEVER, *row[column + 2 :])
                    break
        return row

    def add(self, head: Head, row: Row) -> None:
        """Count a row that comes behind all others, before it does."""
        for i, (which, column) in enumerate(self._plan.distincts):
            if not self._is_missing(row, column):
                edge = row[0] - self._plan.cursors[which].offset
                head.distincts[i] += self.last_seen(head, column, row[column + 1]) <= edge

    def take_out(self, head: Head, cursor: int, row: Row) -> None:
        """Count a row no longer that a cursor has passed."""
        for i, (of, column) in enumerate(self._plan.distincts):
            if of == cursor and not self._is_missing(row, column):
                head.distincts[i] -= self.last_seen(head, column, row[column + 1]) == row[0]

    def insert(self, head: Head, row: Row) -> list[int]:
        """Count a late row, before it is among the others; return the columns it is the last of."""
        at = row[0]
        for i, (which, column) in enumerate(self._plan.distincts):
            if not self._is_missing(row, column):
                edge = head.newest - self._plan.cursors[which].offset
                head.distincts[i] += (
                    at > edge and self.last_seen(head, column, row[column + 1]) <= edge
                )
        return [
            column
            for column in self._columns
            if not self._is_missing(row, column)
            and self.last_seen(head, column, row[column + 1]) < at
        ]

    def last_seen(self, head: Head, column: int, value: int) -> int:
        """Return the time of a value's last row, or `NEVER`."""
        for row in reversed(head.rows.open):
            if row[column + 1] == value:
                time: int = row[0]
                return time
        if not head.rows.first:
            return NEVER
        return seen_in_pages(head.chunk, column, value)

    def spilled(self, head: Head, rows: Sequence[Row]) -> None:
        """Note the values of rows that have left the head."""
        for column in self._columns:
            for row in rows:
                if not self._is_missing(row, column):
                    self.put(head, column, row[column + 1], row[0])

    def forget(self, head: Head, rows: Sequence[Row]) -> None:
        """Drop the values of rows that are dropped, where none of the later rows has them."""
        for column in self._columns:
            for row in rows:
                value = row[column + 1]
                if self._is_missing(row, column):
                    continue
                if seen_in_pages(head.chunk, column, value) == row[0]:
                    self.put(head, column, value, NEVER)

    def put(self, head: Head, column: int, value: int, at: int) -> None:
        """Note the time of a value's last row outside of the head; `NEVER` drops it."""
        number = seen_number(column, value)
        entries = dict(LAST_SEEN.iter_unpack(head.chunk(number) or b""))
        if at == NEVER:
            entries.pop(value, None)
        else:
            entries[value] = at
        packed = b"".join(LAST_SEEN.pack(*entry) for entry in entries.items())
        head.writes[number] = packed or None


class LastSeen:
    """Finds the time of the last row that has a value, in a head that is still packed.

    Parameters
    ----------
    packing
        Of the head.
    """

    def __init__(self, packing: Packing) -> None:
        self._start = packing.head.size
        self._width = packing.row.size
        codes = [column.code for column in packing.plan.columns]
        self._offsets = [struct.calcsize("<q" + "".join(codes[:i])) for i in range(len(codes))]

    def __call__(
        self, state: KeyedState, head: bytes, end: int, first: int, column: int, value: int
    ) -> int:
        """Return it, or `NEVER`.

        Parameters
        ----------
        state
            Of the key.
        head
            Packed.
        end
            Where its rows end.
        first
            Number of the first page, 0 where there is none.
        column
            One that is counted.
        value
            Of that column.
        """
        begin, width = self._start + self._offsets[column], self._width
        packed = value.to_bytes(8, "little", signed=True)
        place = head.rfind(packed, begin, end)
        while place >= 0 and (place - begin) % width:  # across the parts of a row
            place = head.rfind(packed, begin, place + 7)
        if place >= 0:
            row = place - self._offsets[column]
            return int.from_bytes(head[row : row + 8], "little", signed=True)
        return seen_in_pages(state.chunk, column, value) if first else NEVER
