"""Exact windows against a recomputation from the raw events."""

import math
import random
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state.aggregates import Aggregates, Asked, aggregate
from state.errors import StateError
from state.keyed import MemoryState
from state.rocks import RocksStore
from state.windows import (
    CHUNK_LENGTH,
    NULL,
    OPEN_MAX,
    Column,
    Number,
    View,
    WindowLog,
)

LAYOUT_1 = Path(__file__).parent / "fixtures" / "windows_layout_1.bin"
LAYOUT_2 = Path(__file__).parent / "fixtures" / "windows_layout_2.bin"

COLUMNS: tuple[Column, ...] = ("q", "d")
SCALE = 2  # of the integer column: cents
WINDOWS = (1, 50, 400)
LATENESS = 200  # so that late events fall into chunks, not only into the open log
RETENTION = max(WINDOWS) + LATENESS
ASKED = [
    (op, window, column)
    for window in WINDOWS
    for column, ops in (
        (None, ("count",)),
        (0, ("count", "sum", "mean", "min", "max")),
        (1, ("count", "sum", "mean", "min", "max")),
    )
    for op in ops
]

Values = tuple[Number, Number]


class Raw:
    """Every event that is to be remembered, and what a recomputation from scratch makes of them."""

    def __init__(self, retention: int = RETENTION) -> None:
        self.retention = retention
        self.newest: int | None = None
        self.events: list[tuple[int, Values]] = []

    def add(self, at: int, values: Values) -> int:
        """Remember an event unless it is too late; return how late it is."""
        late = 0 if self.newest is None else max(self.newest - at, 0)
        self.newest = at if self.newest is None else max(self.newest, at)
        if late < self.retention:
            self.events.append((at, values))
        return late

    def within(self, at: int, window: int, column: int | None) -> list[Number]:
        """The values in (at - window, at] in time order, those of one time as they came."""
        found = [event for event in self.events if at - window < event[0] <= at]
        found.sort(key=lambda event: event[0])
        return [0 if column is None else values[column] for _, values in found]


def recomputed(op: str, column: int | None, values: list[Number]) -> float | None:
    if column is None:
        return float(len(values))
    if column == 0:
        known = [value for value in values if value != NULL]
        exact = Fraction(int(sum(known)), 10**SCALE)
        total, mean = float(exact), float(exact / len(known)) if known else None
    else:
        known = [value for value in values if not math.isnan(value)]
        total = math.fsum(known)
        mean = total / len(known) if known else None
    if op == "count":
        return float(len(known))
    if op == "sum":
        return total
    if op == "mean":
        return mean
    if not known:
        return None
    extreme = min(known) if op == "min" else max(known)
    # A zero has no sign.
    return float(Fraction(extreme, 10**SCALE)) if column == 0 else extreme + 0.0


def bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("<d", value)


def check(view: View, raw: Raw, at: int) -> None:
    """Every aggregate of an event's view is bit for bit the recomputed one."""
    within = {
        (window, column): raw.within(at, window, column)
        for window in WINDOWS
        for column in (None, 0, 1)
    }
    for op, window, column in ASKED:
        code: Column = "q" if column is None else COLUMNS[column]
        found = aggregate(op, window, column, code, SCALE if code == "q" else 0)(view)
        expected = recomputed(op, column, within[window, column])
        assert bits(found) == bits(expected), (op, window, column, at, found, expected)


def check_aggregates(state: MemoryState, at: int, row: Values, view: View) -> None:
    """All aggregates at once, by whatever way, are those of the view; a look changes nothing."""
    aggregates = Aggregates([Asked(*asked) for asked in ASKED], COLUMNS, (SCALE, 0), RETENTION)
    found, seq, late = aggregates.update(state, at, row)
    assert (seq, late) == (view.seq, view.late)
    wanted = [
        aggregate(op, window, column, "q" if column is None else COLUMNS[column], scale)(view)
        for op, window, column in ASKED
        for scale in (SCALE if column == 0 else 0,)
    ]
    assert list(map(bits, found)) == list(map(bits, wanted))
    head = state.head
    if at == view.newest:
        assert list(map(bits, aggregates.look(state, at)[0])) == list(map(bits, wanted))
    assert state.head == head


