"""Heads of layouts 1 and 2, as their releases wrote them."""

import struct
from pathlib import Path
from zlib import crc32

import pytest

from verdict.state.errors import StateError
from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.plan import Column

FIXTURES = Path(__file__).parents[1] / "fixtures"
LAYOUT_1 = FIXTURES / "windows_layout_1.bin"
LAYOUT_2 = FIXTURES / "windows_layout_2.bin"


def _with_mark(head: bytes, meaning: str) -> bytes:
    """The head, made for columns without a name, as it would be for these."""
    return head[:1] + struct.pack("<I", crc32(f"qd {meaning}".encode())) + head[5:]


OLD_COLUMNS = [Column("q", 2, meaning="amount"), Column("d", meaning="km")]
OLD_MEANING = "amount as q of scale 2, km as d of scale 0"


def test_layout_1_is_read() -> None:
    state, data = MemoryState(), LAYOUT_1.read_bytes()
    while data:
        number, length = struct.unpack_from("<qI", data)
        part, data = data[12 : 12 + length], data[12 + length :]
        if number < 0:
            state.put(_with_mark(part, OLD_MEANING))
        else:
            state.put_chunk(number, part)
    assert list(state.chunks) == [1, 2]  # 0 was forgotten
    asked = [
        Aggregate("count", 60_000),
        Aggregate("count", 180_000),
        *(Aggregate(op, 60_000, i) for i in (0, 1) for op in ("count", "sum", "min", "max")),
        Aggregate("sum", 180_000, 0),
        Aggregate("mean", 180_000, 0),
    ]
    aggregates = Aggregates(asked, OLD_COLUMNS, 200_000)
    found = aggregates.update(state, 300_000, [30_000, 37.5])
    assert (found.seq, found.late) == (301, False)
    assert found.values == [
        *(60.0, 180.0),
        *(54.0, 14_622.0, 241.0, 300.0),
        *(51.0, 1_723.875, 30.125, 37.5),
        *(34_146.0, 34_146 / 162),
    ]
    assert 1 not in state.chunks and 2 not in state.chunks


def test_layout_2_is_read() -> None:
    asked = [
        Aggregate("count", 60_000),
        Aggregate("sum", 60_000, 0),
        Aggregate("mean", 180_000, 0),
        Aggregate("max", 180_000, 1),
    ]
    state = MemoryState()
    state.put(_with_mark(LAYOUT_2.read_bytes(), OLD_MEANING))
    found = Aggregates(asked, OLD_COLUMNS, 200_000).update(state, 400_000, [10_000, 12.5])
    # Of the events 86 to 100, and 56 to 100.
    assert (found.values, found.seq, found.late) == ([15.0, 1_395.0, 78.0, 12.5], 101, False)


def test_an_old_layout_of_other_columns_is_refused() -> None:
    state = MemoryState()
    state.put(LAYOUT_2.read_bytes())
    with pytest.raises(StateError, match="of other aggregates than 'amount as q of scale 2"):
        Aggregates([Aggregate("count", 1)], OLD_COLUMNS, 200_000).update(state, 400_000, [1, 1.0])


def test_a_chunk_that_is_gone_is_said_to_be() -> None:
    head = LAYOUT_1.read_bytes()
    state = MemoryState()
    while head:
        number, length = struct.unpack_from("<qI", head)
        if number < 0:
            state.put(_with_mark(head[12 : 12 + length], OLD_MEANING))
        head = head[12 + length :]
    with pytest.raises(StateError, match="chunk 1 of a key's window log is missing"):
        Aggregates([Aggregate("count", 1)], OLD_COLUMNS, 200_000).update(state, 300_000, [1, 1.0])
