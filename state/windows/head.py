"""What is remembered of one key, and how it is packed.

A head says of itself, before its rows, what it is made of. So one that was written for another
plan can be taken apart, and made anew from its rows.
"""

import struct
from typing import Any
from zlib import crc32

from verdict.state.exact import pack_integer, unpack_integer
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.layout import (
    CANDIDATES,
    COLD,
    CURSOR,
    DECAY,
    EXTREMES,
    FADE,
    HEAD,
    LABEL,
    LABELLED,
    LABELS,
    LAST_LABEL,
    LAYOUT,
    MANY,
    MARK,
    NOT_DUE,
    NOT_YET,
    PAGED,
    PAGES,
    PLACE,
    SAID,
    SINCE,
    WAITING,
    WIDE,
    Since,
    integer_bytes,
    since_of,
)
from verdict.state.windows.plan import FADED, Plan, row_layout
from verdict.state.windows.rows import (
    END,
    SPACING,
    Row,
    Rows,
    pack_rows,
)
from verdict.state.windows.values import NEVER, Number


class Head:
    """What is remembered of one key, taken out of its state."""

    __slots__ = (
        "counts",
        "decays",
        "distincts",
        "extremes",
        "labels",
        "lasts",
        "newest",
        "rows",
        "seq",
        "since",
        "state",
        "tallies",
        "writes",
    )

    def __init__(self, state: KeyedState, plan: Plan, rows: Rows, extremes: list[Rows]) -> None:
        self.state = state
        self.rows = rows
        self.extremes = extremes
        self.labels = Rows(LABEL, LABELS, state, cursors=[[END, 0] for _ in plan.delays])
        """Those that wait for a delay of their events to be over; a cursor each delay."""
        self.seq = 0
        self.newest = NEVER
        self.counts = [0] * len(plan.cursors)
        self.tallies = [0] * len(plan.tallies)
        self.distincts = [0] * len(plan.distincts)
        self.lasts: list[tuple[int, Number]] = [(NEVER, 0)] * len(plan.lasts)
        self.decays: list[tuple[int, int]] = [(0, 0)] * len(plan.decays)
        """Landmark and total."""
        self.since: list[Since] = []
        self.writes: dict[int, bytes | None] = {}
        """Chunks that change when the head is put back, beside the pages."""

    def forget(self) -> None:
        """Let go of what does not leave with the rows: the key begins anew."""
        self.seq = 0
        self.decays = [(0, 0)] * len(self.decays)
        self.since = []

    def chunk(self, number: int) -> bytes | None:
        """Return a chunk as it will be."""
        return self.writes[number] if number in self.writes else self.state.chunk(number)


