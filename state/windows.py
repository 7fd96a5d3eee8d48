"""Exact sliding windows over one entity's events: a log in time order, cut into chunks.

A window is (t - w, t]: the current event is in, the one exactly ``w`` older is out. The newest
entries (the *open* log) lie in the head; when they outgrow it, the oldest of them move to a
numbered chunk, of which the head keeps a summary. An aggregate merges the summaries of the chunks
that lie wholly inside the window with the entries at its edge, so an event touches the head and
the chunk at each window's tail, never the whole log.

Nothing is ever subtracted from a running value, so nothing drifts: integers add up exactly, and
so do floats (`state.exact`); a sum is rounded once, when it is read.
"""

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from zlib import crc32

from state.errors import StateError
from state.exact import exact_sum, pack_integer, unpack_integer
from state.keyed import KeyedState
from state.seen import without_ids

LAYOUT, RUNNING = 1, 2
"""Versions of the packed head, that of `WindowLog` and that of `state.running`; a fixture of every
layout ever released stays in tests."""

OPEN_MAX = 128
CHUNK_LENGTH = 64
"""The open log spills its oldest 64 entries when it passes 128: a head stays under 2 KB a column
and an entity of 100 events never leaves it. Both engines pay by the head's bytes."""

Number = int | float
Column = Literal["q", "d"]
"""A column of the log, by its struct code: 64-bit integers, or doubles."""

NULL = -(1 << 63)
"""What stands for a missing value in an integer column; a double column has NaN."""

HEAD = struct.Struct("<BIHIIQq")
"""Layout, mark of the columns, open entries, chunks, first chunk's number, seq, newest time."""
LITTLE_HEAD = struct.Struct("<BIHHIQq")
"""Of a head of layout `RUNNING`: layout, mark, entries, bytes until the first of them, first chunk,
seq, newest time. The entries follow row after row."""
_SUMMARY = struct.Struct("<qqI")  # first and last time, entries


class Part(NamedTuple):
    """What is known of one column over a run of entries.

    ``n`` counts the values that are not missing; ``total`` is exact: a plain integer, or for
    doubles a multiple of 2**-1074.
    """

    n: int
    total: int
    low: Number | None
    high: Number | None


EMPTY = Part(0, 0, None, None)


@dataclass(slots=True)
class Chunk:
    """The summary of a chunk that the head keeps."""

    first: int
    last: int
    entries: int
    parts: list[Part]


class Log(NamedTuple):
    """A run of entries in time order: their times, and one list a column."""

    times: list[int]
    columns: tuple[list[Number], ...]