# Examples by hand


def test_the_one_exactly_a_window_older_is_out() -> None:
    log, state = WindowLog(("q",), 1_000), MemoryState()
    log.update(state, 0, [1])
    log.update(state, 1, [10])
    view = log.update(state, 100, [100])
    assert view.entries(100) == 2
    assert aggregate("sum", 100, 0, "q", 0)(view) == 110.0
    assert aggregate("sum", 101, 0, "q", 0)(view) == 111.0


def test_state_of_other_aggregates_is_refused() -> None:
    state = MemoryState()
    WindowLog(("q",), 1_000, "amount").update(state, 0, [7])
    assert WindowLog(("q",), 2_000, "amount").update(state, 1, [1]).seq == 2  # a longer window
    for log, values in (
        (WindowLog(("d",), 1_000, "amount"), [7.0]),
        (WindowLog(("q", "q"), 1_000, "amount"), [7, 7]),
        (WindowLog(("q",), 1_000, "count"), [7]),
    ):
        with pytest.raises(StateError, match="of other aggregates"):
            log.update(state, 2, values)


def test_events_of_one_time_see_those_that_came_before() -> None:
    log, state = WindowLog((), 1_000), MemoryState()
    assert [log.update(state, 7, []).entries(1) for _ in range(3)] == [1, 2, 3]


def test_missing_values_are_no_values() -> None:
    log, state = WindowLog(("q", "d"), 1_000), MemoryState()
    view = log.update(state, 0, [NULL, math.nan])
    found = {
        (op, column): aggregate(op, 10, column, COLUMNS[column], 0)(view)
        for op in ("count", "sum", "mean", "min", "max")
        for column in (0, 1)
    }
    assert found == {
        (op, column): 0.0 if op in ("count", "sum") else None
        for op in ("count", "sum", "mean", "min", "max")
        for column in (0, 1)
    }
    assert view.entries(10) == 1


def test_decimals_are_summed_as_integers() -> None:
    log, state = WindowLog(("q",), 1_000), MemoryState()
    for at in range(9):
        log.update(state, at, [10])
    view = log.update(state, 9, [10])
    assert aggregate("sum", 100, 0, "q", 2)(view) == 1.0
    assert aggregate("mean", 100, 0, "q", 2)(view) == 0.1
    assert math.fsum([0.1] * 10) == 1.0 != sum([0.1] * 10)


def test_a_late_event_sees_its_own_past_and_enters_the_windows_of_others() -> None:
    log, state = WindowLog(("q",), 1_000), MemoryState()
    log.update(state, 100, [1])
    late = log.update(state, 40, [10])
    assert (late.late, late.seq) == (True, 2)
    assert aggregate("sum", 50, 0, "q", 0)(late) == 10.0
    after = log.update(state, 101, [100])
    assert (after.late, after.seq) == (False, 3)
    assert aggregate("sum", 62, 0, "q", 0)(after) == 111.0
    assert aggregate("sum", 61, 0, "q", 0)(after) == 101.0


def test_an_event_older_than_the_retention_is_flagged_and_not_logged() -> None:
    log, state = WindowLog((), 100), MemoryState()
    log.update(state, 1_000, [])
    for at, entries in ((901, 1), (900, 0), (-5, 0)):
        view = log.update(state, at, [])
        assert (view.late, view.entries(1)) == (True, entries), at
    view = log.update(state, 1_000, [])
    assert (view.seq, view.late, view.entries(100)) == (5, False, 3)


