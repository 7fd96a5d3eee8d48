"""Heads that were written for another plan, or by another release."""

import json
import math
import runpy
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows import rows
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.head import Packing
from verdict.state.windows.migrate import read_old_head
from verdict.state.windows.plan import Column, Plan

LAYOUT_3 = Path(__file__).parents[1] / "fixtures" / "make_windows_layout_3.py"


def test_layout_3_is_read() -> None:
    """Its fixture goes on as a state does that never left memory, under another plan too."""
    made = runpy.run_path(str(LAYOUT_3))
    written, run = json.loads(made["FILE"].read_text()), made["run"]
    columns, asked, retention = made["COLUMNS"], made["ASKED"], made["RETENTION"]

    def read() -> MemoryState:
        state = MemoryState()
        state.put(bytes.fromhex(written["head"]))
        for number, data in written["chunks"].items():
            state.put_chunk(int(number), bytes.fromhex(data))
        return state

    aggregates = Aggregates(asked, columns, retention)
    expected = run(aggregates, MemoryState(), 0, 300)
    state = read()
    assert run(aggregates, state, 260, 300) == expected
    assert state.chunks
    # Another plan reads what was written byte by byte, whatever this release would write.
    other = Aggregates([*asked, Aggregate("min", 600_000, 1)], columns, retention)
    found = run(other, read(), 260, 300)
    for each, value, before in zip(asked, found, expected, strict=False):
        if each.decayed:
            assert value is not None and math.isclose(value, before, rel_tol=1e-9)
        else:
            assert value == before, each


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-99, 99)), max_size=300), st.booleans())
def test_a_head_says_all_its_rows_and_chunks(events: list[tuple[int, int]], wide: bool) -> None:
    columns = [Column("q", meaning="distinct shop"), Column("d" if wide else "q", meaning="amount")]
    plan = Plan(
        [Aggregate("distinct", 10_000, 0), Aggregate("max", 10_000, 1), Aggregate("std", 500, 1)],
        columns,
        retention=10_000,
    )
    aggregates = Aggregates(plan.asked, columns, plan.retention)
    state, at, expected = MemoryState(), 0, []
    for gap, value in events:
        at += gap
        row = (at, value % 7, float(value) if wide else value)
        aggregates.update(state, at, row[1:])
        expected.append(row)
    if not events:
        return
    old = read_old_head(state, state.head or b"")
    assert (old.seq, old.newest, old.retention) == (len(events), at, 10_000)
    assert [(time, amount) for time, _, amount in old.rows] == [
        (time, amount) for time, _, amount in expected
    ]
    assert set(state.chunks) <= set(old.chunks)
    assert [mark for mark, _ in old.columns] == Packing(plan).marks
    assert bool(state.chunks) == (len(events) > rows.OPEN_MAX)
