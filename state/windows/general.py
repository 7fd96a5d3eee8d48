"""Exact sliding windows over one key's events, and what else its aggregates remember.

A window is (t - w, t]: the event itself is in, the one exactly ``w`` older is out. What its windows
hold is carried along as integers (`state.windows.plan`): an event adds itself, and takes out what
each window has lost since the event before it. So it touches the head, and for each window one page
of the rows (`state.windows.rows`), however many events the window holds; and nothing drifts.

This is the general way: any event, late or not, and heads of any layout. Nearly all events take a
quicker one (`state.windows.fast`), to the same bits.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from verdict.state.codegen import define
from verdict.state.errors import StateError
from verdict.state.store.dedupe import without_ids
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.head import Head, Packing, Taken
from verdict.state.windows.layout import (
    COLD,
    COLUMN,
    DECAY,
    LAST_SEEN,
    LAYOUT,
    MISSING,
    ROWS,
    Since,
    asks,
    seen_in_pages,
    seen_number,
    since_of,
)
from verdict.state.windows.old_layouts import OLD, old_rows
from verdict.state.windows.plan import FADED, Asked, Extreme, Plan
from verdict.state.windows.result import LATE, REPEATED, TAKEN, UNKNOWN_IN_TIME, Found
from verdict.state.windows.rows import END, Place, Row, Rows
from verdict.state.windows.values import NEVER, SCOPE, Number, fading, squared


class Windows:
    """The events of one kind of entity, and the aggregates over them.

    Parameters
    ----------
    plan
        What is asked.
    name
        Of the kind of entity, for tracebacks.

    Examples
    --------
    >>> from verdict.state.windows.plan import Column
    >>> from verdict.state.store.keyed import MemoryState
    >>> asked = [Asked("sum", 60_000, 0), Asked("count", 10)]
    >>> windows = Windows(Plan(asked, [Column("q", scale=2)], retention=60_000))
    >>> state = MemoryState()
    >>> windows.update(state, 0, [150])
    Found(values=[1.5, 1.0], seq=1, late=False, cold=())
    >>> windows.update(state, 59_999, [50])
    Found(values=[2.0, 1.0], seq=2, late=False, cold=())
    >>> windows.look(state, 59_999)
    Found(values=[2.0, 1.0], seq=2, late=False, cold=())
    """

    def __init__(self, plan: Plan, name: str = "") -> None:
        self.plan = plan
        self.name = f"windows {name}".rstrip()
        self.packing = Packing(plan)
        self._missing: list[Callable[[Any], bool]] = [
            define("missing", "value", [f"return {plan.missing(i, 'value')}"], {})
            for i in range(len(plan.columns))
        ]
        self._read: Callable[[Sequence[Any], int, int], list[float | None]] = define(
            "read",
            "slots, at, now",
            [
                f"{', '.join(plan.slots)}, = slots" if plan.slots else "pass",
                "return [",
                *(f"    {formula}," for formula in plan.formulas),
                "]",
            ],
            SCOPE,
            f"{self.name} read",
        )
        self._distinct = sorted({column for _, column in plan.distincts})
        parts = list(dict.fromkeys((tally.column, tally.power) for tally in plan.tallies))
        self._parts = parts
        self._tallies = [
            [
                (i, parts.index((tally.column, tally.power)))
                for i, tally in enumerate(plan.tallies)
                if tally.cursor == cursor
            ]
            for cursor in range(len(plan.cursors))
        ]
        """Of each cursor its tallies, each with what a row adds to it: one of the parts."""
        self._reaches = [self._reach(each) for each in plan.asked]

    # From an event to what it sees

    def update(self, state: KeyedState, at: int, values: Sequence[Number]) -> Found:
        """Log one event of the key and return what it sees.

        Parameters
        ----------
        state
            Of the key.
        at
            Event time in milliseconds.
        values
            One a column; `NULL`, NaN or False where missing.

        Raises
        ------
        StateError
            The head is of a layout that this release does not read, or damaged.
        """
        head = self.opened(state, state.get())
        if head.newest <= at - self.plan.horizon:
            head.forget()
        head.seq += 1
        late = at < head.newest
        plan = self.plan
        if late:
            found = self._late(head, at, values)
        else:
            head.newest = at
            self._advance(head)
            before = self._values(head, at) if plan.before else []
            self._add(head, (at, *values))
            found = self._values(head, at)
            for i in plan.before:
                found[i] = before[i]
        cold = self.cold(head.since, at)
        state.put(self.packing.packed(head))
        return Found(found, head.seq, late, cold)

    def look(self, state: KeyedState, at: int) -> Found:
        """Return what an event at a time sees of those that are logged, without logging it.

        Its ``seq`` is that of the key's last logged event, 0 where there is none.
        """
        head = self.opened(state, state.get())
        if head.newest <= at - self.plan.horizon:
            head.forget()
        late = at < head.newest
        if late:
            found = self._values_at(head, at)
        else:
            head.newest = at
            self._advance(head)
            found = self._values(head, at)
        return Found(found, head.seq, late, self.cold(head.since, at))

    def label(self, state: KeyedState, row: Row) -> str:
        """Take a label, which counts for its event from when that enters the delayed windows.

        Parameters
        ----------
        state
            Of the key.
        row
            The event's time, its id, when the label was known, 1 for positive or 0, and its
            source's rank: of an event's labels, the one of the lowest rank counts, and of those the
            one known last.

        Returns
        -------
        str
            One of `OUTCOMES`.
        """
        at, _, known_at, _, _ = row
        delays = self.plan.delays
        counts = [delay for delay in delays if known_at <= at + delay]
        if not counts:
            return UNKNOWN_IN_TIME
        head = self.opened(state, state.get())  # of no event yet, if its first is on the way
        if head.newest >= at + counts[-1]:
            return LATE
        if row in head.labels.of_time(at):
            return REPEATED
        self._wait(head, row)
        state.put(self.packing.packed(head))
        return LATE if head.newest >= at + counts[0] else TAKEN

    def _wait(self, head: Head, label: Row) -> None:
        delays = self.plan.delays
        head.labels.insert(label, lambda i: bool(label[0] > head.newest - delays[i]))
        while head.labels.spill():
            pass
        head.labels.forget(head.newest - delays[-1])  # a page that was cut may be past already

    def remembered(self, state: KeyedState) -> tuple[Found, int, list[Row], list[Row]]:
        """Return what the key's newest event saw, its time, every row, and labels that wait."""
        head = self.opened(state, state.get())
        found = self.look(state, 0 if head.newest == NEVER else head.newest)
        begin = (head.rows.first or END, 0)
        labels = [row for _, row in head.labels.back(head.labels.end)]
        return found, head.newest, list(head.rows.forth(begin)), labels[::-1]

    def forget(self, state: KeyedState) -> None:
        """Erase what is remembered of the key, every chunk of it."""
        packed = state.get()
        if packed is None:
            return
        packed = without_ids(packed)
        if packed[0] == LAYOUT:
            chunks = self.packing.taken_apart(state, packed).chunks
        else:
            chunks = self.opened(state, packed).writes
        for number in chunks:
            state.drop_chunk(number)
        state.drop()

    def _advance(self, head: Head) -> None:
        """Let go of what has left the windows of the newest event."""
        plan, now = self.plan, head.newest
        self._settle(head)
        for i, cursor in enumerate(plan.cursors):
            edge, column = now - cursor.offset, cursor.column

            def gone(row: Row, edge: int = edge, column: int | None = column) -> bool:
                return row[0] <= edge or (column is not None and self._is_missing(row, column))

            for row in head.rows.pass_by(i, gone):
                self._take_out(head, i, row)
        dropped = head.rows.forget(now - plan.retention)
        self._forget_seen(head, dropped)
        self._spilled(head, head.rows.spill())
        for i, rows in enumerate(head.extremes):
            for j, window in enumerate(plan.windows[i]):
                rows.skip(j, now - window)
            rows.forget(now - plan.windows[i][0])
        for i, (_, _, half_life) in enumerate(plan.decays):
            landmark, total = head.decays[i]
            head.decays[i] = now // half_life, total >> max(now // half_life - landmark, 0)

    def _settle(self, head: Head) -> None:
        """Give their labels to the rows that enter delayed windows, before any cursor moves."""
        for i, (delay, cursor, columns) in enumerate(self.plan.settled):
            edge = head.newest - delay

            def gone(label: Row, edge: int = edge) -> bool:
                return bool(label[0] <= edge)

            best = _best(head.labels.pass_by(i, gone), delay)
            if not best:
                continue
            for place, row in head.rows.places(_place(head.rows.cursors[cursor])):
                if row[0] > edge:
                    break
                positive = best.get((row[0], row[(self.plan.ids or 0) + 1]))
                if positive is None:
                    continue
                row = self._labelled(row, columns, positive)
                head.rows.replace(place, row)
                for j, tally in enumerate(self.plan.tallies):
                    if tally.column in columns:
                        head.tallies[j] += self._tallied(tally.column, tally.power, row)
        if self.plan.delays:
            head.labels.forget(head.newest - self.plan.delays[-1])

    def _labelled(self, row: Row, columns: Sequence[int], positive: int) -> Row:
        values = list(row)
        for column in columns:
            label = self.plan.columns[column].label
            assert label is not None
            if label.where is None or row[label.where + 1]:
                values[column + 1] = positive
        return tuple(values)

    def _take_out(self, head: Head, cursor: int, row: Row) -> None:
        head.counts[cursor] -= self.plan.cursors[cursor].column is None
        for i, tally in enumerate(self.plan.tallies):
            if tally.cursor == cursor:
                head.tallies[i] -= self._tallied(tally.column, tally.power, row)
        for i, (of, column) in enumerate(self.plan.distincts):
            if of == cursor and not self._is_missing(row, column):
                head.distincts[i] -= self.last_seen(head, column, row[column + 1]) == row[0]

    def _tallied(self, column: int, power: int, row: Row) -> int:
        if self._is_missing(row, column):
            return 0
        return squared(row[column + 1], power, self.plan.columns[column].code == "d")

    def _is_missing(self, row: Row, column: int) -> bool:
        return self._missing[column](row[column + 1])

    def _add(self, head: Head, row: Row) -> None:
        """Add a row that is not older than any other."""
        row = self._marked(head, row)
        for i, (which, column) in enumerate(self.plan.distincts):
            if not self._is_missing(row, column):
                edge = row[0] - self.plan.cursors[which].offset
                head.distincts[i] += self.last_seen(head, column, row[column + 1]) <= edge
        place = len(head.rows.open)
        for i, cursor in enumerate(self.plan.cursors):
            head.counts[i] += cursor.column is None
            passed = head.rows.cursors[i]
            if cursor.column is not None and passed[0] == END and passed[1] == place:
                passed[1] += self._is_missing(row, cursor.column)
        for i, tally in enumerate(self.plan.tallies):
            head.tallies[i] += self._tallied(tally.column, tally.power, row)
        head.rows.append(row)
        for i, extreme in enumerate(self.plan.extremes):
            self._push(head.extremes[i], extreme, row)
        self._remember(head, row)
        self._fade(head, row)

    def _push(self, rows: Rows, extreme: Extreme, row: Row) -> None:
        """Add a candidate: whatever it surpasses can be none any more."""
        if self._is_missing(row, extreme.column):
            return
        value = row[extreme.column + 1]
        while (newest := rows.newest) is not None and _surpasses(value, newest[1], extreme):
            rows.pop()
        rows.append((row[0], value))
        rows.spill()

    def _remember(self, head: Head, row: Row) -> None:
        for i, column in enumerate(self.plan.lasts):
            if head.lasts[i][0] <= row[0] and (column is None or not self._is_missing(row, column)):
                head.lasts[i] = row[0], self._last_value(i, row)

    def _last_value(self, last: int, row: Row) -> Number:
        value: Number = (
            row[(self.plan.lasts[last] or 0) + 1] if self.packing.with_value[last] else 0
        )
        return value

    def _fade(self, head: Head, row: Row) -> None:
        for i, (column, power, half_life) in enumerate(self.plan.decays):
            if column is not None and self._is_missing(row, column):
                continue
            landmark, total = head.decays[i]
            doubles = column is not None and power > 0 and self.plan.columns[column].code == "d"
            value = row[column + 1] if column is not None and power else 1
            added = fading(value, doubles, row[0], half_life)
            head.decays[i] = landmark, total + (added >> (landmark - row[0] // half_life))

    def _values(self, head: Head, at: int) -> list[float | None]:
        """Read the aggregates, as the newest event sees them."""
        slots: list[Any] = [*head.counts, *head.tallies, *head.distincts]
        slots += [head.rows.at(_place(head.rows.cursors[cursor])) for cursor in self.plan.firsts]
        slots += [part for last in head.lasts for part in last]
        for rows in head.extremes:
            found = (rows.at(_place(cursor)) for cursor in rows.cursors)
            slots += [None if row is None else row[1] for row in found]
        slots += [total for _, total in head.decays]
        return self._read(slots, at, head.newest)

    # Late events

    def _late(self, head: Head, at: int, values: Sequence[Number]) -> list[float | None]:
        """Log an event that is older than the newest, unless it would be forgotten at once."""
        plan, now = self.plan, head.newest
        before = self._values_at(head, at) if plan.before else []
        if at > now - plan.retention:
            self._insert(head, self._marked(head, (at, *values)))
            while spilled := head.rows.spill():  # one from ahead of time makes all others late
                self._spilled(head, spilled)
        found = self._values_at(head, at)
        for i in plan.before:
            found[i] = before[i]
        return found

    def _insert(self, head: Head, row: Row) -> None:
        plan, at, now = self.plan, row[0], head.newest
        for i, (which, column) in enumerate(plan.distincts):
            if not self._is_missing(row, column):
                edge = now - plan.cursors[which].offset
                head.distincts[i] += (
                    at > edge and self.last_seen(head, column, row[column + 1]) <= edge
                )
        earlier = [
            column
            for column in self._distinct
            if not self._is_missing(row, column)
            and self.last_seen(head, column, row[column + 1]) < at
        ]

        def counts(i: int) -> bool:
            offset, column = plan.cursors[i]
            return at > now - offset and (column is None or not self._is_missing(row, column))

        if head.rows.insert(row, counts) != END:
            for column in earlier:
                self._put_seen(head, column, row[column + 1], at)
        for i, cursor in enumerate(plan.cursors):
            if at > now - cursor.offset:
                head.counts[i] += cursor.column is None
        for i, (which, column, power) in enumerate(plan.tallies):
            if at > now - plan.cursors[which].offset:
                head.tallies[i] += self._tallied(column, power, row)
        for i, extreme in enumerate(plan.extremes):
            self._insert_candidate(head, i, extreme, row)
        self._remember(head, row)
        self._fade(head, row)

    def _insert_candidate(self, head: Head, i: int, extreme: Extreme, row: Row) -> None:
        """Add a late candidate, unless a later one surpasses it."""
        at, value = row[0], row[extreme.column + 1]
        if self._is_missing(row, extreme.column) or at <= head.newest - self.plan.windows[i][0]:
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
        for j, window in enumerate(self.plan.windows[i]):
            edge = head.newest - window
            cursor = rows.end
            for place, candidate in rows.back(rows.end):
                if candidate[0] <= edge:
                    break
                cursor = place
            rows.cursors[j][:] = cursor

    def _values_at(self, head: Head, at: int) -> list[float | None]:
        """Read the aggregates as a late event sees them: without the rows after its time."""
        plan, rows, now = self.plan, head.rows, head.newest
        counts, tallies = list(head.counts), list(head.tallies)
        end = rows.end
        for place, row in rows.back(rows.end):
            if row[0] <= at:
                break
            end = place
            parts = [self._tallied(column, power, row) for column, power in self._parts]
            for i, cursor in enumerate(plan.cursors):
                if row[0] > now - cursor.offset:
                    counts[i] -= 1
                    for tally, part in self._tallies[i]:
                        tallies[tally] -= parts[part]
        begins: list[Place] = []
        for i, cursor in enumerate(plan.cursors):
            begin = min(_place(rows.cursors[i]), end)
            for place, row in rows.back(begin):
                if row[0] <= at - cursor.offset:
                    break
                begin = place
                if row[0] <= now - cursor.offset:
                    counts[i] += 1
                    for tally, part in self._tallies[i]:
                        tallies[tally] += self._tallied(*self._parts[part], row)
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
        for i, extreme in enumerate(plan.extremes):
            slots += self._extremes_at(head, i, extreme, end, at)
        slots += [total for _, total in head.decays]
        return self._read(slots, at, now)

    def _between(self, rows: Rows, begin: Place, end: Place, column: int) -> Iterator[Row]:
        """Yield the rows from one place to another that have a value of a column."""
        found = []
        for place, row in rows.back(end):
            if place < begin:
                break
            if not self._is_missing(row, column):
                found.append(row)
        yield from reversed(found)

    def _last_before(
        self, head: Head, i: int, column: int | None, end: Place, at: int
    ) -> tuple[int, Number]:
        if head.lasts[i][0] <= at:
            return head.lasts[i]
        for _, row in head.rows.back(end):
            if column is None or not self._is_missing(row, column):
                return row[0], self._last_value(i, row)
        return NEVER, 0

    def _extremes_at(
        self, head: Head, i: int, extreme: Extreme, end: Place, at: int
    ) -> list[Number | None]:
        found: list[Number | None] = []
        candidates, longest = head.extremes[i], self.plan.windows[i][0]
        for window in self.plan.windows[i]:
            # What is extreme of all that is newer than the window's begin is so within the window,
            # if it is not newer than the event.
            best = None
            for _, row in candidates.back(candidates.end):
                if row[0] <= at - window:
                    break
                best = row
            if at - window >= head.newest - longest and (best is None or best[0] <= at):
                found.append(None if best is None else best[1])
                continue
            value = None
            for _, row in head.rows.back(end):
                if row[0] <= at - window:
                    break
                if not self._is_missing(row, extreme.column):
                    number = row[extreme.column + 1]
                    if value is None or _surpasses(number, value, extreme):
                        value = number
            found.append(value)
        return found

    # Distinct values

    def _marked(self, head: Head, row: Row) -> Row:
        """Take out what adds nothing to the distinct values: a row of that time has it already."""
        for column in self._distinct:
            if self._is_missing(row, column):
                continue
            for _, other in head.rows.back(head.rows.end):
                if other[0] < row[0]:
                    break
                if other[0] == row[0] and other[column + 1] == row[column + 1]:
                    row = (*row[: column + 1], NEVER, *row[column + 2 :])
                    break
        return row

    def last_seen(self, head: Head, column: int, value: int) -> int:
        """Return the time of a value's last row, or `NEVER`."""
        for row in reversed(head.rows.open):
            if row[column + 1] == value:
                time: int = row[0]
                return time
        if not head.rows.first:
            return NEVER
        return seen_in_pages(head.chunk, column, value)

    def _spilled(self, head: Head, rows: Sequence[Row]) -> None:
        for column in self._distinct:
            for row in rows:
                if not self._is_missing(row, column):
                    self._put_seen(head, column, row[column + 1], row[0])

    def _forget_seen(self, head: Head, rows: Sequence[Row]) -> None:
        for column in self._distinct:
            for row in rows:
                value = row[column + 1]
                if self._is_missing(row, column):
                    continue
                if seen_in_pages(head.chunk, column, value) == row[0]:
                    self._put_seen(head, column, value, NEVER)

    def _put_seen(self, head: Head, column: int, value: int, at: int) -> None:
        number = seen_number(column, value)
        entries = dict(LAST_SEEN.iter_unpack(head.chunk(number) or b""))
        if at == NEVER:
            entries.pop(value, None)
        else:
            entries[value] = at
        packed = b"".join(LAST_SEEN.pack(*entry) for entry in entries.items())
        head.writes[number] = packed or None

    def opened(self, state: KeyedState, packed: bytes | None) -> Head:
        """Take a head out of its state; one of another plan or layout is made anew.

        Raises
        ------
        StateError
            It is of a layout that this release does not read.
        """
        if packed is None:
            return self.packing.empty(state)
        packed = without_ids(packed)
        if packed[0] == LAYOUT and asks(packed) == self.plan.asks:
            return self.packing.unpacked(state, packed)
        return self._anew(state, packed)

    # Another plan's

    def _anew(self, state: KeyedState, packed: bytes) -> Head:
        """Make a head of one that was written for another plan, from its rows."""
        if packed[0] in OLD:
            seq, newest, rows, chunks = old_rows(state, packed, self.plan.columns)
            columns = [(self.packing.marks[i], i) for i in range(len(self.plan.columns))]
            gone = dict.fromkeys(chunks)
            old = Taken(seq, newest, rows, gone, self.plan.retention, columns, [], [])
        elif packed[0] == LAYOUT:
            old = self.packing.taken_apart(state, packed)
        else:
            raise StateError(
                f"the stored state has layout {packed[0]}, this release reads 1 to {LAYOUT}: run "
                "the release that wrote it, or start from an empty state"
            )
        head = self._replayed(state, old)
        begin = old.newest - old.retention
        # Nothing has been forgotten yet, nor was too late; nor has been forgotten since when.
        whole = old.seq == len(old.rows) and all(row[0] > begin for row in old.rows[:1])
        if not whole and self.plan.retention > old.retention:
            head.since.append(Since(ROWS, 0, begin))
        known = dict(old.columns)
        new = [i for i in range(len(self.plan.columns)) if self.packing.marks[i] not in known]
        if old.newest == NEVER:  # of labels alone: there is no event that lacks anything
            return head
        head.since += [Since(COLUMN, i, old.newest) for i in new]
        kept = {mark: (landmark, total) for mark, landmark, total in old.decays}
        rows_since = [time for what, _, time in old.since if what == ROWS]
        rows_since += [] if whole else [begin]
        for i, (column, _, half_life) in enumerate(self.plan.decays):
            mark = self.packing.decay_marks[i]
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
                    if what == COLUMN and column is not None and of == self.packing.marks[column]
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

    def _replayed(self, state: KeyedState, old: Taken) -> Head:
        """Log the rows of an old head in a new one."""
        places = [
            dict(old.columns).get(self.packing.marks[i]) for i in range(len(self.plan.columns))
        ]
        head = self.packing.empty(state)
        head.writes |= old.chunks
        for row in old.rows:
            values = [
                MISSING[column.code] if place is None else row[place + 1]
                for place, column in zip(places, self.plan.columns, strict=True)
            ]
            head.newest = row[0]
            self._advance(head)
            self._add(head, (row[0], *values))
        head.seq, head.newest = old.seq, old.newest
        for label in old.labels if self.plan.delays else ():
            self._wait(head, label)
        return head

    def _places(self, what: int, mark: int) -> list[int]:
        """Return the indices here of what an old head calls by its mark."""
        if what == COLUMN:
            return [i for i in range(len(self.plan.columns)) if self.packing.marks[i] == mark]
        if what == DECAY:
            return [i for i in range(len(self.plan.decays)) if self.packing.decay_marks[i] == mark]
        return [0]

    def cold_of(self, head: bytes, at: int) -> tuple[int, ...] | None:
        """Return what is cold at a key's newest event, given a packed head that says so.

        It is None where the head says of something that does not matter any more.
        """
        since = since_of(head, COLD)
        if all(self.packing.matters(each, at) for each in since):
            return self.cold(since, at)
        return None

    def cold(self, since: Sequence[Since], at: int) -> tuple[int, ...]:
        """Return the indices of the aggregates that reach back behind what has been kept."""
        if not since:
            return ()
        return tuple(
            i
            for i, (begin, needs) in enumerate(self._reaches)
            if any(at - begin < time and (what, index) in needs for what, index, time in since)
        )

    def _reach(self, each: Asked) -> tuple[int, set[tuple[int, int]]]:
        """Return how far an aggregate reaches back, and over what."""
        if each.decayed:
            decays = [
                i
                for i, decay in enumerate(self.plan.decays)
                if (decay.column, decay.half_life) == (each.column, each.over)
            ]
            return FADED * each.over, {(DECAY, i) for i in decays}
        needs = {(ROWS, 0)}
        if each.column is not None:
            needs.add((COLUMN, each.column))
        return each.delay + each.over, needs


def _best(labels: Iterable[Row], delay: int) -> dict[tuple[int, int], int]:
    """Return, by time and id, whether the label that counts is positive.

    Of those that were known in time, that is the one of the lowest rank, of these the one that was
    known last; and where one rank said both at one time, positive.
    """
    found: dict[tuple[int, int], tuple[int, int, int]] = {}
    for at, event, known_at, positive, rank in labels:
        if known_at <= at + delay:
            order = (-rank, known_at, positive)
            found[at, event] = max(order, found.get((at, event), order))
    return {event: positive for event, (_, _, positive) in found.items()}


def _place(cursor: Sequence[int]) -> Place:
    return cursor[0], cursor[1]


def _surpasses(value: Number, other: Number, extreme: Extreme) -> bool:
    return value >= other if extreme.largest else value <= other