class WindowLog:
    """The log of one kind of entity.

    Parameters
    ----------
    columns
        The struct code of each logged value: ``"q"`` for 64-bit integers (decimals as unscaled
        integers), ``"d"`` for doubles.
    retention
        Milliseconds for which an entry is kept behind the entity's newest: the longest window and
        the allowed lateness.
    meaning
        What the columns hold, in words of the caller's: state written under another meaning is
        refused, for its numbers would be misread.

    Examples
    --------
    >>> from state.keyed import MemoryState
    >>> log, state = WindowLog(("q",), retention=120_000), MemoryState()
    >>> _ = log.update(state, at=0, values=[5])
    >>> view = log.update(state, at=60_000, values=[7])
    >>> view.seq, view.late
    (2, False)
    >>> view.entries(60_000), view.entries(60_001)  # the one exactly 60 s older is out
    (1, 2)
    >>> view.part(0, 60_001)
    Part(n=2, total=12, low=5, high=7)
    """

    def __init__(self, columns: Sequence[Column], retention: int, meaning: str = "") -> None:
        self.columns = tuple(columns)
        self.retention = retention
        self.meaning = meaning
        self.mark = crc32(f"{''.join(columns)} {meaning}".encode())

    def update(self, state: KeyedState, at: int, values: Sequence[Number]) -> "View":
        """Log one event of the key and return what its windows see.

        Parameters
        ----------
        state
            Of the key.
        at
            Event time in milliseconds.
        values
            One a column; `NULL` or NaN where missing.

        Raises
        ------
        StateError
            The head is of a layout that this release does not read.
        """
        head = state.get()
        if head is None:
            open_log = Log([at], tuple([value] for value in values))
            view = View(self, state, open_log, [], 0, 1, at, at)
            state.put(self._pack(view))
            return view
        view = self._unpack(head, state, at)
        self._insert(view, values)
        view.forget()
        if len(view.open.times) > OPEN_MAX:
            self._spill(view)
        state.put(self._pack(view))
        return view

    def look(self, state: KeyedState, at: int) -> "View":
        """Return what the windows of an event at a time see, without logging it.

        Its ``seq`` is that of the key's last logged event, 0 where there is none.
        """
        head = state.get()
        if head is None:
            return View(self, state, Log([], tuple([] for _ in self.columns)), [], 0, 0, at, at)
        view = self.opened(state, head, at)
        view.seq -= 1
        return view

    def opened(self, state: KeyedState, head: bytes, at: int) -> "View":
        """Return what a head says to an event at a time that is not logged yet.

        Raises
        ------
        StateError
            The head is of a layout that this release does not read, or of other aggregates.
        """
        view = self._unpack(head, state, at)
        view.late = at < view.newest
        return view

    def _insert(self, view: "View", values: Sequence[Number]) -> None:
        at = view.at
        if at >= view.newest:
            view.newest = at
            view.open.times.append(at)
            for column, value in zip(view.open.columns, values, strict=True):
                column.append(value)
            return
        view.late = True
        if at <= view.newest - self.retention:
            return  # it would be forgotten at once
        times = view.open.times
        if not view.chunks or (times and times[0] <= at):
            _insert_sorted(view.open, at, values)
            return
        index = max(bisect_right(view.chunks, at, key=lambda chunk: chunk.first) - 1, 0)
        log = view.load(index)
        _insert_sorted(log, at, values)
        view.store(index, log)

    def _spill(self, view: "View") -> None:
        view.chunks.append(Chunk(0, 0, 0, []))
        view.store(len(view.chunks) - 1, _cut(view.open, 0, CHUNK_LENGTH))
        view.open = _cut(view.open, CHUNK_LENGTH, len(view.open.times))

    def _pack(self, view: "View") -> bytes:
        times = view.open.times
        head = HEAD.pack(
            LAYOUT,
            self.mark,
            len(times),
            len(view.chunks),
            view.first_number,
            view.seq,
            view.newest,
        )
        return head + self.pack_log(view.open) + b"".join(map(self._pack_summary, view.chunks))

    def _unpack(self, head: bytes, state: KeyedState, at: int) -> "View":
        head = without_ids(head)
        chunk_count = 0
        if head[0] == LAYOUT:
            _, mark, entries, chunk_count, first_number, seq, newest = HEAD.unpack_from(head)
        elif head[0] == RUNNING:
            _, mark, entries, skip, first_number, seq, newest = LITTLE_HEAD.unpack_from(head)
        else:
            raise StateError(
                f"the stored state has layout {head[0]}, this release reads {LAYOUT} and {RUNNING}"
                ": run the release that wrote it, or start from an empty state"
            )
        if mark != self.mark:
            raise StateError(
                f"the stored state is of other aggregates than '{self.meaning}': start from an "
                "empty state folder, or go back to the pipeline file that wrote it"
            )
        if head[0] == RUNNING:
            rows = struct.iter_unpack("<q" + "".join(self.columns), head[LITTLE_HEAD.size + skip :])
            times, *columns = map(list, zip(*rows, strict=True))
            open_log = Log(times, tuple(columns))
            return View(self, state, open_log, [], first_number, seq + 1, newest, at)
        open_log, offset = self.unpack_log(head, HEAD.size, entries)
        chunks = []
        for _ in range(chunk_count):
            chunk, offset = self._unpack_summary(head, offset)
            chunks.append(chunk)
        return View(self, state, open_log, chunks, first_number, seq + 1, newest, at)

    def pack_log(self, log: Log) -> bytes:
        """Pack a run of entries, column by column."""
        n = len(log.times)
        codes = "".join(f"{n}{code}" for code in self.columns)
        values = [value for column in log.columns for value in column]
        return struct.pack(f"<{n}q{codes}", *log.times, *values)

    def unpack_log(self, data: bytes, offset: int, entries: int) -> tuple[Log, int]:
        """Return the run of entries packed at an offset, and the offset behind it."""
        codes = "".join(f"{entries}{code}" for code in self.columns)
        flat = struct.unpack_from(f"<{entries}q{codes}", data, offset)
        columns = tuple(
            list(flat[entries * (i + 1) : entries * (i + 2)]) for i in range(len(self.columns))
        )
        end = offset + 8 * entries * (1 + len(self.columns))
        return Log(list(flat[:entries]), columns), end

    def summary(self, log: Log) -> Chunk:
        """Summarise a run of entries."""
        parts = [
            summarise(code, column) for code, column in zip(self.columns, log.columns, strict=True)
        ]
        return Chunk(log.times[0], log.times[-1], len(log.times), parts)

    def _pack_summary(self, chunk: Chunk) -> bytes:
        packed = [_SUMMARY.pack(chunk.first, chunk.last, chunk.entries)]
        for code, part in zip(self.columns, chunk.parts, strict=True):
            packed.append(struct.pack(f"<I2{code}", part.n, part.low or 0, part.high or 0))
            packed.append(pack_integer(part.total))
        return b"".join(packed)

    def _unpack_summary(self, data: bytes, offset: int) -> tuple[Chunk, int]:
        first, last, entries = _SUMMARY.unpack_from(data, offset)
        offset += _SUMMARY.size
        parts = []
        for code in self.columns:
            count, low, high = struct.unpack_from(f"<I2{code}", data, offset)
            total, offset = unpack_integer(data, offset + 20)
            parts.append(Part(count, total, low, high) if count else EMPTY)
        return Chunk(first, last, entries, parts), offset


