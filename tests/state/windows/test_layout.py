"""What reads single parts of a packed head."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.layout import (
    COLD,
    DISTINCTS,
    LAST_SEEN,
    LAYOUT,
    ROWS,
    Since,
    asks,
    integer_bytes,
    newest,
    seen_in_pages,
    seen_number,
    since_of,
)
from verdict.state.windows.plan import Column, Plan, Settled
from verdict.state.windows.rows import KIND_BITS
from verdict.state.windows.values import NEVER, NULL


@given(st.integers() | st.builds(lambda n: 1 << n, st.integers(0, 3000)))
def test_an_integer_comes_back(total: int) -> None:
    assert int.from_bytes(integer_bytes(total), "little", signed=True) == total


def test_an_integer_takes_no_more_bytes_than_its_bits_and_sign() -> None:
    assert [len(integer_bytes(total)) for total in (0, 127, 128, -129, 1 << 63)] == [1, 1, 2, 2, 9]


@given(st.integers(0, 62), st.integers(-(1 << 63), (1 << 63) - 1))
def test_the_values_of_a_column_have_chunks_of_its_kind(column: int, value: int) -> None:
    number = seen_number(column, value)
    assert number >> KIND_BITS == DISTINCTS + column
    assert 0 <= number < 1 << 63  # Flink's keys are signed
    assert (number - value) % (1 << KIND_BITS) == 0  # each of the next values has another


def test_values_that_share_a_chunk_are_told_apart() -> None:
    one, other = 5, 5 - (1 << KIND_BITS)
    assert seen_number(0, one) == seen_number(0, other)
    chunks = {seen_number(0, one): LAST_SEEN.pack(one, 17)}
    assert seen_in_pages(chunks.get, 0, one) == 17
    assert seen_in_pages(chunks.get, 0, other) == NEVER
    assert seen_in_pages(chunks.get, 1, one) == NEVER


def test_a_packed_head_says_what_it_is_of_and_how_new() -> None:
    plan = Plan([Aggregate("count", 5)], [], 5)
    aggregates, state = Aggregates(plan.asked, [], 5), MemoryState()
    for at in (3, 9, 7):
        aggregates.update(state, at, [])
    assert state.head is not None
    assert (asks(state.head), newest(state.head)) == (plan.asks, 9)
    assert newest(bytes([LAYOUT - 1]) + state.head[1:]) is None


def test_a_value_at_the_end_of_a_head_is_no_time() -> None:
    aggregates, state = Aggregates([Aggregate("sum", 5, 0)], [Column("q")], 5), MemoryState()
    aggregates.update(state, 9, [1 << 40])
    assert state.head is not None
    assert state.head.endswith((1 << 40).to_bytes(8, "little"))
    assert newest(state.head) == 9


def test_a_label_of_an_event_to_come_makes_a_head_newer() -> None:
    columns = [Column("q", nullable=False), Column("q", label=Settled(50, 0))]
    aggregates, state = Aggregates([Aggregate("sum", 9, 1, 50)], columns, 100), MemoryState()
    aggregates.update(state, 10, [1, NULL])
    aggregates.label(state, (30, 2, 31, 1, 0))
    assert newest(state.head or b"") == 30


def test_a_head_says_since_when_something_is_kept() -> None:
    state = MemoryState()
    for at in range(20):
        Aggregates([Aggregate("count", 5)], [], 5).update(state, at, [])
    Aggregates([Aggregate("count", 9)], [], 9).update(state, 20, [])
    assert state.head is not None
    assert since_of(state.head, COLD) == [Since(ROWS, 0, 14)]
    assert since_of(state.head, 0) == []
