"""Heads that were written for another plan, or by another release: made anew from their rows."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from verdict.state.errors import StateError
from verdict.state.exact import unpack_integer
from verdict.state.store.dedupe import without_ids
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.head import (
    Head,
    Packing,
    unpack_candidates,
    unpack_decays,
    unpack_labels,
)
from verdict.state.windows.in_order import InOrder
from verdict.state.windows.labels import WaitingLabels
from verdict.state.windows.layout import (
    COLUMN,
    DECAY,
    EXTREMES,
    HEAD,
    LABEL,
    LABELLED,
    LABELS,
    LAYOUT,
    MARK,
    MISSING,
    ROWS,
    SAID,
    WIDE,
    Since,
    asks,
    seen_number,
    since_of,
)
from verdict.state.windows.old_layouts import OLD, old_rows
from verdict.state.windows.plan import Plan
from verdict.state.windows.rows import KIND_BITS, LINKS, Row, read_page
from verdict.state.windows.values import NEVER


class OldHead(NamedTuple):
    """A head that was written for another plan."""

    seq: int
    newest: int
    rows: list[Row]
    chunks: Mapping[int, bytes | None]
    """What it leaves behind."""
    retention: int
    columns: list[tuple[int, int]]
    """Mark and index."""
    decays: list[tuple[int, int, int]]
    """Mark, landmark and total."""
    since: list[tuple[int, int, int]]
    """What, its mark, since when."""
    labels: Sequence[Row] = ()
    """Those that wait."""


class Migration:
    """Opens heads, whatever plan they were written for.

    Parameters
    ----------
    plan
        What is asked.
    packing
        Of the plan.
    in_order, labels
        What logs the rows of an old head in a new one.
    """

    def __init__(
        self, plan: Plan, packing: Packing, in_order: InOrder, labels: WaitingLabels
    ) -> None:
        self._plan = plan
        self._packing = packing
        self._in_order = in_order
        self._labels = labels

    def opened(self, state: KeyedState, packed: bytes | None) -> Head:
        """Take a head out of its state; one of another plan or layout is made anew.

        Raises
        ------
        StateError
            It is of a layout that this release does not read.
        """
        if packed is None:
            return self._packing.empty(state)
        packed = without_ids(packed)
        if packed[0] == LAYOUT and asks(packed) == self._plan.asks:
            return self._packing.unpacked(state, packed)
        return self._anew(state, packed)

    def _anew(self, state: KeyedState, packed: bytes) -> Head:
        """Make a head of one that was written for another plan, from its rows."""
        if packed[0] in OLD:
            seq, newest, rows, chunks = old_rows(state, packed, self._plan.columns)
            columns = [(self._packing.marks[i], i) for i in range(len(self._plan.columns))]
            gone = dict.fromkeys(chunks)
            old = OldHead(seq, newest, rows, gone, self._plan.retention, columns, [], [])
        elif packed[0] == LAYOUT:
            old = read_old_head(state, packed)
        else:
            raise StateError(
                f"the stored state has layout {packed[0]}, this release reads 1 to {LAYOUT}: run "
                "the release that wrote it, or start from an empty state"
            )
        head = self._replayed(state, old)
        begin = old.newest - old.retention
        # Nothing has been forgotten yet, nor was too late; nor has been forgotten since when.
        whole = old.seq == len(old.rows) and all(row[0] > begin for row in old.rows[:1])
        if not whole and self._plan.retention > old.retention:
            head.since.append(Since(ROWS, 0, begin))
        known = dict(old.columns)
        new = [i for i in range(len(self._plan.columns)) if self._packing.marks[i] not in known]
        if old.newest == NEVER:  # of labels alone: there is no event that lacks anything
            return head
        head.since += [Since(COLUMN, i, old.newest) for i in new]
        kept = {mark: (landmark, total) for mark, landmark, total in old.decays}
        rows_since = [time for what, _, time in old.since if what == ROWS]
        rows_since += [] if whole else [begin]
        for i, (column, _, half_life) in enumerate(self._plan.decays):
            mark = self._packing.decay_marks[i]
            if mark in kept:
                landmark, total = kept[mark]
                head.decays[i] = (
                    old.newest // half_life,
                    total >> max(old.newest // half_life - landmark, 0),
                )
            elif column in new:
                head.since.append(Since(DECAY, i, old.newest))
            else:  # it has been made of the rows, and of what they lack it knows as little
                lacks = [
                    time
                    for what, of, time in old.since
                    if what == COLUMN and column is not None and of == self._packing.marks[column]
                ]
                head.since += [Since(DECAY, i, time) for time in rows_since + lacks]
        head.since += [
            Since(what, place, time)
            for what, mark, time in old.since
            for place in self._places(what, mark)
        ]
        latest: dict[tuple[int, int], int] = {}
        for what, which, time in head.since:
            latest[what, which] = max(time, latest.get((what, which), time))
        head.since = [Since(*of, time) for of, time in latest.items()]
        return head

    def _replayed(self, state: KeyedState, old: OldHead) -> Head:
        """Log the rows of an old head in a new one."""
        places = [
            dict(old.columns).get(self._packing.marks[i]) for i in range(len(self._plan.columns))
        ]
        head = self._packing.empty(state)
        head.writes |= old.chunks
        for row in old.rows:
            values = [
                MISSING[column.code] if place is None else row[place + 1]
                for place, column in zip(places, self._plan.columns, strict=True)
            ]
            head.newest = row[0]
            self._in_order.advance(head)
            self._in_order.add(head, (row[0], *values))
        head.seq, head.newest = old.seq, old.newest
        for label in old.labels if self._plan.delays else ():
            self._labels.wait(head, label)
        return head

    def _places(self, what: int, mark: int) -> list[int]:
        """Return the indices here of what an old head calls by its mark."""
        if what == COLUMN:
            return [i for i in range(len(self._plan.columns)) if self._packing.marks[i] == mark]
        if what == DECAY:
            return [
                i for i in range(len(self._plan.decays)) if self._packing.decay_marks[i] == mark
            ]
        return [0]


def read_old_head(state: KeyedState, packed: bytes) -> OldHead:
    """Take apart a head of this layout by what it says of itself."""
    _, flags, _, start, count, first, last, _, seq, newest, _ = HEAD.unpack_from(packed)
    (length,) = struct.unpack_from("<H", packed, start - 2)
    end = start - 2 - length
    retention, columns, decays, tallies, wide, extremes = SAID.unpack_from(packed, end)
    end += SAID.size
    marks = list(MARK.iter_unpack(packed[end : end + columns * MARK.size]))
    end += columns * MARK.size
    fades = struct.unpack_from(f"<{decays}I", packed, end)
    windows = packed[end + 4 * decays : start - 2]
    codes = [code.decode() for code, _ in marks]
    layout = struct.Struct("<q" + "".join(codes).lower())
    end = start + count * layout.size
    rows = list(layout.iter_unpack(packed[start:end]))
    chunks: dict[int, bytes | None] = {}
    paged = list(_paged(state, 0, first, last, layout))
    for number, page in paged:
        chunks[number] = None
        for i, code in enumerate(codes):
            if code == "Q":
                chunks |= {seen_number(i, row[i + 1]): None for row in page}
    totals, end = unpack_decays(packed, end, decays)
    for _ in range(tallies if flags & WIDE else wide):
        _, end = unpack_integer(packed, end)
    candidate = struct.Struct("<qq")
    for i in range(extremes):
        (first, last, _), _, _, end = unpack_candidates(packed, end, flags, windows[i], candidate)
        chunks |= {
            number: None for number, _ in _paged(state, EXTREMES + i, first, last, candidate)
        }
    labels: list[Row] = []
    if flags & LABELLED:
        (first, last, _), _, labels = unpack_labels(packed, end)
        paged_labels = list(_paged(state, LABELS, first, last, LABEL))
        chunks |= dict.fromkeys(number for number, _ in paged_labels)
        labels = [row for _, page in paged_labels for row in page] + labels
    return OldHead(
        seq,
        newest,
        [row for _, page in paged for row in page] + rows,
        chunks,
        retention,
        [(mark, i) for i, (_, mark) in enumerate(marks)],
        [(mark, *total) for mark, total in zip(fades, totals, strict=True)],
        [
            (what, marks[i][1] if what == COLUMN else fades[i] if what == DECAY else 0, time)
            for what, i, time in since_of(packed, flags)
        ],
        labels,
    )


def _paged(
    state: KeyedState, kind: int, first: int, last: int, layout: struct.Struct
) -> Iterator[tuple[int, list[Row]]]:
    """Yield every page of a key's rows, with its chunk's number."""
    while first:
        number = kind << KIND_BITS | first
        data = read_page(state, number)
        yield number, list(layout.iter_unpack(data[LINKS.size :]))
        first = 0 if first == last else LINKS.unpack_from(data)[1]
