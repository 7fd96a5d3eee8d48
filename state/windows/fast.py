"""The quick way through the windows: one function, written for what is asked.

It takes the newest event of a key whose head has room for it and nothing to drop but rows of its
own; any other event, or head, it leaves to `state.windows.general`. Both leave the same bytes.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from verdict.state.codegen import define
from verdict.state.exact import exact, pack_integer, unpack_integer
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.general import Windows
from verdict.state.windows.head import Packing
from verdict.state.windows.layout import (
    COLD,
    FADE,
    LABELLED,
    LAYOUT,
    NOT_YET,
    integer_bytes,
    seen_in_pages,
)
from verdict.state.windows.result import Found
from verdict.state.windows.rows import END, LINKS, OPEN_MAX, read_page
from verdict.state.windows.values import NEVER, NULL, SCOPE, Number, fading

Update = Callable[[KeyedState, bytes | None, int, Sequence[Number]], Found | None]


def quick(windows: Windows) -> Update:
    """Write the function that logs one event, given the head of its key.

    It returns what the event sees; or None, and has done nothing, where `Windows.update` must.

    Examples
    --------
    >>> from verdict.state.windows.plan import Asked, Column, Plan
    >>> from verdict.state.store.keyed import MemoryState
    >>> plan = Plan([Asked("sum", 10, 0)], [Column("q", nullable=False)], retention=10)
    >>> update, state = quick(Windows(plan)), MemoryState()
    >>> update(state, None, 5, [7])
    Found(values=[7.0], seq=1, late=False, cold=())
    >>> update(state, state.get(), 3, [1]) is None  # late
    True
    """
    return _Writer(windows).update


class _Writer:
    """Writes it.

    Of cursor i, ``p``, ``j`` and ``t`` are page, index and the time of the row there; ``e`` are the
    candidates of an extreme, time and value in turn; ``k`` the landmark of a decay; ``v`` the
    event's own values. The rest is named as in the formulas (`Plan`).
    """

    def __init__(self, windows: Windows) -> None:
        self._plan = plan = windows.plan
        self._packing = packing = windows.packing
        row, head = packing.row, packing.head
        self._width, self._start = row.size, head.size
        self._wide = [i for i, wide in enumerate(packing.wide) if wide]
        self._has_tail = bool(self._wide or plan.extremes or plan.decays)
        empty = packing.packed(packing.empty(_Nothing()))
        scope: dict[str, Any] = {
            **SCOPE,
            "EMPTY": empty,
            "SAID": packing.said,
            "join": b"".join,
            "Found": Found,
            "new": tuple.__new__,
            "unpack": packing.fields.unpack_from,
            "pack": head.pack,
            "row_at": row.unpack_from,
            "time_at": struct.Struct("<q").unpack_from,
            "row": row.pack,
            "page": _page,
            "behind": LINKS.unpack_from,
            "seen": _Seen(packing).__call__,
            "take": unpack_integer,
            "put": pack_integer,
            "exact": exact,
            "fading": fading,
            "from_bytes": int.from_bytes,
            "fade_at": FADE.unpack_from,
            "fade": FADE.pack,
            "integer_bytes": integer_bytes,
            "colds": windows.cold_of,
            "error": struct.error,
            "len": len,
        }
        for i, (column, _) in enumerate(plan.extremes):
            each = "q" + plan.columns[column].code
            made = [struct.Struct(f"<H{each * count}") for count in range(OPEN_MAX + 1)]
            scope[f"candidates_{i}"] = [layout.unpack_from for layout in made]
            scope[f"pack_{i}"] = [layout.pack for layout in made]
        self.update: Update = define(
            "update", "state, head, at, values", self._lines(), scope, windows.name
        )

    def _lines(self) -> Iterator[str]:
        plan = self._plan
        if plan.columns:
            yield f"{self._values()} = values"
        yield "if head is None: head = EMPTY"
        yield f"elif head[0] != {LAYOUT} or len(head) < {self._start}: return None"
        yield "_, flags, asks, _, length, first, last, following, seq, newest, oldest, \\"
        yield f"    {self._fixed()} = unpack(head)"
        yield f"if asks != {plan.asks} or at < newest: return None"
        yield f"if flags & {~(COLD | LABELLED) & 255} or length >= {OPEN_MAX}: return None"
        if plan.delays:
            yield "if at >= due: return None"  # a label is settled
        yield f"if first and oldest <= at - {plan.retention}: return None"
        yield f"if newest <= at - {plan.horizon}:"
        yield "    if flags: return None"
        yield "    seq = 0"
        yield from self._open_tail()
        for i in range(len(plan.decays)):
            yield f"if not seq: z{i} = k{i} = 0"
        for i in range(len(plan.cursors)):
            yield from self._advance(i)
        for i, cursor in enumerate(plan.firsts):
            yield f"if p{cursor} != {END}:"
            yield f"    f{i} = row_at(page(state, p{cursor}), {LINKS.size} + j{cursor} * "
            yield f"        {self._width})"
            yield f"else: f{i} = {self._row(f'j{cursor}')} if j{cursor} < length else None"
        yield from self._forget()
        yield from self._advance_tail()
        for i in plan.before:
            yield f"b{i} = {plan.formulas[i]}"
        yield from self._add()
        found = [
            f"b{i}" if i in plan.before else formula for i, formula in enumerate(plan.formulas)
        ]
        yield from self._pack()
        yield "cold = ()"
        yield f"if flags & {COLD}:"
        yield "    cold = colds(head, at)"
        yield "    if cold is None: return None"  # the general way takes out what does not matter
        yield f"found = new(Found, ([{', '.join(found)}], seq, False, cold))"
        yield "state.put(head)"
        yield "return found"

    def _values(self) -> str:
        return "".join(f"v{i}, " for i in range(len(self._plan.columns)))

    def _fixed(self) -> str:
        """Name what has a fixed place in the head."""
        plan = self._plan
        names = [f"p{i}, j{i}, t{i}, n{i}" for i in range(len(plan.cursors))]
        names += [f"s{i}" for i in range(len(plan.tallies)) if i not in self._wide]
        names += [f"u{i}" for i in range(len(plan.distincts))]
        for i, with_value in enumerate(self._packing.with_value):
            names += [f"lt{i}", f"lv{i}"] if with_value else [f"lt{i}"]
        names += ["due"] if plan.delays else []
        return "".join(f"{name}, " for name in names)

    def _row(self, index: str) -> str:
        return f"row_at(head, {self._start} + {index} * {self._width})"

    def _open_tail(self) -> Iterator[str]:
        """Read what stands behind the rows."""
        yield f"end = {self._start} + length * {self._width}"
        yield "body = end"
        for i in range(len(self._plan.decays)):
            yield f"k{i}, many = fade_at(head, end)"
            yield f"end += {FADE.size} + many"
            yield f"z{i} = from_bytes(head[end - many : end], 'little', signed=True)"
        for i in self._wide:
            yield f"s{i}, end = take(head, end)"
        for i in range(len(self._plan.extremes)):
            yield "many = head[end]"
            yield f"_, *e{i} = candidates_{i}[many](head, end)"
            yield "end += 2 + 16 * many"
        if self._has_tail:
            yield "rest = head[end:]"

    def _advance(self, i: int) -> Iterator[str]:
        """Move a cursor on, through pages and then the head; take out what it leaves behind."""
        names = "".join(f"g{column}, " for column in range(len(self._plan.columns)))
        yield f"if t{i} <= (limit := at - {self._plan.cursors[i].offset}):"
        yield "    held = 0"
        yield f"    while p{i} != {END}:"
        yield f"        if held != p{i}: held, data = p{i}, page(state, p{i})"
        yield f"        t{i}, {names} = row_at(data, {LINKS.size} + j{i} * {self._width})"
        for line in self._leave_behind(i):
            yield f"        {line}"
        yield f"        j{i} += 1"
        yield f"        if {LINKS.size} + j{i} * {self._width} >= len(data):"
        yield f"            p{i} = {END} if p{i} == last else behind(data)[1]"
        yield f"            j{i} = 0"
        yield f"    if p{i} == {END}:"
        yield f"        place = {self._start} + j{i} * {self._width}"
        yield f"        while j{i} < length:"
        yield f"            t{i}, {names} = row_at(head, place)"
        for line in self._leave_behind(i):
            yield f"            {line}"
        yield f"            j{i} += 1"
        yield f"            place += {self._width}"
        yield f"        else: t{i} = at"

    def _leave_behind(self, i: int) -> Iterator[str]:
        """Take a row out, or stop at it if it is to stay."""
        plan = self._plan
        column = plan.cursors[i].column
        stays = f"t{i} > limit"
        if column is not None:
            stays += f" and not ({plan.missing(column, f'g{column}')})"
        yield f"if {stays}: break"
        if column is None:
            yield f"n{i} -= 1"
        yield from self._tally(i, "-=", lambda column: f"g{column}", plan.missing)
        for u, (cursor, of) in enumerate(plan.distincts):
            if cursor == i:
                yield f"if g{of} != {NULL}:"
                yield f"    u{u} -= seen(state, head, body, first, {of}, g{of}) == t{i}"

    def _own_missing(self, column: int, value: str | None = None) -> str:
        """Write the condition that the event's own value is missing."""
        if self._plan.columns[column].label is not None:
            return "True"
        if not self._plan.columns[column].nullable:
            return "False"
        return self._plan.missing(column, value or f"v{column}")

    def _tally(
        self,
        cursor: int,
        sign: str,
        value: Callable[[int], str],
        is_missing: Callable[[int, str], str],
    ) -> Iterator[str]:
        """Add a row to the tallies behind a cursor, or take it out."""
        plan = self._plan
        columns = dict.fromkeys(t.column for t in plan.tallies if t.cursor == cursor)
        for column in columns:
            text = value(column)
            powers = {
                tally.power: i
                for i, tally in enumerate(plan.tallies)
                if (tally.cursor, tally.column) == (cursor, column)
            }
            lines = []
            number = text
            if plan.columns[column].code == "d" and max(powers):
                lines.append(f"number = exact({text})")
                number = "number"
            adds = {0: "1", 1: number, 2: f"{number} * {number}"}
            lines += [f"s{i} {sign} {adds[power]}" for power, i in sorted(powers.items())]
            missing = is_missing(column, text)
            if missing == "True":
                continue
            if missing == "False":
                yield from lines
            else:
                yield f"if not ({missing}):"
                yield from (f"    {line}" for line in lines)

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
            yield f"    j{i} -= dropped"

    def _advance_tail(self) -> Iterator[str]:
        plan = self._plan
        for i, windows in enumerate(plan.windows):
            yield "many = 0"
            yield f"while many < len(e{i}) and e{i}[many] <= at - {windows[0]}: many += 2"
            yield f"if many: e{i} = e{i}[many:]"
            yield from self._extremes(i, before=True)
        for i, (_, _, half_life) in enumerate(plan.decays):
            yield f"now = at // {half_life}"
            yield f"if now > k{i}: z{i} >>= now - k{i}"
            yield f"k{i} = now"
        yield "now = at"

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
            yield f"while many < len(e{i}) and e{i}[many] <= at - {window}: many += 2"
            yield f"x{i}_{window} = e{i}[many + 1] if many < len(e{i}) else None"

    def _add(self) -> Iterator[str]:
        """Add the event."""
        plan = self._plan
        for column in dict.fromkeys(column for _, column in plan.distincts):
            yield f"if v{column} != {NULL}:"
            yield f"    time = seen(state, head, body, first, {column}, v{column})"
            yield f"    if time == at: v{column} = {NULL}"
            yield "    else:"
            for u, (which, of) in enumerate(plan.distincts):
                if of == column:
                    yield f"        u{u} += time <= at - {plan.cursors[which].offset}"
        for i, cursor in enumerate(plan.cursors):
            if cursor.column is None:
                yield f"n{i} += 1"
            yield from self._tally(i, "+=", lambda column: f"v{column}", self._own_missing)
            if cursor.column is not None and plan.columns[cursor.column].nullable:
                yield f"if p{i} == {END} and j{i} == length:"
                yield f"    if {self._own_missing(cursor.column)}:"
                yield f"        j{i} += 1"
                yield f"        t{i} = {NOT_YET}"
        for i, first in enumerate(plan.firsts):
            filled = plan.cursors[first].column
            assert filled is not None
            yield f"if f{i} is None and not ({self._own_missing(filled)}):"
            yield f"    f{i} = (at, {self._values()})"
        for i, (column, largest) in enumerate(plan.extremes):
            missing, sign = self._own_missing(column), "<=" if largest else ">="
            yield f"if not ({missing}):"
            yield f"    while e{i} and e{i}[-1] {sign} v{column}: del e{i}[-2:]"
            yield f"    if len(e{i}) >= {2 * OPEN_MAX - 2}: return None"
            yield f"    e{i} += at, v{column}"
            yield from self._extremes(i, before=False)
        for i, last in enumerate(plan.lasts):
            missing = "False" if last is None else self._own_missing(last)
            yield f"if not ({missing}):"
            yield f"    lt{i} = at"
            if self._packing.with_value[i]:
                yield f"    lv{i} = v{last}"
        for i, (fades, power, half_life) in enumerate(plan.decays):
            value, doubles = "1", False
            if fades is not None and power:
                value, doubles = f"v{fades}", plan.columns[fades].code == "d"
            missing = "False" if fades is None else self._own_missing(fades)
            yield f"if not ({missing}): z{i} += fading({value}, {doubles}, at, {half_life})"

    def _pack(self) -> Iterator[str]:
        yield "seq += 1"
        yield f"added = row(at, {self._values()})"
        tail = []
        for i in range(len(self._plan.decays)):
            yield f"y{i} = integer_bytes(z{i})"
            tail += [f"fade(k{i}, len(y{i}))", f"y{i}"]
        tail += [f"put(s{i})" for i in self._wide]
        for i in range(len(self._plan.extremes)):
            tail.append(f"pack_{i}[len(e{i}) // 2](len(e{i}) // 2, *e{i})")
        yield "try:"
        yield f"    fixed = pack({LAYOUT}, flags, {self._plan.asks}, {self._start}, length + 1,"
        yield "        first, last, following, seq, at, oldest,"
        yield f"        {self._fixed()} SAID)"
        yield "except error: return None"  # a sum beyond 64 bits
        if self._has_tail:
            tail.append("rest")
            yield f"head = join((fixed, head[begin:body], added, {', '.join(tail)}))"
        else:  # most often
            yield "if flags: head = join((fixed, head[begin:body], added, head[body:]))"
            yield "else: head = join((fixed, head[begin:], added))"