class View:
    """What the windows of one event see; read it before the next event of the key.

    Attributes
    ----------
    seq
        The number of this event in its key's own sequence, from 1.
    late
        True where the event is older than the newest of its key.
    """

    __slots__ = (
        "_runs",
        "at",
        "chunks",
        "first_number",
        "late",
        "log",
        "newest",
        "open",
        "seq",
        "state",
    )

    def __init__(
        self,
        log: WindowLog,
        state: KeyedState,
        open_log: Log,
        chunks: list[Chunk],
        first_number: int,
        seq: int,
        newest: int,
        at: int,
    ) -> None:
        self.log = log
        self.state = state
        self.open = open_log
        self.chunks = chunks
        self.first_number = first_number
        self.seq = seq
        self.newest = newest
        self.at = at
        self.late = False
        self._runs: dict[int, tuple[list[Chunk], list[Log]]] = {}

    def entries(self, window: int) -> int:
        """Count the events in (at - window, at]."""
        if not self.chunks:  # the common case: the whole log is open
            times = self.open.times
            return bisect_right(times, self.at) - bisect_right(times, self.at - window)
        whole, edges = self._run(window)
        return sum(chunk.entries for chunk in whole) + sum(len(edge.times) for edge in edges)

    def part(self, column: int, window: int) -> Part:
        """Summarise the values of a column in (at - window, at]; missing ones do not count."""
        code = self.log.columns[column]
        whole, edges = self._run(window)
        if not whole and len(edges) == 1:
            return summarise(code, edges[0].columns[column])
        parts = [chunk.parts[column] for chunk in whole]
        parts += [summarise(code, edge.columns[column]) for edge in edges]
        return merge(parts)

    def values(self, column: int, window: int) -> Sequence[Number] | None:
        """Return a column's values in (at - window, at], or None where some are in chunks."""
        whole, edges = self._run(window)
        if whole or len(edges) > 1:
            return None
        return edges[0].columns[column] if edges else ()

    def _run(self, window: int) -> tuple[list[Chunk], list[Log]]:
        """Find the chunks wholly inside a window, and the runs of entries at its edges."""
        run = self._runs.get(window)
        if run is not None:
            return run
        low, high = self.at - window, self.at
        whole: list[Chunk] = []
        edges: list[Log] = []
        for index, chunk in enumerate(self.chunks):
            if chunk.last <= low or chunk.first > high:
                continue
            if chunk.first > low and chunk.last <= high:
                whole.append(chunk)
            else:
                edges.append(_between(self.load(index), low, high))
        if self.open.times and self.open.times[-1] > low:
            edges.append(_between(self.open, low, high))
        run = self._runs[window] = whole, edges
        return run

    def forget(self) -> None:
        """Drop what no window of the key's newest event, or of a later one, can see."""
        horizon = max(self.newest, self.at) - self.log.retention
        while self.chunks and self.chunks[0].last <= horizon:
            self.state.drop_chunk(self.first_number)
            self.chunks.pop(0)
            self.first_number += 1
        times = self.open.times
        if not self.chunks and times and times[0] <= horizon:
            self.open = _cut(self.open, bisect_right(times, horizon), len(times))

    def load(self, index: int) -> Log:
        """Read a chunk of the key."""
        number = self.first_number + index
        data = self.state.chunk(number)
        if data is None:
            raise StateError(
                f"chunk {number} of a key's window log is missing: the state is damaged; "
                "restore it from a checkpoint or a copy"
            )
        return self.log.unpack_log(data, 0, self.chunks[index].entries)[0]

    def store(self, index: int, log: Log) -> None:
        """Write a chunk of the key, and its summary into the head."""
        self.state.put_chunk(self.first_number + index, self.log.pack_log(log))
        self.chunks[index] = self.log.summary(log)


def summarise(code: Column, values: Sequence[Number]) -> Part:
    """Summarise a column's run of values."""
    known: Sequence[Number]
    if code == "q":
        known = [value for value in values if value != NULL] if NULL in values else values
        total = sum(known)
    else:
        known = [value for value in values if value == value]
        total = exact_sum(known)
    if not known:
        return EMPTY
    return Part(len(known), int(total), min(known), max(known))


def merge(parts: Sequence[Part]) -> Part:
    """Put the summaries of several runs together."""
    known = [part for part in parts if part.n]
    if not known:
        return EMPTY
    return Part(
        sum(part.n for part in known),
        sum(part.total for part in known),
        min(part.low for part in known if part.low is not None),
        max(part.high for part in known if part.high is not None),
    )


def _insert_sorted(log: Log, at: int, values: Sequence[Number]) -> None:
    index = bisect_right(log.times, at)
    log.times.insert(index, at)
    for column, value in zip(log.columns, values, strict=True):
        column.insert(index, value)


def _cut(log: Log, start: int, stop: int) -> Log:
    return Log(log.times[start:stop], tuple(column[start:stop] for column in log.columns))


def _between(log: Log, low: int, high: int) -> Log:
    start, stop = bisect_right(log.times, low), bisect_right(log.times, high)
    if start == 0 and stop == len(log.times):
        return log
    return _cut(log, start, stop)