class Packing:
    """How the heads of a plan are packed.

    Parameters
    ----------
    plan
        What is asked.

    Attributes
    ----------
    row, head, fields
        Layouts of a row, of what has a fixed place before the rows, and of this without ``said``.
    said
        What a head says of itself.

    Examples
    --------
    >>> from verdict.state.windows.aggregates import Aggregate
    >>> from verdict.state.store.keyed import MemoryState
    >>> packing, state = Packing(Plan([Aggregate("count", 10)], [], 10)), MemoryState()
    >>> head = packing.empty(state)
    >>> head.seq, head.newest = 7, 1_000
    >>> packing.unpacked(state, packing.packed(head)).seq
    7
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.row = row_layout(plan.columns)
        self.wide = [plan.wide(tally) for tally in plan.tallies]
        narrow = (t for t, wide in zip(plan.tallies, self.wide, strict=True) if not wide)
        codes = "".join("q" if tally.power else "I" for tally in narrow)
        codes += "I" * len(plan.distincts)
        self.with_value = [self._has_value(column) for column in plan.lasts]
        """Whether the last of each column has a value to remember, beside its time."""
        for column, with_value in zip(plan.lasts, self.with_value, strict=True):
            codes += "q" + (plan.columns[column or 0].code if with_value else "")
        codes += "q" if plan.delays else ""
        codes = HEAD.format + CURSOR * len(plan.cursors) + codes
        self.candidates = [
            struct.Struct("<q" + plan.columns[column].code) for column, _ in plan.extremes
        ]
        self.marks = [column.mark for column in plan.columns]
        self.decay_marks = [
            crc32(f"{0 if column is None else self.marks[column]} {power} {half_life}".encode())
            for column, power, half_life in plan.decays
        ]
        self.said = self._of_itself()
        self.head = struct.Struct(f"{codes}{len(self.said)}s")
        self.fields = struct.Struct(f"{codes}{len(self.said)}x")

    def _has_value(self, column: int | None) -> bool:
        return column is not None and self.plan.columns[column].code != "?"

    def _of_itself(self) -> bytes:
        """Say what a head is made of, so that another plan can make sense of it."""
        plan, columns = self.plan, range(len(self.plan.columns))
        distinct = {column for _, column in plan.distincts}
        lengths = map(len, (plan.columns, plan.decays, plan.tallies))
        said = SAID.pack(plan.retention, *lengths, sum(self.wide), len(plan.extremes))
        for i in columns:
            code = plan.columns[i].code
            said += MARK.pack((code.upper() if i in distinct else code).encode(), self.marks[i])
        said += b"".join(struct.pack("<I", mark) for mark in self.decay_marks)
        said += bytes(len(windows) for windows in plan.windows)
        return said + struct.pack("<H", len(said))

    def packed(self, head: Head) -> bytes:
        """Pack a head; its changed pages go to the state."""
        plan, rows = self.plan, head.rows
        since = [each for each in head.since if self.matters(each, head.newest)]
        flags = COLD if since else 0
        if any(each.first for each in head.extremes):
            flags |= PAGED
        if head.labels.newest is not None:
            flags |= LABELLED
        narrow = [t for t, wide in zip(head.tallies, self.wide, strict=True) if not wide]
        if any(not -(1 << 63) <= total < 1 << 63 for total in narrow):
            flags |= WIDE
        parts: list[Any] = []
        for cursor, count in zip(rows.cursors, head.counts, strict=True):
            row = rows.at((cursor[0], cursor[1]))
            parts += *cursor, NOT_YET if row is None else row[0], count
        parts += [0] * len(narrow) if flags & WIDE else narrow
        parts += head.distincts
        for (time, value), with_value in zip(head.lasts, self.with_value, strict=True):
            parts += [time, value] if with_value else [time]
        if plan.delays:
            parts.append(self._due(head))
        for number, data in head.writes.items():
            if data is None:
                head.state.drop_chunk(number)
            else:
                head.state.put_chunk(number, data)
        rows.save()
        oldest = rows.oldest
        packed = [
            self.head.pack(
                *(LAYOUT, flags, plan.asks, self.head.size, len(rows.open)),
                *(rows.first, rows.last, rows.following, head.seq, head.newest),
                NEVER if oldest is None else oldest,
                *parts,
                self.said,
            ),
            pack_rows(self.row, rows.open),
        ]
        for landmark, total in head.decays:
            total_bytes = integer_bytes(total)
            packed += FADE.pack(landmark, len(total_bytes)), total_bytes
        if flags & WIDE:
            packed += map(pack_integer, head.tallies)
        else:
            pairs = zip(head.tallies, self.wide, strict=True)
            packed += [pack_integer(total) for total, wide in pairs if wide]
        for layout, candidates in zip(self.candidates, head.extremes, strict=True):
            packed.append(CANDIDATES.pack(len(candidates.open)))
            if flags & PAGED:
                packed.append(PAGES.pack(candidates.first, candidates.last, candidates.following))
                packed += [PLACE.pack(*cursor) for cursor in candidates.cursors]
            packed.append(pack_rows(layout, candidates.open))
            candidates.save()
        if flags & LABELLED:
            labels = head.labels
            packed.append(
                WAITING.pack(
                    *(len(labels.open), len(labels.cursors)),
                    *(labels.first, labels.last, labels.following),
                )
            )
            packed += [PLACE.pack(*cursor) for cursor in labels.cursors]
            packed.append(pack_rows(LABEL, labels.open))
        head.labels.save()
        if since:
            packed += [SINCE.pack(*each) for each in since]
            packed.append(MANY.pack(len(since)))
        if flags & LABELLED:
            packed.append(LAST_LABEL.pack((head.labels.newest or (NEVER,))[0]))
        return b"".join(packed)

    def _due(self, head: Head) -> int:
        """Return when the next label is settled."""
        due = NOT_DUE
        for delay, cursor in zip(self.plan.delays, head.labels.cursors, strict=True):
            row = head.labels.at((cursor[0], cursor[1]))
            if row is not None:
                due = min(due, row[0] + delay)
        return due

    def empty(self, state: KeyedState) -> Head:
        """Make the head of a key never seen."""
        rows = Rows(self.row, 0, state, cursors=[[END, 0] for _ in self.plan.cursors])
        extremes = [
            Rows(layout, EXTREMES + i, state, cursors=[[END, 0] for _ in windows])
            for i, (layout, windows) in enumerate(
                zip(self.candidates, self.plan.windows, strict=True)
            )
        ]
        return Head(state, self.plan, rows, extremes)

    def unpacked(self, state: KeyedState, packed: bytes) -> Head:
        """Read a packed head."""
        plan = self.plan
        _, flags, _, start, count, first, last, following, seq, newest, _, *parts = (
            self.fields.unpack_from(packed)
        )
        cursors = [parts[4 * i : 4 * i + 2] for i in range(len(plan.cursors))]
        counts = [parts[4 * i + 3] for i in range(len(plan.cursors))]
        taken = iter(parts[4 * len(plan.cursors) :])
        narrow = iter([next(taken) for wide in self.wide if not wide])
        distincts = [next(taken) for _ in plan.distincts]
        lasts = [(next(taken), next(taken) if with_value else 0) for with_value in self.with_value]
        end = start + count * self.row.size
        open_ = list(self.row.iter_unpack(packed[start:end]))
        decays, end = unpack_decays(packed, end, len(plan.decays))
        tallies = []
        for wide in self.wide:
            if flags & WIDE or wide:
                total, end = unpack_integer(packed, end)
            else:
                total = next(narrow)
            tallies.append(total)
        extremes = []
        for i, (layout, windows) in enumerate(zip(self.candidates, plan.windows, strict=True)):
            pages, places, rows, end = unpack_candidates(packed, end, flags, len(windows), layout)
            if not flags & PAGED:
                places = [
                    [END, sum(row[0] <= newest - window for row in rows)] for window in windows
                ]
            extremes.append(Rows(layout, EXTREMES + i, state, *pages, rows, places))
        head = Head(
            state,
            plan,
            Rows(self.row, 0, state, first, last, following, open_, cursors),
            extremes,
        )
        head.seq, head.newest = seq, newest
        head.counts, head.tallies, head.distincts = counts, tallies, distincts
        head.lasts, head.decays = lasts, decays
        head.since = since_of(packed, flags)
        if flags & LABELLED:
            pages, places, labels = unpack_labels(packed, end)
            head.labels = Rows(LABEL, LABELS, state, *pages, labels, places)
        return head

    def matters(self, since: Since, newest: int) -> bool:
        """Whether anything still reaches back behind it."""
        if since.what == DECAY:
            return newest - FADED * self.plan.decays[since.which].half_life < since.time
        return newest - self.plan.retention < since.time


def unpack_decays(packed: bytes, at: int, count: int) -> tuple[list[tuple[int, int]], int]:
    """Return what fades, as landmark and total, and what lies behind."""
    found = []
    for _ in range(count):
        landmark, length = FADE.unpack_from(packed, at)
        at += FADE.size
        found.append((landmark, int.from_bytes(packed[at : at + length], "little", signed=True)))
        at += length
    return found, at


def unpack_candidates(
    packed: bytes, at: int, flags: int, windows: int, layout: struct.Struct
) -> tuple[tuple[int, int, int], list[list[int]], list[Row], int]:
    """Return the pages of an extreme's candidates, its cursors, the open rows, what lies behind."""
    (length,) = CANDIDATES.unpack_from(packed, at)
    at += CANDIDATES.size
    pages: Any = (0, 0, SPACING)
    places: list[list[int]] = []
    if flags & PAGED:
        pages = PAGES.unpack_from(packed, at)
        at += PAGES.size
        end = at + PLACE.size * windows
        places = [list(place) for place in PLACE.iter_unpack(packed[at:end])]
        at = end
    end = at + length * layout.size
    return pages, places, list(layout.iter_unpack(packed[at:end])), end


def unpack_labels(
    packed: bytes, at: int
) -> tuple[tuple[int, int, int], list[list[int]], list[Row]]:
    """Return the pages of the labels that wait, their cursors, and those in the head."""
    length, delays, *pages = WAITING.unpack_from(packed, at)
    at += WAITING.size
    end = at + PLACE.size * delays
    places = [list(place) for place in PLACE.iter_unpack(packed[at:end])]
    rows = list(LABEL.iter_unpack(packed[end : end + length * LABEL.size]))
    return (pages[0], pages[1], pages[2]), places, rows
