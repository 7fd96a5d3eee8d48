"""A key's rows in time order: the newest in its head, the older ones in linked pages.

When the head holds `OPEN_MAX` rows, the oldest `PAGE` of them move to a page of their own. A
*cursor* is a place that only moves on: where a window begins. To move it touches one page, however
many there are; so does to add a row. A late row goes back page by page to where it belongs.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, takewhile
from typing import Any

from verdict.state.errors import StateError
from verdict.state.store.keyed import KeyedState

OPEN_MAX, PAGE = 128, 64
"""An entity of 100 events never leaves its head, and no head has more than 8 KB of a few columns:
both engines pay by a head's bytes."""
SPACING = 16
"""Between the numbers of two pages, so that one that late rows make too long can be cut in two."""
ROOM = 4
"""Between the numbers of two pages at least, when room has to be made among them."""
END = (1 << 32) - 1
"""What stands for a page's number where the rows are those in the head: they come behind all."""
LAST = END - 2 * SPACING
"""A page to come that has a larger number lets all pages be numbered anew."""
LINKS = struct.Struct("<II")
"""A page begins with the number of the one before it, and of the one behind."""
KIND_BITS = 56
"""A chunk's number is its kind, and below it these bits."""

Row = tuple[Any, ...]
"""Its time, and a value each column."""
Place = tuple[int, int]
"""A page and an index in it, in an order that is that of the rows."""


class _Page:
    __slots__ = ("before", "behind", "rows")

    def __init__(self, before: int, behind: int, rows: list[Row]) -> None:
        self.before = before
        self.behind = behind
        self.rows = rows


