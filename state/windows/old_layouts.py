"""Heads of layouts that are not written any more: their rows, to make a head of today's from."""

import struct
from collections.abc import Sequence
from zlib import crc32

from verdict.state.errors import StateError
from verdict.state.exact import unpack_integer
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.plan import Column
from verdict.state.windows.rows import Row

BY_COLUMN, BY_ROW = 1, 2
OLD = (BY_COLUMN, BY_ROW)
"""Layouts: the open log column by column, summaries of each chunk; the open log row by row."""
_BY_COLUMN = struct.Struct("<BIHIIQq")  # layout, mark, open rows, chunks, first chunk, seq, newest
_BY_ROW = struct.Struct("<BIHHIQq")  # layout, mark, rows, bytes to the first, first chunk, seq, …
_SUMMARY = struct.Struct("<qqI")  # first and last time, rows


def old_rows(
    state: KeyedState, head: bytes, columns: Sequence[Column]
) -> tuple[int, int, list[Row], list[int]]:
    """Return seq, newest time, the rows, and the numbers of the chunks they were in.

    Raises
    ------
    StateError
        The head is of other columns.
    """
    codes = "".join(column.code for column in columns)
    of = _BY_COLUMN if head[0] == BY_COLUMN else _BY_ROW
    _, mark, count, *_, seq, newest = of.unpack_from(head)
    meaning = ", ".join(
        f"{column.meaning} as {column.code} of scale {column.scale}" for column in columns
    )
    if mark != crc32(f"{codes} {meaning}".encode()):
        raise StateError(
            f"the stored state is of other aggregates than '{meaning}', and of a release that "
            "kept no account of them: start from an empty state folder, or go back to the "
            "pipeline file that wrote it"
        )
    if head[0] == BY_ROW:
        skip = _BY_ROW.unpack_from(head)[3]
        rows = list(struct.iter_unpack("<q" + codes, head[_BY_ROW.size + skip :]))
        return seq, newest, rows, []
    _, _, _, chunks, first, _, _ = _BY_COLUMN.unpack_from(head)
    open_, end = _log(head, _BY_COLUMN.size, count, codes)
    rows, numbers = [], list(range(first, first + chunks))
    for number in numbers:
        _, _, length = _SUMMARY.unpack_from(head, end)
        end += _SUMMARY.size
        for code in codes:
            end += struct.calcsize(f"<I2{code}")
            _, end = unpack_integer(head, end)
        data = state.chunk(number)
        if data is None:
            raise StateError(
                f"chunk {number} of a key's window log is missing: the state is damaged; "
                "restore it from a checkpoint or a copy"
            )
        rows += _log(data, 0, length, codes)[0]
    return seq, newest, rows + open_, numbers


def _log(data: bytes, at: int, count: int, codes: str) -> tuple[list[Row], int]:
    layout = struct.Struct(f"<{count}q" + "".join(f"{count}{code}" for code in codes))
    flat = layout.unpack_from(data, at)
    columns = [flat[count * i : count * (i + 1)] for i in range(1 + len(codes))]
    return list(zip(*columns, strict=True)), at + layout.size
