"""The quick way through the windows: one function, written for what is asked.

It takes the newest event of a key whose head has room for it and nothing to drop but rows of its
own; any other event, or head, it leaves to `state.windows.general`. Both leave the same bytes.
`tests/golden/code/` shows what is written for three plans.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from verdict.state.codegen import define
from verdict.state.exact import exact, pack_integer, unpack_integer
from verdict.state.store.keyed import KeyedState, MemoryState
from verdict.state.windows.distinct import LastSeen
from verdict.state.windows.general import Windows
from verdict.state.windows.layout import COLD, FADE, LABELLED, LAYOUT, NOT_YET, integer_bytes
from verdict.state.windows.result import WindowResult
from verdict.state.windows.rows import END, LINKS, OPEN_MAX, read_page
from verdict.state.windows.values import NULL, SCOPE, Number, fading

Update = Callable[[KeyedState, bytes | None, int, Sequence[Number]], WindowResult | None]


def quick(windows: Windows) -> Update:
    """Write the function that logs one event, given the head of its key.

    It returns what the event sees; or None, and has done nothing, where `Windows.update` must.

    Examples
    --------
    >>> from verdict.state.windows.aggregates import Aggregate
    >>> from verdict.state.windows.plan import Column, Plan
    >>> from verdict.state.store.keyed import MemoryState
    >>> plan = Plan([Aggregate("sum", 10, 0)], [Column("q", nullable=False)], retention=10)
    >>> update, state = quick(Windows(plan)), MemoryState()
    >>> update(state, None, 5, [7])
    WindowResult(values=[7.0], seq=1, late=False, cold=())
    >>> update(state, state.get(), 3, [1]) is None  # late
    True
    """
    return _Writer(windows).update


class _Writer:
    """Writes it.

    Of cursor 0, ``page_0``, ``index_0`` and ``time_0`` are page, index and the time of the row
    there. ``candidates_0`` are those of an extreme, time and value in turn; ``landmark_0`` is that
    of a decay; ``value_0`` the event's own value of a column, ``left_0`` that of a row which leaves
    a window. The rest is named as in the formulas (`Plan`).
    """

    def __init__(self, windows: Windows) -> None:
        self._plan = plan = windows.plan
        self._packing = packing = windows.packing
        row, head = packing.row, packing.head
        self._width, self._start = row.size, head.size
        self._wide = [i for i, wide in enumerate(packing.wide) if wide]
        self._has_tail = bool(self._wide or plan.extremes or plan.decays)
        scope: dict[str, Any] = {
            **SCOPE,
            "EMPTY": packing.packed(packing.empty(MemoryState())),
            "SAID": packing.said,
            "join": b"".join,
            "WindowResult": WindowResult,
            "new": tuple.__new__,
            "unpack": packing.fields.unpack_from,
            "pack": head.pack,
            "row_at": row.unpack_from,
            "time_at": struct.Struct("<q").unpack_from,
            "pack_row": row.pack,
            "read_page": read_page,
            "links": LINKS.unpack_from,
            "last_seen": LastSeen(packing).__call__,
            "unpack_integer": unpack_integer,
            "pack_integer": pack_integer,
            "exact": exact,
            "fading": fading,
            "from_bytes": int.from_bytes,
            "fade_at": FADE.unpack_from,
            "pack_fade": FADE.pack,
            "integer_bytes": integer_bytes,
            "cold_of": windows.coldness.of_packed,
            "error": struct.error,
            "len": len,
        }
        for i, (column, _) in enumerate(plan.extremes):
            each = "q" + plan.columns[column].code
            made = [struct.Struct(f"<H{each * count}") for count in range(OPEN_MAX + 1)]
            scope[f"unpack_candidates_{i}"] = [layout.unpack_from for layout in made]
            scope[f"pack_candidates_{i}"] = [layout.pack for layout in made]
        self.update: Update = define(
            "update", "state, head, at, values", self._lines(), scope, windows.name
        )

    def _lines(self) -> Iterator[str]:
        plan = self._plan
        if plan.columns:
            yield f"{self._values('value')} = values"
        yield "if head is None: head = EMPTY"
        yield f"elif head[0] != {LAYOUT} or len(head) < {self._start}: return None"
        yield "_, flags, asks, _, length, first, last, following, seq, newest, oldest, \\"
        yield from self._fixed()
        yield "    = unpack(head)"
        yield f"if asks != {plan.asks} or at < newest: return None"
        yield f"if flags & {~(COLD | LABELLED) & 255} or length >= {OPEN_MAX}: return None"
        if plan.delays:
            yield "if at >= due: return None  # a label is settled"
        yield f"if first and oldest <= at - {plan.retention}: return None  # a page can go"
        yield f"if newest <= at - {plan.horizon}:"
        yield "    if flags: return None"
        yield "    seq = 0"
        yield from self._open_tail()
        for i in range(len(plan.decays)):
            yield f"if not seq: decay_{i} = landmark_{i} = 0"
        for i in range(len(plan.cursors)):
            yield from self._advance(i)
        for i, cursor in enumerate(plan.firsts):
            place = f"{LINKS.size} + index_{cursor} * {self._width}"
            yield f"if page_{cursor} != {END}:"
            yield f"    first_{i} = row_at(read_page(state, page_{cursor}), {place})"
            yield f"elif index_{cursor} < length:"
            yield f"    first_{i} = row_at(head, {self._start} + index_{cursor} * {self._width})"
            yield f"else: first_{i} = None"
        yield from self._forget()
        yield from self._advance_tail()
        for i in plan.before:
            yield f"before_{i} = {plan.formulas[i]}"
        yield from self._add()
        yield from self._pack()
        yield "cold = ()"
        yield f"if flags & {COLD}:"
        yield "    cold = cold_of(head, at)"
        yield "    if cold is None: return None  # what does not matter any more is taken out"
        yield "found = new(WindowResult, (["
        for i, (asked, formula) in enumerate(zip(plan.asked, plan.formulas, strict=True)):
            value = f"before_{i}" if i in plan.before else formula
            yield f"    # {plan.described(asked)}"
            yield f"    {value},"
        yield "], seq, False, cold))"
        yield "state.put(head)"
        yield "return found"

    def _values(self, name: str) -> str:
        """Name a value for each column."""
        return "".join(f"{name}_{i}, " for i in range(len(self._plan.columns))).rstrip()

    def _fixed(self) -> Iterator[str]:
        """Name what has a fixed place in the head, in lines of what belongs together."""
        plan = self._plan
        for i in range(len(plan.cursors)):
            yield f"    page_{i}, index_{i}, time_{i}, rows_{i}, \\"
        names = [f"tally_{i}" for i in range(len(plan.tallies)) if i not in self._wide]
        names += [f"distinct_{i}" for i in range(len(plan.distincts))]
        for i, with_value in enumerate(self._packing.with_value):
            names += [f"last_time_{i}", f"last_value_{i}"] if with_value else [f"last_time_{i}"]
        names += ["due"] if plan.delays else []
        if names:
            yield f"    {', '.join(names)}, \\"

    def _open_tail(self) -> Iterator[str]:
        """Read what stands behind the rows."""
        yield f"end = {self._start} + length * {self._width}"
        yield "body = end"
        for i in range(len(self._plan.decays)):
            yield f"landmark_{i}, many = fade_at(head, end)"
            yield f"end += {FADE.size} + many"
            yield f"decay_{i} = from_bytes(head[end - many : end], 'little', signed=True)"
        for i in self._wide:
            yield f"tally_{i}, end = unpack_integer(head, end)"
        for i in range(len(self._plan.extremes)):
            yield "many = head[end]"
            yield f"_, *candidates_{i} = unpack_candidates_{i}[many](head, end)"
            yield "end += 2 + 16 * many"
        if self._has_tail:
            yield "rest = head[end:]"

    def _advance(self, i: int) -> Iterator[str]:
        """Move a cursor on, through pages and then the head; take out what it leaves behind."""
        offset, column = self._plan.cursors[i]
        filled = "" if column is None else f", to a value of {self._plan.columns[column].meaning!r}"
        row = ", ".join([f"time_{i}", self._values("left")])
        yield f"# Cursor {i}: to what is less than {offset} ms old{filled}"
        yield f"if time_{i} <= (limit := at - {offset}):"
        yield "    held = 0"
        yield f"    while page_{i} != {END}:"
        yield f"        if held != page_{i}: held, data = page_{i}, read_page(state, page_{i})"
        yield f"        {row} = row_at(data, {LINKS.size} + index_{i} * {self._width})"
        for line in self._leave_behind(i):
            yield f"        {line}"
        yield f"        index_{i} += 1"
        yield f"        if {LINKS.size} + index_{i} * {self._width} >= len(data):"
        yield f"            page_{i} = {END} if page_{i} == last else links(data)[1]"
        yield f"            index_{i} = 0"
        yield f"    if page_{i} == {END}:"
        yield f"        place = {self._start} + index_{i} * {self._width}"
        yield f"        while index_{i} < length:"
        yield f"            {row} = row_at(head, place)"
        for line in self._leave_behind(i):
            yield f"            {line}"
        yield f"            index_{i} += 1"
        yield f"            place += {self._width}"
        yield f"        else: time_{i} = at"

    def _leave_behind(self, i: int) -> Iterator[str]:
        """Take a row out, or stop at it if it is to stay."""
        plan = self._plan
        column = plan.cursors[i].column
        stays = f"time_{i} > limit"
        if column is not None:
            stays += f" and not ({plan.missing(column, f'left_{column}')})"
        yield f"if {stays}: break"
        if column is None:
            yield f"rows_{i} -= 1"
        yield from self._tally(i, "-=", "left", plan.missing)
        for u, (cursor, of) in enumerate(plan.distincts):
            if cursor == i:
                yield f"if left_{of} != {NULL}:"
                yield (
                    f"    distinct_{u} -= "
                    f"last_seen(state, head, body, first, {of}, left_{of}) == time_{i}"
                )

    def _own_missing(self, column: int, value: str | None = None) -> str:
        """Write the condition that the event's own value is missing."""
        if self._plan.columns[column].label is not None:
            return "True"
        if not self._plan.columns[column].nullable:
            return "False"
        return self._plan.missing(column, value or f"value_{column}")

    def _where(self, column: int | None, lines: Iterator[str]) -> Iterator[str]:
        """Write lines for an event that has a value of a column."""
        missing = "False" if column is None else self._own_missing(column)
        yield from _unless(missing, lines)

    def _tally(
        self, cursor: int, sign: str, name: str, is_missing: Callable[[int, str], str]
    ) -> Iterator[str]:
        """Add a row to the tallies behind a cursor, or take it out."""
        plan = self._plan
        columns = dict.fromkeys(t.column for t in plan.tallies if t.cursor == cursor)
        for column in columns:
            value = f"{name}_{column}"
            powers = {
                tally.power: i
                for i, tally in enumerate(plan.tallies)
                if (tally.cursor, tally.column) == (cursor, column)
            }
            lines = []
            number = value
            if plan.columns[column].code == "d" and max(powers):
                lines.append(f"number = exact({value})")
                number = "number"
            adds = {0: "1", 1: number, 2: f"{number} * {number}"}
            lines += [f"tally_{i} {sign} {adds[power]}" for power, i in sorted(powers.items())]
            yield from _unless(is_missing(column, value), iter(lines))

    def _forget(self) -> Iterator[str]:
        """Drop rows that nothing can see any more, unless there are pages before them."""
        plan = self._plan
        yield f"begin = {self._start}"
        yield "if not length: oldest = at"
        yield f"elif not first and oldest <= at - {plan.retention}:"
        yield "    dropped = 0"
        yield "    while dropped < length:"
        yield f"        oldest, = time_at(head, {self._start} + dropped * {self._width})"
        yield f"        if oldest > at - {plan.retention}: break"
        yield "        dropped += 1"
        yield "    else: oldest = at"
        yield "    length -= dropped"
        yield f"    begin += dropped * {self._width}"
        for i in range(len(plan.cursors)):
            yield f"    index_{i} -= dropped"

    def _advance_tail(self) -> Iterator[str]:
        plan = self._plan
        for i, windows in enumerate(plan.windows):
            yield "many = 0"
            yield from self._skip(i, windows[0])
            yield f"if many: candidates_{i} = candidates_{i}[many:]"
            yield from self._extremes(i, before=True)
        for i, (_, _, half_life) in enumerate(plan.decays):
            yield f"now = at // {half_life}"
            yield f"if now > landmark_{i}: decay_{i} >>= now - landmark_{i}"
            yield f"landmark_{i} = now"
        yield "now = at"

    @staticmethod
    def _skip(i: int, window: int) -> Iterator[str]:
        """Count on past the candidates of an extreme that have left a window."""
        yield f"while many < len(candidates_{i}) and candidates_{i}[many] <= at - {window}:"
        yield "    many += 2"

    def _extremes(self, i: int, before: bool) -> Iterator[str]:
        """Read an extreme over its windows: those before the event is in, or with it."""
        plan = self._plan
        wanted = {
            each.over
            for index, each in enumerate(plan.asked)
            if (index in plan.before) == before
            and each.op in ("min", "max")
            and (each.column, each.op == "max") == plan.extremes[i]
        }
        windows = [window for window in plan.windows[i] if window in wanted]
        if windows:
            yield "many = 0"
        for window in windows:
            yield from self._skip(i, window)
            value = f"candidates_{i}[many + 1] if many < len(candidates_{i}) else None"
            yield f"extreme_{i}_{window} = {value}"

    def _add(self) -> Iterator[str]:
        """Add the event."""
        plan = self._plan
        for column in dict.fromkeys(column for _, column in plan.distincts):
            yield f"if value_{column} != {NULL}:"
            yield f"    seen = last_seen(state, head, body, first, {column}, value_{column})"
            yield f"    if seen == at: value_{column} = {NULL}"
            yield "    else:"
            for u, (which, of) in enumerate(plan.distincts):
                if of == column:
                    yield f"        distinct_{u} += seen <= at - {plan.cursors[which].offset}"
        for i, cursor in enumerate(plan.cursors):
            if cursor.column is None:
                yield f"rows_{i} += 1"
            yield from self._tally(i, "+=", "value", self._own_missing)
            if cursor.column is not None and plan.columns[cursor.column].nullable:
                yield f"if page_{i} == {END} and index_{i} == length:"
                yield f"    if {self._own_missing(cursor.column)}:"
                yield f"        index_{i} += 1"
                yield f"        time_{i} = {NOT_YET}"
        for i, first in enumerate(plan.firsts):
            filled = plan.cursors[first].column
            assert filled is not None
            yield f"if first_{i} is None and not ({self._own_missing(filled)}):"
            yield f"    first_{i} = (at, {self._values('value')})"
        for i, (column, _) in enumerate(plan.extremes):
            yield from self._where(column, self._push(i))
            yield from self._extremes(i, before=False)
        for i, last in enumerate(plan.lasts):
            yield from self._where(last, self._remember(i))
        for i, (fades, power, half_life) in enumerate(plan.decays):
            value, doubles = "1", False
            if fades is not None and power:
                value, doubles = f"value_{fades}", plan.columns[fades].code == "d"
            line = f"decay_{i} += fading({value}, {doubles}, at, {half_life})"
            yield from self._where(fades, iter([line]))

    def _push(self, i: int) -> Iterator[str]:
        """Add a candidate of an extreme; whatever it surpasses can be none any more."""
        column, largest = self._plan.extremes[i]
        last = f"candidates_{i}[-1] {'<=' if largest else '>='} value_{column}"
        yield f"while candidates_{i} and {last}: del candidates_{i}[-2:]"
        yield f"if len(candidates_{i}) >= {2 * OPEN_MAX - 2}: return None"
        yield f"candidates_{i} += at, value_{column}"

    def _remember(self, i: int) -> Iterator[str]:
        yield f"last_time_{i} = at"
        if self._packing.with_value[i]:
            yield f"last_value_{i} = value_{self._plan.lasts[i]}"

    def _pack(self) -> Iterator[str]:
        yield "seq += 1"
        yield f"added = pack_row(at, {self._values('value')})"
        tail = []
        for i in range(len(self._plan.decays)):
            yield f"packed_{i} = integer_bytes(decay_{i})"
            tail += [f"pack_fade(landmark_{i}, len(packed_{i}))", f"packed_{i}"]
        tail += [f"pack_integer(tally_{i})" for i in self._wide]
        for i in range(len(self._plan.extremes)):
            many = f"len(candidates_{i}) // 2"
            tail.append(f"pack_candidates_{i}[{many}]({many}, *candidates_{i})")
        yield "try:"
        yield f"    fixed = pack({LAYOUT}, flags, {self._plan.asks}, {self._start}, length + 1,"
        yield "        first, last, following, seq, at, oldest,"
        for line in self._fixed():
            yield f"    {line.removesuffix(chr(92)).rstrip()}"
        yield "        SAID)"
        yield "except error: return None  # a sum beyond 64 bits"
        if self._has_tail:
            yield "head = join(("
            for part in ["fixed", "head[begin:body]", "added", *tail, "rest"]:
                yield f"    {part},"
            yield "))"
        else:  # most often
            yield "if flags: head = join((fixed, head[begin:body], added, head[body:]))"
            yield "else: head = join((fixed, head[begin:], added))"


def _unless(missing: str, lines: Iterator[str]) -> Iterator[str]:
    """Write lines for where a condition does not hold, which may be a literal."""
    if missing == "True":
        return
    indent = "" if missing == "False" else "    "
    if indent:
        yield f"if not ({missing}):"
    yield from (indent + line for line in lines)