def test_a_chunk_that_is_half_forgotten_takes_no_event_older_than_the_retention() -> None:
    log, state = WindowLog((), 250), MemoryState()
    for at in range(300):
        log.update(state, at, [])
    assert 0 in state.chunks  # of 0 to 63, of which up to 49 is forgotten
    assert [log.update(state, 49, []).entries(1) for _ in range(2)] == [1, 1]
    assert [log.update(state, 50, []).entries(1) for _ in range(2)] == [2, 3]


def test_nothing_is_kept_that_no_window_can_see() -> None:
    log, state = WindowLog(("d",), 1_000), MemoryState()
    for at in range(700):
        log.update(state, at, [0.5])
    assert state.chunks
    view = log.update(state, 100_000, [0.5])
    assert view.entries(1_000) == 1
    assert not state.chunks
    log.update(state, 100_001, [0.5])
    assert len(state.head or b"") < 100


def test_a_log_that_keeps_nothing_goes_on() -> None:
    log, state = WindowLog((), 0), MemoryState()
    assert [log.update(state, at, []).late for at in (5, 6, 3, 6)] == [False, False, True, False]


@pytest.mark.parametrize("padding", [0, 3 * OPEN_MAX])
@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([1e308, 1e308], None),  # beyond the largest double: no value, never an infinity
        ([1e308, 1e308, -1e308, -1e308, 2.5], 2.5),  # a partial sum is, the whole is not
        ([1e308, 1e308, math.nan], None),
    ],
)
def test_sums_near_the_largest_double(
    values: list[float], total: float | None, padding: int
) -> None:
    log, state = WindowLog(("d",), 10_000), MemoryState()
    for at, value in enumerate([*values, *[0.0] * padding]):
        view = log.update(state, at, [value])
    mean = None if total is None else total / (len(values) + padding)
    assert aggregate("sum", 10_000, 0, "d", 0)(view) == total
    assert aggregate("mean", 10_000, 0, "d", 0)(view) == mean


def test_a_zero_has_no_sign_wherever_it_lies() -> None:
    log, state = WindowLog(("d",), 10_000), MemoryState()
    for at in range(3 * OPEN_MAX):
        view = log.update(state, at, [-0.0 if at % 2 else 0.0])
        for op in ("sum", "mean", "min", "max"):
            assert bits(aggregate(op, 10_000, 0, "d", 0)(view)) == bits(0.0)


def test_there_is_no_other_aggregate() -> None:
    with pytest.raises(ValueError, match="median"):
        aggregate("median", 1, 0, "q", 0)


def test_a_chunk_that_is_gone_is_said_to_be() -> None:
    log, state = WindowLog((), 10_000), MemoryState()
    for at in range(2 * OPEN_MAX):
        log.update(state, at, [])
    state.chunks.clear()
    view = log.update(state, 2 * OPEN_MAX, [])
    assert view.entries(10_000) == 2 * OPEN_MAX + 1  # chunks wholly inside are not read
    with pytest.raises(StateError, match="chunk 0 of a key's window log is missing"):
        view.entries(2 * OPEN_MAX - 10)


def test_a_head_of_another_layout_is_refused() -> None:
    log, state = WindowLog((), 1_000), MemoryState()
    log.update(state, 0, [])
    state.put(b"\xfe" + (state.head or b"")[1:])
    with pytest.raises(StateError, match="layout 254, this release reads 1"):
        log.update(state, 1, [])


# Against the recomputation

AHEAD = st.tuples(st.just("ahead"), st.integers(0, 3))
LATE = st.tuples(st.just("late"), st.integers(1, LATENESS) | st.integers(1, 2 * RETENTION))
CENTS = st.one_of(
    st.integers(-1_000_000, 1_000_000), st.sampled_from([NULL, 0, 2**62, NULL + 1, 2**63 - 1])
)
FLOATS = st.one_of(
    st.floats(-1e12, 1e12), st.sampled_from([math.nan, 0.1, -0.0, 1e300, -1e300, 5e-324])
)