class _Nothing:
    """The state of a key that has none."""

    def get(self) -> bytes | None:
        return None

    def put(self, head: bytes) -> None:
        raise NotImplementedError

    def drop(self) -> None:
        raise NotImplementedError

    def chunk(self, number: int) -> bytes | None:
        return None

    def put_chunk(self, number: int, data: bytes) -> None:
        raise NotImplementedError

    def drop_chunk(self, number: int) -> None:
        raise NotImplementedError


def _page(state: KeyedState, number: int) -> bytes:
    return read_page(state, number)


class _Seen:
    """Finds the time of the last row that has a value."""

    def __init__(self, packing: Packing) -> None:
        self._start = packing.head.size
        self._width = packing.row.size
        codes = [column.code for column in packing.plan.columns]
        self._offsets = [struct.calcsize("<q" + "".join(codes[:i])) for i in range(len(codes))]

    def __call__(
        self, state: KeyedState, head: bytes, end: int, first: int, column: int, value: int
    ) -> int:
        begin, width = self._start + self._offsets[column], self._width
        packed = value.to_bytes(8, "little", signed=True)
        place = head.rfind(packed, begin, end)
        while place >= 0 and (place - begin) % width:  # across the parts of a row
            place = head.rfind(packed, begin, place + 7)
        if place >= 0:
            row = place - self._offsets[column]
            return int.from_bytes(head[row : row + 8], "little", signed=True)
        return seen_in_pages(state.chunk, column, value) if first else NEVER
