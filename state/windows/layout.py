"""How a head is laid out: its structs, kinds of chunks, and what reads single parts of it."""

import math
import struct
from collections.abc import Callable
from typing import NamedTuple

from verdict.state.windows.rows import KIND_BITS
from verdict.state.windows.values import NEVER, NULL, Number

LAYOUT = 3
"""Version of the packed head; a fixture of every layout ever released stays in tests."""
WIDE, PAGED, COLD, LABELLED = 1, 2, 4, 8
"""Flags of a head: sums that do not fit 64 bits stand behind the rows; candidates of an extreme
have pages; something asked now was not kept from the start; labels wait for their events."""
HEAD = struct.Struct("<BBIHHIIIQqq")
"""Layout, flags, what is asked, bytes until the first row, rows, first page, last page, the page to
come, seq, newest time, up to what time has to be forgotten for anything to be dropped."""
CURSOR = "IHqI"
"""Page, index, time of the row there, rows from there on."""
NOT_YET = -(1 << 63)
"""The time of a cursor that stands behind the last row."""
CANDIDATES, PAGES, PLACE = struct.Struct("<H"), struct.Struct("<III"), struct.Struct("<IH")
FADE = struct.Struct("<qH")
"""Landmark in half-lives, bytes of the total."""
SINCE = struct.Struct("<BHq")
"""What, its index, since when it has been kept."""
MANY = struct.Struct("<H")
"""How many of them there are: the end of a head."""
SAID = struct.Struct("<qHHHHH")
"""What a head says of itself: retention; how many columns, decays, tallies, wide ones and extremes
there are. Then come the columns' codes (``Q`` for distinct values) and marks, the decays' marks,
how many windows each extreme has, and how long all this is."""
MARK = struct.Struct("<cI")
LABEL = struct.Struct("<qqqBH")
"""A label that waits: the event's time, its id, when the label was known, whether it is positive,
and its source's rank, 0 that of the one to be believed before others."""
WAITING = struct.Struct("<HHIII")
"""How many labels the head holds, for how many delays; then pages as of candidates, and places."""
LAST_LABEL = struct.Struct("<q")
"""The end of a head with labels: the time of the event that the last of them is of."""
NOT_DUE = (1 << 63) - 1
"""When the next label is settled, where there is none."""
ROWS, COLUMN, DECAY = 0, 1, 2
MISSING: dict[str, Number] = {"q": NULL, "d": math.nan, "?": False}
EXTREMES, DISTINCTS, LABELS = 1, 64, 127
"""First kind of the chunks that hold candidates of extremes, and last times of distinct values;
the kind of those that hold labels."""
LAST_SEEN = struct.Struct("<qq")
"""A value of a column of distinct ones, and the time of its last row."""


class Since(NamedTuple):
    """Since when something has been kept: the rows, a column of them, a decay."""

    what: int
    which: int
    time: int


def asks(packed: bytes) -> int:
    """Return what a packed head's plan asks for."""
    return int(HEAD.unpack_from(packed)[2])


def newest(packed: bytes) -> int | None:
    """Return the time of a key's newest event, be it one that is to come and has a label already.

    It is None where the layout is another.
    """
    if packed[0] != LAYOUT:
        return None
    _, flags, *_, time, _ = HEAD.unpack_from(packed)
    if flags & LABELLED:
        (label,) = LAST_LABEL.unpack_from(packed, len(packed) - LAST_LABEL.size)
        return int(max(time, label))
    return int(time)


def seen_number(column: int, value: int) -> int:
    """Return the number of the chunk where the last times of a column's values lie."""
    return (DISTINCTS + column) << KIND_BITS | value & (1 << KIND_BITS) - 1


def seen_in_pages(chunk: Callable[[int], bytes | None], column: int, value: int) -> int:
    """Return the time of a value's last row that has left the head, or `NEVER`."""
    data = chunk(seen_number(column, value))
    return NEVER if data is None else dict(LAST_SEEN.iter_unpack(data)).get(value, NEVER)


def integer_bytes(total: int) -> bytes:
    """Pack an integer of any size, its length left to whoever packs it."""
    return total.to_bytes(total.bit_length() // 8 + 1, "little", signed=True)


def since_of(packed: bytes, flags: int) -> list[Since]:
    """Return what the end of a head says of what has not been kept from the start."""
    if not flags & COLD:
        return []
    end = len(packed) - MANY.size - (LAST_LABEL.size if flags & LABELLED else 0)
    (many,) = MANY.unpack_from(packed, end)
    return [Since(*each) for each in SINCE.iter_unpack(packed[end - many * SINCE.size : end])]
