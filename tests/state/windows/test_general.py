"""Exact windows against a recomputation from the raw events."""

import math
import random
import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from verdict.state.errors import StateError
from verdict.state.store.keyed import MemoryState
from verdict.state.store.rocks import RocksStore
from verdict.state.windows import fast, rows
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.general import Windows
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.values import NULL, Number

CENTS, UNITS, KM, FLAG, SHOP = range(5)
COLUMNS = [
    Column("q", 2, nullable=True, meaning="cents"),
    Column("q", 0, nullable=False, meaning="units"),
    Column("d", meaning="km"),
    Column("?", meaning="flag"),
    Column("q", meaning="distinct shop"),
]
WINDOWS = (1, 50, 400)
DELAY = 150
LATENESS = 200  # so that late events fall into pages, not only into the head
RETENTION = max(WINDOWS) + DELAY + LATENESS
HALF_LIVES = (7, 300)
ASKED = [
    *(Aggregate("count", window) for window in WINDOWS),
    *(Aggregate("count", window, delay=DELAY) for window in WINDOWS),
    *(
        Aggregate(op, window, column, current=current)
        for window in WINDOWS
        for op in ("count", "sum", "mean", "std", "min", "max", "first", "last")
        for column in (CENTS, UNITS, KM)
        for current in (True, False)
    ),
    *(
        Aggregate(op, window, column, DELAY)
        for window in WINDOWS
        for op in ("count", "sum", "mean", "std")
        for column in (CENTS, UNITS, KM)
    ),
    *(Aggregate("count", window, FLAG) for window in WINDOWS),
    *(
        Aggregate("distinct", window, SHOP, current=current)
        for window in WINDOWS
        for current in (True, False)
    ),
    *(
        Aggregate("time_since_last", window, column)
        for window in WINDOWS
        for column in (None, CENTS, FLAG)
    ),
    *(
        Aggregate(op, half_life, column, decayed=True)
        for half_life in HALF_LIVES
        for op, column in (
            ("count", None),
            ("count", FLAG),
            ("sum", CENTS),
            ("sum", KM),
            ("mean", CENTS),
            ("mean", KM),
        )
    ),
]

Values = tuple[Number, ...]


class Raw:
    """Every event that is to be remembered, and what a recomputation from scratch makes of them."""

    def __init__(self, retention: int = RETENTION) -> None:
        self.retention = retention
        self.newest: int | None = None
        self.events: list[tuple[int, Values]] = []
        self.current: tuple[int, Values] | None = None
        self.largest = 0.0
        """Of what was added up to the last faded sum."""
        self._seen: dict[tuple[object, ...], Known] = {}
        """What has been filtered and made exact for the event that was added last."""

    def add(self, at: int, values: Values) -> int:
        """Remember an event unless it is too late; return how late it is."""
        self._seen.clear()
        late = 0 if self.newest is None else max(self.newest - at, 0)
        self.newest = at if self.newest is None else max(self.newest, at)
        self.current = None
        if late < self.retention:
            self.current = at, values
            self.events.append(self.current)
        return late

    def value(self, asked: Aggregate, at: int) -> float | None:
        """What an aggregate is for the event that was added last."""
        op, over, column, delay, current, decayed = asked
        without = (not current or op == "time_since_last") and self.current is not None
        if decayed:
            return self._faded(asked, self.events[:-1] if without else self.events)
        which = (at, over, column, delay, without)
        if which not in self._seen:
            self._seen[which] = self._known(asked, at, without)
        known = self._seen[which]
        if op == "time_since_last":
            return (at - known.times[-1]) / 1000 if known.times else None
        return float(len(known.times)) if column is None else recomputed(op, column, known)

    def _known(self, asked: Aggregate, at: int, without: bool) -> "Known":
        _, over, column, delay, _, _ = asked
        events = self.events[:-1] if without else self.events
        if len(events) > 4 * RETENTION:  # they come in time order but for the late
            events = events[-4 * RETENTION :]
        inside = [event for event in events if at - delay - over < event[0] <= at - delay]
        inside.sort(key=lambda event: event[0])
        if column is None:
            return Known([time for time, _ in inside], [], 1)
        inside = [event for event in inside if not missing(event[1][column])]
        unit = 100 if column == CENTS else 1
        return Known([time for time, _ in inside], [each[column] for _, each in inside], unit)

    def _faded(self, asked: Aggregate, events: list[tuple[int, Values]]) -> float | None:
        op, half_life, column, _, _, _ = asked
        assert self.newest is not None
        weights, total = 0.0, 0.0
        parts = []
        for time, values in events:
            if column is not None and missing(values[column]):
                continue
            weight = 2.0 ** -((self.newest - time) / half_life)
            weights += weight
            parts.append(weight * values[column] if column is not None else weight)
        total = math.fsum(parts)
        self.largest = max(map(abs, parts), default=0.0)  # what is rounded is rounded to it
        if column == CENTS and op != "count":
            total /= 100
        if op == "count":
            return weights
        if op == "mean":
            return total / weights if weights > 1e-9 else None
        return total


