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
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from state.keyed import KeyedState
from state.source import define
from state.windows import LITTLE_HEAD, NULL, OPEN_MAX, RUNNING, Number, WindowLog

LITTLE = sys.byteorder == "little"
"""Entries are read as the machine has its numbers: elsewhere, nothing goes this way."""

Reduce = Callable[[Sequence[Number]], float | None]
Found = tuple[list[float | None], int, bool]
"""What an event sees: an aggregate's value each, the event's number, False for not late."""


class Wanted(NamedTuple):
    """One aggregate over a window.

    Attributes
    ----------
    op
        ``count`` without a column counts events; ``sum`` and ``mean`` of an integer column are
        carried along; what else there is comes from ``reduce``.
    window
        Milliseconds.
    column
        Index of the logged column, or None.
    unit
        What an integer column's sum is divided by.
    reduce
        From the window's values of the column to the aggregate.
    """

    op: str
    window: int
    column: int | None
    unit: int
    reduce: Reduce | None


class Running:
    """Updates the heads that it can, and leaves the others alone.

    The function that does it is written for these windows and sums: a loop over them would take
    twice as long as the work.

    Parameters
    ----------
    log
        Of the same key's events.
    wanted
        The aggregates.
    never_null
        Indices of columns in which no value is missing.

    Examples
    --------
    >>> from state.keyed import MemoryState
    >>> log = WindowLog(("q",), retention=60_000)
    >>> wanted = [Wanted("count", 10, None, 1, None), Wanted("sum", 60_000, 0, 1, None)]
    >>> running, state = Running(log, wanted, [0]), MemoryState()
    >>> running.update(state, None, 0, [5])
    ([1.0, 5.0], 1, False)
    >>> running.update(state, state.get(), 59_999, [7])
    ([1.0, 12.0], 2, False)
    >>> log.update(state, 60_000, [1]).part(0, 60_000).total  # the one exactly 60 s older is out
    8
    """

    def __init__(
        self, log: WindowLog, wanted: Sequence[Wanted], never_null: Collection[int]
    ) -> None:
        self._log = log
        self._windows = sorted({each.window for each in wanted})
        self._sums = sorted(
            {
                (self._windows.index(window), column)
                for op, window, column, _, _ in wanted
                if column is not None and self._carried(op, column)
            }
        )
        """Which sums are carried along: a window's index, an integer column's."""
        self._nullable = [
            column
            for column, code in enumerate(log.columns)
            if code == "q" and column not in never_null
        ]
        count = len(self._windows)
        of_window = f"{count}H{count}q{len(self._sums)}q"
        self._head = struct.Struct(f"{LITTLE_HEAD.format}Iq{of_window}")
        self._row = struct.Struct("<q" + "".join(log.columns))
        self._skip = self._head.size - LITTLE_HEAD.size
        self._asked = crc32(repr((self._windows, self._sums)).encode())
        self.update: Callable[[KeyedState, bytes | None, int, Sequence[Number]], Found | None] = (
            define("update", "state, head, at, values", self._lines(wanted), self._scope(wanted))
        )
        """Log one event as `WindowLog.update` does, given the head of its key, or do nothing and
        return None."""

    def _carried(self, op: str, column: int | None) -> bool:
        return column is not None and self._log.columns[column] == "q" and op in ("sum", "mean")

    def _scope(self, wanted: Sequence[Wanted]) -> dict[str, Any]:
        return {
            "unpack": self._head.unpack_from,
            "pack": self._head.pack,
            "row_at": self._row.unpack_from,
            "row": self._row.pack,
            "again": self._again,
            "array": array,
            "error": struct.error,
            **{f"reduce_{i}": each.reduce for i, each in enumerate(wanted)},
        }

    def _lines(self, wanted: Sequence[Wanted]) -> Iterator[str]:
        """Write the function that updates a head.

        Of window i, ``b`` is the place of its first entry, ``t`` that entry's time; ``s`` are the
        sums, ``v`` the event's own values.
        """
        windows = range(len(self._windows))
        if self._log.columns:
            yield f"{self._of_columns('v')} = values"
        for column in self._nullable:
            yield f"if v{column} == {NULL}: return None"
        yield "if head is None:"
        yield "    n = first = seq = 0"
        yield "    oldest = at"
        for window in windows:
            yield f"    b{window}, t{window} = 0, at"
        for number in range(len(self._sums)):
            yield f"    s{number} = 0"
        yield "    body = b''"
        yield "else:"
        yield from (f"    {line}" for line in self._opened())
        yield "n += 1"
        yield "seq += 1"
        for number, (_, column) in enumerate(self._sums):
            yield f"s{number} += v{column}"
        yield f"body += row(at, {self._of_columns('v')})"
        yield "try:"
        yield f"    head = pack({RUNNING}, {self._log.mark}, n, {self._skip}, first, seq, at,"
        yield f"        {self._asked}, oldest, {self._of_windows()})"
        yield "except error:"  # a sum beyond 64 bits
        yield "    return None"
        yield "state.put(head + body)"
        found = ", ".join(self._value(i, each) for i, each in enumerate(wanted))
        yield f"return [{found}], seq, False"

    def _opened(self) -> Iterator[str]:
        """Read the head, and let go of what the windows and the log do not hold any more."""
        yield f"if head[0] != {RUNNING} or len(head) < {self._head.size}:"  # or of fewer windows
        yield "    return again(state, head, at, values)"
        yield "_, mark, n, skip, first, seq, newest, asked, oldest, \\"
        yield f"    {self._of_windows()} = unpack(head)"
        yield f"if at < newest or mark != {self._log.mark}:"
        yield "    return None"
        yield f"if skip != {self._skip} or asked != {self._asked}:"
        yield "    return again(state, head, at, values)"
        start, size = self._head.size, self._row.size
        for window, length in enumerate(self._windows):
            yield f"if t{window} <= at - {length}:"
            yield f"    place = {start} + b{window} * {size}"
            yield f"    while b{window} < n:"
            yield f"        t{window}, {self._of_columns('a')} = row_at(head, place)"
            yield f"        if t{window} > at - {length}: break"
            for number, (of, column) in enumerate(self._sums):
                if of == window:
                    yield f"        s{number} -= a{column}"
            yield f"        b{window} += 1"
            yield f"        place += {size}"
            yield f"    else: t{window} = at"
        yield "gone = 0"
        yield f"if oldest <= at - {self._log.retention}:"
        yield "    while gone < n:"
        yield f"        oldest, *_ = row_at(head, {start} + gone * {size})"
        yield f"        if oldest > at - {self._log.retention}: break"
        yield "        gone += 1"
        yield "    else: oldest = at"
        yield "    n -= gone"
        for window in range(len(self._windows)):
            yield f"    b{window} -= gone"
        yield f"if n >= {OPEN_MAX}:"
        yield "    return None"
        yield f"body = head[{start} + gone * {size}:]"

    def _of_columns(self, name: str) -> str:
        return "".join(f"{name}{column}, " for column in range(len(self._log.columns)))

    def _of_windows(self) -> str:
        windows = range(len(self._windows))
        begins, times = ("".join(f"{name}{i}, " for i in windows) for name in "bt")
        return begins + times + "".join(f"s{i}, " for i in range(len(self._sums)))

    def _value(self, index: int, wanted: Wanted) -> str:
        """Write the expression of an aggregate."""
        op, milliseconds, column, unit, _ = wanted
        window = self._windows.index(milliseconds)
        if column is None:
            return f"float(n - b{window})"
        if self._carried(op, column):
            number = self._sums.index((window, column))
            if op == "sum":
                return f"s{number} / {unit}"
            return f"s{number} / ((n - b{window}) * {unit})"
        width = 1 + len(self._log.columns)
        code = self._log.columns[column]
        values = f"array({code!r}, body)[b{window} * {width} + {column + 1} :: {width}]"
        return f"reduce_{index}({values})"

    def _again(
        self, state: KeyedState, head: bytes, at: int, values: Sequence[Number]
    ) -> Found | None:
        """Go the quick way from a head that has no sums, or those of other windows."""
        made = self._with_sums(state, head, at)
        return None if made is None else self.update(state, made, at, values)

    def _with_sums(self, state: KeyedState, head: bytes, at: int) -> bytes | None:
        """Return a head anew, with the sums that an event at a time would see without itself."""
        view = self._log.opened(state, head, at)
        if view.chunks or view.late:
            return None
        view.forget()
        entries = view.open
        if len(entries.times) >= OPEN_MAX:
            return None
        if any(NULL in entries.columns[column] for column in self._nullable):
            return None
        starts = [bisect_right(entries.times, at - window) for window in self._windows]
        sums = [
            int(sum(entries.columns[column][starts[window] :])) for window, column in self._sums
        ]
        times = [*entries.times, at]  # behind the last one comes the event itself
        try:
            fields = self._head.pack(
                RUNNING,
                self._log.mark,
                len(entries.times),
                self._skip,
                view.first_number,
                view.seq - 1,
                view.newest,
                self._asked,
                times[0],
                *starts,
                *(times[start] for start in starts),
                *sums,
            )
        except struct.error:  # a sum beyond 64 bits
            return None
        rows = zip(entries.times, *entries.columns, strict=True)
        return fields + b"".join(self._row.pack(*row) for row in rows)