class Rows:
    """The rows of one key, taken out of its state; `save` puts back the pages that changed.

    Parameters
    ----------
    layout
        Of a row, its time first.
    kind
        Of the chunks that hold the pages.
    state
        Of the key.
    first, last, following
        Number of the first page, 0 where there is none; of the last; of the one to come.
    rows
        Those in the head.
    cursors
        A place each, as ``[page, index]``.

    Examples
    --------
    >>> from verdict.state.store.keyed import MemoryState
    >>> rows = Rows(struct.Struct("<qq"), 0, MemoryState(), cursors=[[END, 0]])
    >>> for time in range(200):
    ...     rows.append((time, time * time))
    >>> _ = rows.spill()
    >>> len(rows.open), rows.cursors
    (136, [[16, 0]])
    >>> sum(row[1] for row in rows.pass_by(0, lambda row: row[0] <= 99))
    328350
    >>> rows.cursors, rows.at((END, 0))
    ([[4294967295, 36]], (64, 4096))
    """

    __slots__ = (
        "_changed",
        "_kind",
        "_layout",
        "_pages",
        "_state",
        "cursors",
        "first",
        "following",
        "last",
        "open",
    )

    def __init__(
        self,
        layout: struct.Struct,
        kind: int,
        state: KeyedState,
        first: int = 0,
        last: int = 0,
        following: int = SPACING,
        rows: list[Row] | None = None,
        cursors: list[list[int]] | None = None,
    ) -> None:
        self._layout = layout
        self._kind = kind << KIND_BITS
        self._state = state
        self._pages: dict[int, _Page] = {}
        self._changed: dict[int, _Page | None] = {}
        self.first = first
        self.last = last
        self.following = following
        self.open = [] if rows is None else rows
        self.cursors = [] if cursors is None else cursors

    def _page(self, number: int) -> _Page:
        page = self._pages.get(number)
        if page is None:
            data = read_page(self._state, self._kind | number)
            rows = list(self._layout.iter_unpack(data[LINKS.size :]))
            before, behind = LINKS.unpack_from(data)
            page = self._pages[number] = _Page(before, behind, rows)
        return page

    def _of(self, number: int) -> list[Row]:
        return self.open if number == END else self._page(number).rows

    def _behind(self, number: int) -> int:
        return END if number == self.last else self._page(number).behind

    def _before(self, number: int) -> int:
        """Return the number of the page before one, 0 where there is none."""
        if number == END:
            return self.last
        return 0 if number == self.first else self._page(number).before

    def _change(self, number: int, page: _Page) -> None:
        self._pages[number] = self._changed[number] = page

    def at(self, place: Place) -> Row | None:
        """Return the row at a place, or None behind the last."""
        rows = self._of(place[0])
        return rows[place[1]] if place[1] < len(rows) else None

    def append(self, row: Row) -> None:
        """Add a row that is not older than any other."""
        self.open.append(row)

    def pop(self) -> None:
        """Take the newest row out; cursors that were behind it are where it was."""
        if not self.open:
            number = self.last
            page = self._page(number)
            self.last = self._before(number)
            self.first = self.first if self.last else 0
            self.following = number
            self.open = page.rows
            self._changed[number] = None
            self._pages.pop(number)
            for cursor in self.cursors:
                if cursor[0] == END:
                    cursor[1] = len(self.open)
                elif cursor[0] == number:
                    cursor[0] = END
        self.open.pop()
        for cursor in self.cursors:
            if cursor[0] == END:
                cursor[1] = min(cursor[1], len(self.open))

    @property
    def newest(self) -> Row | None:
        """The last row."""
        if self.open:
            return self.open[-1]
        return self._page(self.last).rows[-1] if self.last else None

    def pass_by(self, cursor: int, gone: Callable[[Row], bool]) -> Iterator[Row]:
        """Move a cursor on past the rows that are gone, and yield them."""
        place = self.cursors[cursor]
        while True:
            row = self.at((place[0], place[1]))
            if row is None or not gone(row):
                return
            place[1] += 1
            self._settle(place)
            yield row

    def skip(self, cursor: int, until: int) -> None:
        """Move a cursor on past the rows of a time and before."""
        for _ in self.pass_by(cursor, lambda row: row[0] <= until):
            pass

    def _settle(self, place: list[int]) -> None:
        """A place behind the last row of a page is that of the first row of the next."""
        while place[0] != END and place[1] >= len(self._page(place[0]).rows):
            place[:] = self._behind(place[0]), 0

    def forth(self, place: Place) -> Iterator[Row]:
        """Yield the rows from a place on."""
        for _, row in self.places(place):
            yield row

    def back(self, place: Place) -> Iterator[tuple[Place, Row]]:
        """Yield the rows before a place, the newest first, each with its own place."""
        number, index = place
        while True:
            rows = self._of(number)
            for i in range(min(index, len(rows)) - 1, -1, -1):
                yield (number, i), rows[i]
            number = self._before(number)
            if not number:
                return
            index = len(self._page(number).rows)

    def replace(self, place: Place, row: Row) -> None:
        """Put a row of the same time in the place of another."""
        self._of(place[0])[place[1]] = row
        if place[0] != END:
            self._change(place[0], self._page(place[0]))

    def places(self, place: Place) -> Iterator[tuple[Place, Row]]:
        """Yield the rows from a place on, each with its own."""
        number, index = place
        while True:
            for i, row in enumerate(self._of(number)[index:], index):
                yield (number, i), row
            if number == END:
                return
            number, index = self._behind(number), 0

    def of_time(self, at: int) -> Iterator[Row]:
        """Yield the rows of a time, those of one page in their order, the later pages first."""
        number = END
        while True:
            rows = self._of(number)
            if rows and rows[0][0] <= at:
                first = bisect_left(rows, at, key=lambda row: row[0])
                yield from takewhile(lambda row: row[0] == at, rows[first:])
                if first:
                    return
            number = self._before(number)
            if not number:
                return

    @property
    def end(self) -> Place:
        """The place behind the newest row."""
        return END, len(self.open)

    def insert(self, row: Row, counts: Callable[[int], bool]) -> int:
        """Add a row where its time belongs, behind those of the same time; return its page.

        Parameters
        ----------
        row
            The row.
        counts
            Whether the row is one that a cursor must not have passed.
        """
        number = END
        while number != self.first and self._before(number):
            rows = self._of(number)
            if rows and rows[0][0] <= row[0]:
                break
            number = self._before(number)
        rows = self._of(number)
        index = bisect_right(rows, row[0], key=lambda each: each[0])
        rows.insert(index, row)
        for i, cursor in enumerate(self.cursors):
            if tuple(cursor) < (number, index):
                continue
            if counts(i):
                cursor[:] = number, index
            elif cursor[0] == number:
                cursor[1] += 1
        if number != END:
            self._change(number, self._page(number))
            if len(rows) > OPEN_MAX:
                self._cut(number)
        return number

    def _cut(self, number: int) -> None:
        """Make two pages of one."""
        number = self._with_room(number)
        page = self._page(number)
        between = (number + page.behind) // 2
        rows, page.rows = page.rows[PAGE:], page.rows[:PAGE]
        self._change(between, _Page(number, page.behind, rows))
        if number == self.last:
            self.last = between
        else:
            after = self._page(page.behind)
            after.before = between
            self._change(page.behind, after)
        page.behind = between
        for cursor in self.cursors:
            if cursor[0] == number and cursor[1] >= PAGE:
                cursor[:] = between, cursor[1] - PAGE

    def _with_room(self, number: int) -> int:
        """Make room for a number between a page and the next; return the page's number then.

        The pages behind it move closer to those that follow, as many as it takes: the more there
        have been cut here, the more. If the numbers come to their end, all begin anew.
        """
        if self._page(number).behind - number > 1:
            return number
        run, behind = [number], self._behind(number)
        while behind != END and behind - number < ROOM * len(run):
            run.append(behind)
            behind = self._behind(behind)
        if behind != END:
            self._renumber(run, number, (behind - number) // len(run))
        elif number + SPACING * len(run) <= LAST:
            self._renumber(run, number, SPACING)
        else:
            return self._begin_anew()[number]
        return number

    def _begin_anew(self) -> dict[int, int]:
        """Number all pages from the first on; return the new numbers by the old."""
        run, number = [], self.first
        while number and number != END:
            run.append(number)
            number = self._behind(number)
        return self._renumber(run, SPACING, SPACING)

    def _renumber(self, run: Sequence[int], start: int, step: int) -> dict[int, int]:
        """Give pages that follow each other new numbers; return them by the old."""
        new = {old: start + step * i for i, old in enumerate(run)}
        before, behind = self._before(run[0]), self._behind(run[-1])
        pages = [self._page(old) for old in run]
        for old in run:
            self._changed[old] = None
            self._pages.pop(old)
        for i, (number, page) in enumerate(zip(new.values(), pages, strict=True)):
            page.before = number - step if i else before
            page.behind = number + step
            self._change(number, page)
        if behind == END:
            self.last = new[self.last]
            self.following = pages[-1].behind
        else:
            pages[-1].behind = behind
            after = self._page(behind)
            after.before = new[run[-1]]
            self._change(behind, after)
        if before and new[run[0]] != run[0]:
            self._page(before).behind = new[run[0]]
            self._change(before, self._page(before))
        self.first = new.get(self.first, self.first)
        for cursor in self.cursors:
            cursor[0] = new.get(cursor[0], cursor[0])
        return new

    def spill(self) -> list[Row]:
        """Move the oldest rows of the head to a page, if it is full; return them."""
        if len(self.open) < OPEN_MAX:
            return []
        if self.following > LAST and self.first:
            self._begin_anew()
        elif self.following > LAST:
            self.following = SPACING
        number = self.following
        rows = self.open[:PAGE]
        self._change(number, _Page(self.last, number + SPACING, rows))
        self.open = self.open[PAGE:]
        for cursor in self.cursors:
            if cursor[0] != END:
                continue
            if cursor[1] < PAGE:
                cursor[0] = number
            else:
                cursor[1] -= PAGE
        self.first = self.first or number
        self.last, self.following = number, number + SPACING
        return rows

    def forget(self, until: int) -> list[Row]:
        """Drop the rows of a time and before; while there are pages, whole pages of them.

        Returns
        -------
        list
            The rows of the dropped pages.
        """
        dropped: list[Row] = []
        while self.first and self._page(self.first).rows[-1][0] <= until:
            number = self.first
            dropped += self._page(number).rows
            behind = self._behind(number)
            for cursor in self.cursors:
                if cursor[0] == number:
                    cursor[:] = behind, 0
            self.first = 0 if behind == END else behind
            self.last = self.last if self.first else 0
            self._changed[number] = None
            self._pages.pop(number)
        if not self.first and self.open and self.open[0][0] <= until:
            gone = bisect_right(self.open, until, key=lambda row: row[0])
            self.open = self.open[gone:]
            for cursor in self.cursors:
                cursor[1] = max(cursor[1] - gone, 0)
        return dropped

    @property
    def oldest(self) -> int | None:
        """Up to what time has to be forgotten for anything to be dropped."""
        if self.first:
            time: int = self._page(self.first).rows[-1][0]
            return time
        return self.open[0][0] if self.open else None

    def save(self) -> None:
        """Write the pages that changed."""
        for number, page in self._changed.items():
            if page is None:
                self._state.drop_chunk(self._kind | number)
            else:
                links = LINKS.pack(page.before, page.behind)
                packed = pack_rows(self._layout, page.rows)
                self._state.put_chunk(self._kind | number, links + packed)
        self._changed.clear()


@lru_cache(maxsize=1024)
def _rows(layout: str, count: int) -> struct.Struct:
    return struct.Struct(layout[0] + layout[1:] * count)


def pack_rows(layout: struct.Struct, rows: Sequence[Row]) -> bytes:
    """Pack rows, one behind the other.

    >>> pack_rows(struct.Struct("<hb"), [(1, 2), (3, 4)]).hex()
    '010002030004'
    """
    return _rows(layout.format, len(rows)).pack(*chain.from_iterable(rows))


def read_page(state: KeyedState, number: int) -> bytes:
    """Return a page as it is stored.

    Raises
    ------
    StateError
        There is none of this number.
    """
    data = state.chunk(number)
    if data is None:
        raise StateError(
            f"page {number} of a key's rows is missing: the state is damaged; restore it from a "
            "checkpoint or a copy"
        )
    return data