class Known:
    """The values of a window, and exactly what several aggregates are made of."""

    def __init__(self, times: list[int], values: list[Number], unit: int) -> None:
        self.times = times
        self.values = values
        self.unit = unit

    @cached_property
    def _integers(self) -> tuple[list[int], int]:
        """The values over one denominator: sums of fractions would spend all time on theirs."""
        ratios = [value.as_integer_ratio() for value in self.values]
        least = max((below for _, below in ratios), default=1)  # all are powers of two
        return [above * (least // below) for above, below in ratios], least * self.unit

    @cached_property
    def total(self) -> Fraction:
        numbers, below = self._integers
        return Fraction(sum(numbers), below)

    @cached_property
    def variance(self) -> Fraction:
        numbers, below = self._integers
        count, total = len(numbers), sum(numbers)
        squares = sum((count * number - total) ** 2 for number in numbers)
        return Fraction(squares, (count * below) ** 2 * (count - 1))


def missing(value: Number) -> bool:
    return value is False or value == NULL or value != value


def recomputed(op: str, column: int, known: Known) -> float | None:
    try:
        return _recomputed(op, column, known)
    except OverflowError:  # beyond the largest double
        return None


def _recomputed(op: str, column: int, known: Known) -> float | None:
    values = known.values
    if op == "count":
        return float(len(values))
    if op == "distinct":
        return float(len(set(values)))
    if op == "sum":
        return float(known.total)
    if not values:
        return None
    if op == "mean":
        if column == KM:
            return float(known.total) / len(values)
        return float(known.total / len(values))
    if op == "std":
        return math.sqrt(float(known.variance)) if len(values) > 1 else None
    chosen = {"min": min, "max": max, "first": lambda x: x[0], "last": lambda x: x[-1]}[op](values)  # type: ignore[operator]
    return float(Fraction(chosen) / known.unit)


def bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("<d", value + 0.0)


def close(found: float | None, expected: float | None, largest: float = 0.0) -> bool:
    if found is None or expected is None:  # what has faded to nothing
        return (found or 0.0) == (expected or 0.0) or expected is None or abs(expected) < 1e12
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-6 + 1e-12 * largest)


@pytest.fixture(params=[None, 4], ids=["pages of 64", "pages of 4"])
def small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So small that a short stream has many."""
    if request.param is not None:
        monkeypatch.setattr(rows, "PAGE", request.param)
        monkeypatch.setattr(rows, "OPEN_MAX", 2 * request.param)
        monkeypatch.setattr(fast, "OPEN_MAX", 2 * request.param)
    return rows.PAGE


class Pair:
    """The same key twice: by whatever way is quickest, and by the general one."""

    def __init__(self, asked: list[Aggregate] = ASKED, retention: int = RETENTION) -> None:
        self.asked = asked
        self.aggregates = Aggregates(asked, COLUMNS, retention)
        self.windows = Windows(Plan(asked, COLUMNS, retention))
        self.quick, self.general = MemoryState(), MemoryState()

    def update(self, at: int, values: Values) -> list[float | None]:
        found = self.aggregates.update(self.quick, at, values)
        assert list(map(bits, found.values)) == list(
            map(bits, self.windows.update(self.general, at, values).values)
        )
        assert self.quick.head == self.general.head
        assert self.quick.chunks == self.general.chunks
        return found.values

    def check(self, found: list[float | None], raw: Raw, at: int) -> None:
        for asked, value in zip(self.asked, found, strict=True):
            expected = raw.value(asked, at)
            if asked.decayed:
                assert close(value, expected, raw.largest), (asked, at, value, expected)
            else:
                assert bits(value) == bits(expected), (asked, at, value, expected)


# Examples by hand


INTEGERS = Column("q")


def windows(*asked: Aggregate, column: Column = INTEGERS, retention: int = 1_000) -> Aggregates:
    return Aggregates(asked, [column], retention)


def test_the_one_exactly_a_window_older_is_out() -> None:
    sums, state = windows(Aggregate("sum", 100, 0), Aggregate("sum", 101, 0)), MemoryState()
    sums.update(state, 0, [1])
    sums.update(state, 1, [10])
    assert sums.update(state, 100, [100]).values == [110.0, 111.0]
    sums.update(state, 101, [0])
    assert sums.look(state, 101).values == [100.0, 110.0]


def test_events_of_one_time_see_those_that_came_before() -> None:
    counts, state = windows(Aggregate("count", 1)), MemoryState()
    assert [counts.update(state, 7, [0]).values for _ in range(3)] == [[1.0], [2.0], [3.0]]


def test_decimals_are_summed_as_integers() -> None:
    column = Column("q", scale=2)
    both, state = (
        windows(Aggregate("sum", 100, 0), Aggregate("mean", 100, 0), column=column),
        MemoryState(),
    )
    for at in range(10):
        found = both.update(state, at, [10])
    assert found.values == [1.0, 0.1]


def test_what_is_asked_of_six_events_by_hand() -> None:
    """The shops are 7, 7, 8, 8, 7, none; the event itself is the last."""
    asked = [
        Aggregate("count", 10),
        Aggregate("count", 10, current=False),
        Aggregate("std", 10, 0),
        Aggregate("first", 10, 0),
        Aggregate("last", 10, 0),
        Aggregate("last", 10, 0, current=False),
        Aggregate("distinct", 10, 1),
        Aggregate("time_since_last", 10),
        Aggregate("time_since_last", 10, 2),
        Aggregate("sum", 3, 0, 4),
        Aggregate("count", 4, decayed=True),
    ]
    columns = [Column("q"), Column("q"), Column("?")]
    aggregates, state = Aggregates(asked, columns, 20), MemoryState()
    for at, value, shop, flag in (
        (0, 2, 7, True),
        (4, 4, 7, False),
        (8, 4, 8, True),
        (8, 5, 8, False),
        (12, NULL, 7, False),
        (12, 9, NULL, False),
    ):
        found = aggregates.update(state, at, [value, shop, flag]).values
    # In (2, 12] are 4, 4, 5, none and 9.
    deviation = math.sqrt(((1.5**2) * 2 + 0.5**2 + 3.5**2) / 3)
    faded = 2 + 2 * 2**-1 + 2**-2 + 2**-3
    assert found == [5.0, 4.0, deviation, 4.0, 9.0, 5.0, 2.0, 0.0, 0.004, 9.0, faded]


def test_a_late_event_sees_its_own_past_and_enters_the_windows_of_others() -> None:
    sums, state = windows(*(Aggregate("sum", w, 0) for w in (50, 61, 62))), MemoryState()
    sums.update(state, 100, [1])
    late = sums.update(state, 40, [10])
    assert (late.values[0], late.late, late.seq) == (10.0, True, 2)
    after = sums.update(state, 101, [100])
    assert (after.values[1:], after.late, after.seq) == ([101.0, 111.0], False, 3)


def test_an_event_older_than_the_retention_is_flagged_and_not_logged() -> None:
    counts, state = (
        windows(Aggregate("count", 1), Aggregate("count", 100), retention=100),
        MemoryState(),
    )
    counts.update(state, 1_000, [0])
    for at, entries in ((901, 1.0), (900, 0.0), (-5, 0.0)):
        found = counts.update(state, at, [0])
        assert (found.late, found.values[0]) == (True, entries), at
    found = counts.update(state, 1_000, [0])
    assert (found.seq, found.late, found.values[1]) == (5, False, 3.0)


def test_nothing_is_kept_that_no_window_can_see() -> None:
    pair = Pair()
    for at in range(700):
        pair.update(at, (1, 2, 0.5, True, at))
    assert len(pair.quick.chunks) > 8
    pair.update(100_000, (1, 2, 0.5, True, 3))
    assert not pair.quick.chunks
    pair.update(200_000, (1, 2, 0.5, True, 3))
    first = MemoryState()
    pair.aggregates.update(first, 0, (1, 2, 0.5, True, 3))
    assert len(pair.quick.head or b"") < len(first.head or b"") + 100


def test_a_key_that_was_silent_for_long_begins_anew() -> None:
    day = 2 * 86_400_000
    asked = [Aggregate("count", 1_000), Aggregate("count", day // 1_000, decayed=True)]
    counts, state, windows_ = (
        Aggregates(asked, [], 1_000),
        MemoryState(),
        Windows(Plan(asked, [], 1_000)),
    )
    general = MemoryState()
    steps = [0, 1, day, 2 * day - 1, 3 * day - 1, 3 * day - 1 + 5 * day, 20 * day]
    found = [counts.update(state, at, []) for at in steps]
    assert [each.seq for each in found] == [1, 2, 3, 4, 1, 1, 1]
    assert found[-1].values == [1.0, 1.0]
    assert [windows_.update(general, at, []) for at in steps] == found
    # As if its state had been deleted.
    fresh = MemoryState()
    counts.update(fresh, 20 * day, [])
    assert fresh.head == state.head


def test_a_log_that_keeps_nothing_goes_on() -> None:
    nothing, state = Aggregates([], [], 0), MemoryState()
    assert [nothing.update(state, at, []).late for at in (5, 6, 3, 6)] == [
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("padding", [0, 3 * rows.OPEN_MAX])
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
    asked = [Aggregate(op, 10_000, 0) for op in ("sum", "mean")]
    both, state = windows(*asked, column=Column("d"), retention=10_000), MemoryState()
    for at, value in enumerate([*values, *[0.0] * padding]):
        found = both.update(state, at, [value])
    mean = None if total is None else total / (len(values) + padding)
    assert found.values == [total, mean]


def test_sums_beyond_64_bits() -> None:
    asked = [Aggregate(op, 2, 0) for op in ("sum", "mean", "std")]
    both, state = windows(*asked, retention=2), MemoryState()
    largest = 2**63 - 1
    assert both.update(state, 0, [largest]).values == [float(largest), float(largest), None]
    assert both.update(state, 1, [largest]).values == [float(2 * largest), float(largest), 0.0]
    assert both.update(state, 2, [1]).values[0] == float(largest + 1)
    assert both.update(state, 9, [1]).values == [1.0, 1.0, None]


def test_a_zero_has_no_sign_wherever_it_lies() -> None:
    asked = [Aggregate(op, 10_000, 0) for op in ("sum", "mean", "min", "max", "first", "last")]
    zeros, state = windows(*asked, column=Column("d"), retention=10_000), MemoryState()
    for at in range(300):
        for value in zeros.update(state, at, [-0.0 if at % 2 else 0.0]).values:
            assert struct.pack("<d", value) == struct.pack("<d", 0.0)


def test_there_is_no_other_aggregate() -> None:
    with pytest.raises(ValueError, match="there are the aggregates count, sum"):
        windows(Aggregate("median", 1, 0))


def test_more_extremes_than_there_are_kinds_of_chunks_are_refused() -> None:
    columns = [Column("q", meaning=f"c{i}") for i in range(64)]
    for op in ("min", "distinct"):
        with pytest.raises(StateError, match="more than 63 arguments of min, max and distinct"):
            Aggregates([Aggregate(op, 10, i) for i in range(64)], columns, 10)


def test_a_page_that_is_gone_is_said_to_be() -> None:
    counts, state = windows(Aggregate("count", 250), retention=10_000), MemoryState()
    for at in range(2 * rows.OPEN_MAX):
        counts.update(state, at, [0])
    state.chunks.clear()
    with pytest.raises(StateError, match="page 16 of a key's rows is missing"):
        counts.update(state, 2 * rows.OPEN_MAX, [0])


def test_a_head_of_another_layout_is_refused() -> None:
    counts, state = windows(Aggregate("count", 1)), MemoryState()
    counts.update(state, 0, [0])
    state.put(b"\xfe" + (state.head or b"")[1:])
    with pytest.raises(StateError, match="layout 254, this release reads 1 to 3"):
        counts.update(state, 1, [0])


def test_the_cost_of_an_event_does_not_grow_with_its_window() -> None:
    """Pages that are read and written for one event, in a window of 1,000 and of 8,000."""

    class Counting(MemoryState):
        touched = 0

        def chunk(self, number: int) -> bytes | None:
            self.touched += 1
            return super().chunk(number)

        def put_chunk(self, number: int, data: bytes) -> None:
            self.touched += 1
            super().put_chunk(number, data)

    asked = [a for a in ASKED if a.op != "distinct"]
    most = {}
    for population in (1_000, 8_000):
        longer = [a._replace(over=population if a.over == 400 else a.over) for a in asked]
        aggregates, state = Aggregates(longer, COLUMNS, population + DELAY), Counting()
        source = random.Random(5)
        touched = []
        for at in range(2 * population):
            state.touched = 0
            amount = source.randint(1, 10_000)
            aggregates.update(state, at, (amount, amount, amount / 7, True, 1))
            touched.append(state.touched)
        most[population] = sum(touched[population:]) / population
    assert most[8_000] <= 1.1 * most[1_000], most


def test_an_event_from_ahead_of_time_lets_no_head_grow() -> None:
    """All that follow it are late; and however many they are, they lie in pages."""
    pair, day = (
        Pair([Aggregate("count", 500_000), Aggregate("distinct", 500_000, SHOP)], 1_000_000),
        400_000,
    )
    pair.update(day, (1, 2, 0.5, True, 1))
    values = [pair.update(at, (1, 2, 0.5, True, at % 7)) for at in range(1_000)]
    assert values[-1] == [1_000.0, 7.0]
    row = struct.calcsize("<qqqd?q")
    assert len(pair.quick.head or b"") < rows.OPEN_MAX * row + 1_000
    assert max(map(len, pair.quick.chunks.values())) <= rows.OPEN_MAX * row + 8
    assert pair.update(day, (1, 2, 0.5, True, 1)) == [1_002.0, 7.0]


def test_more_late_events_of_one_time_than_a_page_has_places_for() -> None:
    """As when a partition is read to its end before another one is begun."""
    counts, state = windows(Aggregate("count", 100_000), retention=100_000), MemoryState()
    for at in range(3 * rows.OPEN_MAX):
        counts.update(state, at, [0])
    for _ in range(3_000):
        counts.update(state, 50, [0])
    assert counts.update(state, 50, [0]).values == [51.0 + 3_001]
    assert counts.look(state, 1_000).values == [3.0 * rows.OPEN_MAX + 3_001]
    assert max(map(len, state.chunks.values())) <= rows.OPEN_MAX * 16 + 8


# Against the recomputation

AHEAD = st.tuples(st.just("ahead"), st.integers(0, 3))
LATE = st.tuples(st.just("late"), st.integers(1, LATENESS) | st.integers(1, 2 * RETENTION))
SOME_CENTS = st.one_of(
    st.integers(-1_000_000, 1_000_000), st.sampled_from([NULL, 0, 2**62, NULL + 1, 2**63 - 1])
)
FLOATS = st.one_of(
    st.floats(-1e12, 1e12), st.sampled_from([math.nan, 0.1, -0.0, 1e300, -1e300, 5e-324])
)
ROW = st.tuples(
    SOME_CENTS, st.integers(-99, 99), FLOATS, st.booleans(), st.sampled_from([NULL, 1, 2, 3, -4])
)


@pytest.mark.usefixtures("small_pages")
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # Two lists that are gone through again and again make a long stream that shrinks well.
    steps=st.lists(AHEAD | AHEAD | LATE, min_size=1, max_size=12),
    values=st.lists(ROW, min_size=1, max_size=7),
    length=st.integers(1, 250),
    silences=st.dictionaries(
        st.integers(0, 249), st.sampled_from([50, 399, 599, 600, 601, 5_000]), max_size=2
    ),
    every=st.integers(1, 20),
)
@example([("ahead", 1)], [(1, 1, 0.1, True, 1), (NULL, 2, math.nan, False, NULL)], 250, {}, 1)
@example([("ahead", 0)], [(1, 1, 0.1, True, 1), (3, 3, 0.7, True, 2)], 250, {}, 20)
@example(  # all but one cent of it goes: less than doubles of that size can say
    [("ahead", 0)], [(2**62, 0, 0.0, False, NULL), (-(2**63) + 1, 0, 0.0, False, NULL)], 3, {}, 1
)
@example([("ahead", 3), ("late", 190), ("late", 17)], [(5, 5, 0.1, True, 1)], 250, {}, 20)
@example(
    [("ahead", 2)] * 5 + [("late", 150), ("late", 600)], [(5, 5, 0.1, True, 1)], 250, {99: 399}, 20
)
def test_every_aggregate_is_what_a_recomputation_gives(
    steps: list[tuple[str, int]],
    values: list[Values],
    length: int,
    silences: dict[int, int],
    every: int,
) -> None:
    pair, raw, newest = Pair(), Raw(), 0
    for index in range(length):
        where, by = steps[index % len(steps)]
        at = newest - by if where == "late" else newest + by + silences.get(index, 0)
        newest = max(newest, at)
        row = values[index % len(values)]
        late = raw.add(at, row)
        found = pair.update(at, row)
        # A longest window reaches as far back as the lateness allows; later events see less.
        if late <= LATENESS and (late or index % every == 0 or index == length - 1):
            pair.check(found, raw, at)
    head, chunks = pair.quick.head, dict(pair.quick.chunks)
    pair.aggregates.look(pair.quick, newest - 20)
    pair.aggregates.look(pair.quick, newest + 200)
    assert (pair.quick.head, pair.quick.chunks) == (head, chunks)


def stream(seed: int, length: int, falling: bool = False) -> Iterator[tuple[int, Values]]:
    """A busy key's events, some late, some of one time, some with missing values."""
    source = random.Random(seed)
    newest = 0
    for index in range(length):
        newest += source.choice((0, 1, 1, 2))
        late = source.randint(1, LATENESS) if source.random() < 0.1 else 0
        cents = NULL if source.random() < 0.1 else source.randint(-99_999, 99_999)
        if falling:  # each is an extreme until it is forgotten
            cents = 10_000_000 - 10 * index
        km = math.nan if source.random() < 0.1 else source.gauss(0, 1e3)
        shop = NULL if source.random() < 0.1 else source.randint(0, 300)
        yield newest - late, (cents, source.randint(0, 9), km, source.random() < 0.2, shop)


@pytest.mark.parametrize("falling", [False, True])
def test_a_dozen_pages_of_one_key(small_pages: int, falling: bool) -> None:
    pair, raw = Pair(), Raw()
    for index, (at, row) in enumerate(stream(1, min(12 * small_pages, 300) + 300, falling)):
        late = raw.add(at, row)
        found = pair.update(at, row)
        if index % 150 == 0 or (late and index % 100 == 0):
            pair.check(found, raw, at)
    # What is forgotten is dropped: pages of rows and candidates, times of shops.
    assert len(pair.quick.chunks) <= 4 * RETENTION / small_pages + 2 + 301


def test_rocksdb_reopened_around_the_first_spill(tmp_path: Path) -> None:
    aggregates, raw, store = Aggregates(ASKED, COLUMNS, RETENTION), Raw(), RocksStore(tmp_path)
    pair = Pair()
    for index, (at, row) in enumerate(stream(2, rows.OPEN_MAX + 12)):
        raw.add(at, row)
        state = store.keyed("customer", b"c1")
        pair.check(aggregates.update(state, at, row).values, raw, at)
        if index > rows.OPEN_MAX - 12 or index % 20 == 0:
            store.commit({})
            store.close()
            store = RocksStore(tmp_path)
    assert store.keyed("customer", b"c1").chunk(rows.SPACING) is not None
    store.close()


# Heads of another plan


def _only(*columns: int) -> list[Aggregate]:
    return [
        asked._replace(column=None if asked.column is None else columns.index(asked.column))
        for asked in ASKED
        if asked.column is None or asked.column in columns
    ]


@pytest.mark.parametrize("length", [20, 450])
@pytest.mark.parametrize("falling", [False, True])
def test_what_was_kept_goes_on_under_another_plan(
    small_pages: int, length: int, falling: bool
) -> None:
    """Fewer columns, then all of them: the rows of before lack what was not kept."""
    pair, raw = Pair(), Raw()
    fewer = Aggregates(_only(KM, CENTS), [COLUMNS[KM], COLUMNS[CENTS]], RETENTION)
    events = stream(3, length + 800, falling)
    state = pair.quick
    for index, (at, row) in zip(range(length), events, strict=False):
        raw.add(at, row)
        found = pair.aggregates.update(state, at, row)
        if index == length // 2:
            before = state.head, dict(state.chunks)
            fewer.look(state, at)  # changes nothing
            assert before == (state.head, state.chunks)
    for index, (at, row) in enumerate(events):
        raw.add(at, row)
        if index < 30:
            found = fewer.update(state, at, (row[KM], row[CENTS]))
            asked_of_raw = [
                asked._replace(column=None if asked.column is None else (KM, CENTS)[asked.column])
                for asked in _only(KM, CENTS)
            ]
        else:
            found = pair.aggregates.update(state, at, row)
            asked_of_raw = ASKED
        kept = (None, KM, CENTS)
        assert all(asked_of_raw[i].column not in kept for i in found.cold)
        if at != raw.newest or (index > 40 and index % 100):
            continue
        for i, (asked, value) in enumerate(zip(asked_of_raw, found.values, strict=True)):
            if asked.decayed and asked.column in kept:
                assert close(value, raw.value(asked, at), raw.largest)
            elif not asked.decayed and i not in found.cold:
                assert bits(value) == bits(raw.value(asked, at)), (asked, at)
        if index == 30:
            assert len(found.cold) > 20
    assert {ASKED[i].decayed for i in found.cold} <= {True}  # ten half-lives are more
    # What the first plan had left behind is gone.
    kinds = {number >> rows.KIND_BITS for number in state.chunks}
    assert len(state.chunks) <= 4 * RETENTION / small_pages + 2 + 301, kinds


def test_ids_before_the_head_do_not_matter() -> None:
    """Of a job that remembered ids and does not any more; see `state.store.dedupe`."""
    from verdict.state.store.dedupe import SeenState

    state, seen = MemoryState(), SeenState(1_000)
    counts = windows(Aggregate("count", 100))
    for at in (1, 2):
        assert seen.open(state, f"e{at}", b"body") is None
        seen.add(at)
        counts.update(seen, at, [0])
    assert counts.update(state, 3, [0]).values == [3.0]