@settings(max_examples=30)
@given(
    # Two lists that are gone through again and again make a long stream that shrinks well.
    steps=st.lists(AHEAD | AHEAD | LATE, min_size=1, max_size=12),
    values=st.lists(st.tuples(CENTS, FLOATS), min_size=1, max_size=7),
    length=st.integers(1, 400),
    silences=st.dictionaries(
        st.integers(0, 399), st.sampled_from([50, 399, 599, 600, 601, 5_000]), max_size=2
    ),
    every=st.integers(1, 20),
)
@example([("ahead", 1)], [(1, 0.1), (NULL, math.nan)], 400, {}, 1)
@example([("ahead", 0)], [(1, 0.1), (3, 0.7)], 300, {}, 20)  # all at one time
@example([("ahead", 3), ("late", 190), ("late", 17)], [(5, 0.1)], 400, {}, 20)
@example([("ahead", 2)] * 5 + [("late", 150), ("late", 600)], [(5, 0.1)], 400, {350: 399}, 20)
def test_every_window_is_what_a_recomputation_gives(
    steps: list[tuple[str, int]],
    values: list[Values],
    length: int,
    silences: dict[int, int],
    every: int,
) -> None:
    state, quick, raw, newest = MemoryState(), MemoryState(), Raw(), 0
    for index in range(length):
        where, by = steps[index % len(steps)]
        at = newest - by if where == "late" else newest + by + silences.get(index, 0)
        newest = max(newest, at)
        row = values[index % len(values)]
        late = raw.add(at, row)
        # Made anew for each event: all there is between two events are the state's bytes.
        view = WindowLog(COLUMNS, RETENTION).update(state, at, row)
        assert (view.seq, view.late) == (index + 1, late > 0)
        check_aggregates(quick, at, row, view)
        assert quick.chunks == state.chunks
        # A longest window reaches as far back as the lateness allows; later events see less.
        if late <= LATENESS and (late or index % every == 0 or index == length - 1):
            check(view, raw, at)


def stream(seed: int, length: int) -> list[tuple[int, Values]]:
    """A busy key's events, some late, some of one time, some with missing values."""
    source = random.Random(seed)
    events, newest = [], 0
    for _ in range(length):
        newest += source.choice((0, 1, 1, 2))
        late = source.randint(1, LATENESS) if source.random() < 0.1 else 0
        cents = NULL if source.random() < 0.1 else source.randint(-99_999, 99_999)
        number = math.nan if source.random() < 0.1 else source.gauss(0, 1e3)
        events.append((newest - late, (cents, number)))
    return events


def test_twenty_thousand_events_of_one_key() -> None:
    log, state, raw = WindowLog(COLUMNS, RETENTION), MemoryState(), Raw()
    for index, (at, row) in enumerate(stream(1, 20_000)):
        raw.add(at, row)
        view = log.update(state, at, row)
        if index % 101 == 0:
            raw.events = [event for event in raw.events if event[0] > (raw.newest or 0) - RETENTION]
            check(view, raw, at)
    assert view.seq == 20_000
    assert len(state.chunks) <= RETENTION / CHUNK_LENGTH + 2  # what is forgotten is dropped


def test_rocksdb_reopened_around_the_first_spill(tmp_path: Path) -> None:
    log, raw, store = WindowLog(COLUMNS, RETENTION), Raw(), RocksStore(tmp_path)
    spilled: list[bool] = []
    for index, (at, row) in enumerate(stream(2, OPEN_MAX + 12)):
        raw.add(at, row)
        state = store.keyed("customer", b"c1")
        check(log.update(state, at, row), raw, at)
        if index > OPEN_MAX - 12 or index % 20 == 0:
            store.commit({})
            store.close()
            store = RocksStore(tmp_path)
            spilled.append(store.keyed("customer", b"c1").chunk(0) is not None)
    store.close()
    assert spilled == sorted(spilled)
    assert not spilled[0]
    assert spilled[-1]


# Old layouts


