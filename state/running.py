"""The quick way through a window log: what its windows hold is carried along, not added up anew.

The head of a key whose log is all open has, before the entries, where each window begins and the
sum of each integer column in it. The newest event of such a key adds itself, takes out what has
left each window since the event before it, and looks at no other entry. Integers add and subtract
exactly, so nothing drifts. Any other event goes through `state.windows`, which reads this head as
well as its own; from the head that it leaves, the sums are made again.
"""

import struct
import sys
from array import array
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from state.keyed import KeyedState
from state.windows import LITTLE_HEAD, NULL, OPEN_MAX, RUNNING, Number, WindowLog

LITTLE = sys.byteorder == "little"
"""Entries are read as the machine has its numbers: elsewhere, nothing goes this way."""


class Seen(NamedTuple):
    """What the windows of one event see.

    Attributes
    ----------
    seq
        The number of this event in its key's own sequence.
    counts
        Entries in each window.
    sums
        Of each asked sum.
    body
        All entries, row after row: time, then a value a column, eight bytes each.
    """

    seq: int
    counts: list[int]
    sums: Sequence[int]
    body: bytes


class Running:
    """Updates the heads that it can, and leaves the others alone.

    Parameters
    ----------
    log
        Of the same key's events.
    windows
        Milliseconds, each but once.
    sums
        Which sums are carried along: a window's index, an integer column's.
    never_null
        Indices of columns in which no value is missing.

    Examples
    --------
    >>> from state.keyed import MemoryState
    >>> log = WindowLog(("q",), retention=60_000)
    >>> running, state = Running(log, [10, 60_000], [(1, 0)], [0]), MemoryState()
    >>> running.update(state, None, 0, [5]).sums
    [5]
    >>> running.update(state, state.get(), 59_999, [7])[:3]
    (2, [1, 2], [12])
    >>> log.update(state, 60_000, [1]).part(0, 60_000).total  # the one exactly 60 s older is out
    8
    """

    def __init__(
        self,
        log: WindowLog,
        windows: Sequence[int],
        sums: Sequence[tuple[int, int]],
        never_null: Collection[int],
    ) -> None:
        self._log = log
        self._windows = windows
        self._sums = [[] for _ in windows]  # type: list[list[tuple[int, int]]]
        for number, (window, column) in enumerate(sums):
            self._sums[window].append((number, column + 1))
        self._new = [column for _, column in sums]
        self._nullable = [
            column
            for column, code in enumerate(log.columns)
            if code == "q" and column not in never_null
        ]
        of_window = f"{len(windows)}H{len(windows)}q{len(sums)}q"
        self._head = struct.Struct(f"{LITTLE_HEAD.format}Iq{of_window}")
        self._row = struct.Struct("<q" + "".join(log.columns))
        self._time = struct.Struct("<q")
        self._skip = self._head.size - LITTLE_HEAD.size
        self._asked = crc32(repr((windows, sums)).encode())

    def update(
        self, state: KeyedState, head: bytes | None, at: int, values: Sequence[Number]
    ) -> Seen | None:
        """Log one event as `WindowLog.update` does, or do nothing and return None.

        Parameters
        ----------
        head
            Of the key.
        """
        for column in self._nullable:
            if values[column] == NULL:
                return None
        if head is None:
            return self._put(state, b"", 0, 0, at, at, *self._nothing(at), values)
        if head[0] != RUNNING or len(head) < self._head.size:  # or of fewer windows
            return self._made_again(state, head, at, values)
        fields = self._head.unpack_from(head)
        _, mark, n, skip, first, seq, newest, asked, oldest = fields[:9]
        if at < newest or mark != self._log.mark:
            return None
        if skip != self._skip or asked != self._asked:
            return self._made_again(state, head, at, values)
        count = len(self._windows)
        starts, times = list(fields[9 : 9 + count]), list(fields[9 + count : 9 + 2 * count])
        sums = list(fields[9 + 2 * count :])
        body = head[self._head.size :]
        for index, window in enumerate(self._windows):
            low = at - window
            if times[index] <= low:
                self._evict(index, low, at, n, body, starts, times, sums)
        horizon = at - self._log.retention
        if oldest <= horizon:
            forgotten, oldest = self._first_after(horizon, 0, at, n, body)
            body = body[forgotten * self._row.size :]
            n -= forgotten
            starts = [start - forgotten for start in starts]
        if n >= OPEN_MAX:
            return None
        return self._put(state, body, first, seq, at, oldest, starts, times, sums, values)

    def _nothing(self, at: int) -> tuple[list[int], list[int], list[int]]:
        count = len(self._windows)
        return [0] * count, [at] * count, [0] * len(self._new)

    def _evict(
        self,
        index: int,
        low: int,
        at: int,
        n: int,
        body: bytes,
        starts: list[int],
        times: list[int],
        sums: list[int],
    ) -> None:
        """Take out of a window what is not younger than ``low``."""
        start, size = starts[index], self._row.size
        end, times[index] = self._first_after(low, start, at, n, body)
        if self._sums[index]:
            for place in range(start * size, end * size, size):
                row = self._row.unpack_from(body, place)
                for number, column in self._sums[index]:
                    sums[number] -= row[column]
        starts[index] = end

    def _first_after(self, low: int, start: int, at: int, n: int, body: bytes) -> tuple[int, int]:
        """Return the first entry from ``start`` on that is younger than ``low``, and its time.

        Behind the last one comes the event itself.
        """
        size, time = self._row.size, self._time
        while start < n:
            (found,) = time.unpack_from(body, start * size)
            if found > low:
                return start, found
            start += 1
        return n, at

    def _put(
        self,
        state: KeyedState,
        body: bytes,
        first: int,
        seq: int,
        at: int,
        oldest: int,
        starts: list[int],
        times: list[int],
        sums: list[int],
        values: Sequence[Number],
    ) -> Seen | None:
        """Add the event to the entries before it and to every window."""
        body += self._row.pack(at, *values)
        n = len(body) // self._row.size
        seq += 1
        for number, column in enumerate(self._new):
            sums[number] += values[column]  # type: ignore[assignment]
        try:
            head = self._head.pack(
                RUNNING,
                self._log.mark,
                n,
                self._skip,
                first,
                seq,
                at,
                self._asked,
                oldest,
                *starts,
                *times,
                *sums,
            )
        except struct.error:  # a sum beyond 64 bits
            return None
        state.put(head + body)
        return Seen(seq, [n - start for start in starts], sums, body)

    def _made_again(
        self, state: KeyedState, head: bytes, at: int, values: Sequence[Number]
    ) -> Seen | None:
        """Go the quick way from a head that has no sums, or those of other windows."""
        view = self._log.opened(state, head, at)
        if view.chunks or view.late:
            return None
        view.forget()
        entries = view.open
        if len(entries.times) >= OPEN_MAX:
            return None
        for column in self._nullable:
            if NULL in entries.columns[column]:
                return None
        body = b"".join(
            self._row.pack(*row) for row in zip(entries.times, *entries.columns, strict=True)
        )
        n = len(entries.times)
        starts, times, sums = self._nothing(at)
        for index, window in enumerate(self._windows):
            starts[index], times[index] = self._first_after(at - window, 0, at, n, body)
            for number, column in self._sums[index]:
                sums[number] = int(sum(entries.columns[column - 1][starts[index] :]))
        oldest = entries.times[0] if entries.times else at
        return self._put(
            state, body, view.first_number, view.seq - 1, at, oldest, starts, times, sums, values
        )

    def column(self, seen: Seen, window: int, column: int) -> Sequence[Any]:
        """Return the values of a column in a window."""
        stride = 1 + len(self._log.columns)
        start = len(seen.body) // self._row.size - seen.counts[window]
        return array(self._log.columns[column], seen.body)[start * stride + column + 1 :: stride]