def test_layout_1_is_read() -> None:
    state, data = MemoryState(), LAYOUT_1.read_bytes()
    while data:
        number, length = struct.unpack_from("<qI", data)
        part, data = data[12 : 12 + length], data[12 + length :]
        if number < 0:
            state.put(part)
        else:
            state.put_chunk(number, part)
    assert list(state.chunks) == [1, 2]  # 0 was forgotten

    view = WindowLog(("q", "d"), 200_000).update(state, 300_000, [30_000, 37.5])
    assert (view.seq, view.late, view.entries(60_000), view.entries(180_000)) == (
        301,
        False,
        60,
        180,
    )
    found = {
        (op, column): aggregate(op, 60_000, column, code, 0)(view)
        for op in ("count", "sum", "min", "max")
        for column, code in enumerate(COLUMNS)
    }
    assert found == {
        ("count", 0): 54.0,
        ("sum", 0): 1_462_200.0,
        ("min", 0): 24_100.0,
        ("max", 0): 30_000.0,
        ("count", 1): 51.0,
        ("sum", 1): 1_723.875,
        ("min", 1): 30.125,
        ("max", 1): 37.5,
    }
    assert aggregate("sum", 180_000, 0, "q", 0)(view) == 3_414_600.0
    assert aggregate("mean", 180_000, 0, "q", 0)(view) == 3_414_600 / 162


def test_layout_2_is_read() -> None:
    asked = [
        Asked("count", 60_000, None),
        Asked("sum", 60_000, 0),
        Asked("mean", 180_000, 0),
        Asked("max", 180_000, 1),
    ]
    wanted = [15.0, 1_395.0, 78.0, 12.5]  # of the events 86 to 100, and 56 to 100
    for others in ([], [Asked("sum", 10, 0)]):  # with other windows, too
        state = MemoryState()
        state.put(LAYOUT_2.read_bytes())
        aggregates = Aggregates([*asked, *others], ("q", "d"), (2, 0), 200_000)
        found, seq, late = aggregates.update(state, 400_000, [10_000, 12.5])
        assert (found[: len(asked)], seq, late) == (wanted, 101, False)
    state.put(LAYOUT_2.read_bytes())
    view = WindowLog(("q", "d"), 200_000).update(state, 400_000, [10_000, 12.5])
    assert (view.entries(60_000), view.part(0, 60_000).total) == (15, 139_500)


def test_other_aggregates_are_refused_and_other_windows_are_not() -> None:
    def asked(*windows: int) -> list[Asked]:
        return [Asked("sum", window, 0) for window in windows]

    state = MemoryState()
    Aggregates(asked(10), "q", [0], 1_000, "amount").update(state, 0, [7])
    assert Aggregates(asked(10, 20, 30, 40), "q", [0], 1_000, "amount").update(state, 1, [1]) == (
        [8.0] * 4,
        2,
        False,
    )
    with pytest.raises(StateError, match="of other aggregates"):
        Aggregates(asked(*range(1, 9)), "q", [0], 1_000, "items").update(state, 2, [1])


def test_the_sums_are_made_again_after_what_goes_another_way() -> None:
    asked = [Asked("sum", 100, 0), Asked("count", 100, None)]
    aggregates, state = Aggregates(asked, "q", [0], 200), MemoryState()
    aggregates.update(state, 0, [1])
    assert state.head is not None and state.head[0] == 2
    aggregates.update(state, 50, [NULL])
    assert state.head[0] == 1
    assert aggregates.update(state, 60, [5])[0] == [6.0, 3.0]
    assert aggregates.update(state, 250, [5])[0] == [5.0, 1.0]  # the null is forgotten
    assert state.head[0] == 2
    assert aggregates.update(state, 249, [7]) == ([7.0, 1.0], 5, True)
    assert state.head[0] == 1
    assert aggregates.update(state, 260, [2**63 - 1])[0] == [float(2**63 + 11), 3.0]
    assert aggregates.update(state, 460, [1])[0] == [1.0, 1.0]
