"""Labels of a key's events against a recomputation from all events and labels."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows import fast, rows
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.general import Windows
from verdict.state.windows.layout import newest
from verdict.state.windows.plan import Column, Plan, Settled
from verdict.state.windows.result import LATE, REPEATED, TAKEN, UNKNOWN_IN_TIME
from verdict.state.windows.values import NEVER, NULL

IDS, CENTS, ONLINE, SOON, LATER, ONLINE_LATER, SILENT = range(7)
COLUMNS = [
    Column("q", nullable=False, meaning="id"),
    Column("q", 2, nullable=False, meaning="cents"),
    Column("?", meaning="* where online"),
    Column("q", meaning="label after 100 ms", label=Settled(100, IDS)),
    Column("q", meaning="label after 250 ms", label=Settled(250, IDS)),
    Column("q", meaning="label after 250 ms where online", label=Settled(250, IDS, where=ONLINE)),
    Column("q", meaning="label after 250 ms, or none", label=Settled(250, IDS, silence=True)),
]
OVER = (1, 40, 300)
LATENESS = 120
RETENTION = max(OVER) + 250 + LATENESS
ASKED = [
    Aggregate("count", 40),
    Aggregate("sum", 300, CENTS),
    *(
        Aggregate(op, over, column, delay)
        for over in OVER
        for op in ("rate", "count", "sum", "mean")
        for column, delay in ((SOON, 100), (LATER, 250), (ONLINE_LATER, 250), (SILENT, 250))
    ),
    Aggregate("mean", 300, CENTS, 100),
]


@dataclass
class Raw:
    """Every event and label in the order in which they came, and how new the key was then."""

    events: list[tuple[int, int, int, bool, int]] = field(default_factory=list)
    """Time, id, cents, online, and its step."""
    labels: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    """As `Windows.label` takes them, and the step."""
    newest: list[int | None] = field(default_factory=lambda: [None])
    """After each step."""

    def add(self, at: int, event: int, cents: int, online: bool) -> bool:
        newest = self.newest[-1]
        if newest is None or at > newest - RETENTION:
            self.events.append((at, event, cents, online, len(self.newest)))
        self.newest.append(at if newest is None else max(newest, at))
        return newest is None or at > newest - LATENESS

    def label(self, *label: int) -> None:
        at, event, known_at, positive, rank = label
        self.labels.append((at, event, known_at, positive, rank, len(self.newest)))
        self.newest.append(self.newest[-1])

    def label_of(self, at: int, event: int, step: int, delay: int) -> int | None:
        """The label that counts: settled at the step at which the event enters the windows."""
        first = next(
            i
            for i, newest in enumerate(self.newest)
            if i >= step and newest is not None and newest >= at + delay
        )
        if first == step:
            return None  # it came later than a label may: it enters without
        found = [
            (-rank, known_at, positive)
            for time, of, known_at, positive, rank, came in self.labels
            if (time, of) == (at, event) and came < first and known_at <= at + delay
        ]
        return max(found)[2] if found else None

    def value(self, asked: Aggregate, at: int) -> float | None:
        begin, end = at - asked.delay - asked.over, at - asked.delay
        inside = [event for event in self.events if begin < event[0] <= end]
        if asked.column in (None, CENTS):
            cents = [event[2] for event in inside]
            if asked.op == "count":
                return float(len(inside))
            total = sum(cents)
            return (
                total / 100 if asked.op == "sum" else total / (100 * len(cents)) if cents else None
            )
        if asked.column == ONLINE_LATER:
            inside = [event for event in inside if event[3]]
        labels = [self.label_of(time, of, step, asked.delay) for time, of, _, _, step in inside]
        known = [label for label in labels if label is not None]
        positive = sum(known)
        of = len(inside) if asked.op == "rate" or asked.column == SILENT else len(known)
        match asked.op:
            case "sum":
                return float(positive)
            case "count":
                return float(of)
            case _:
                return positive / of if of else None


class Pair:
    """The same key twice: by whatever way is quickest, and by the general one."""

    def __init__(self) -> None:
        self.aggregates = Aggregates(ASKED, COLUMNS, RETENTION)
        self.windows = Windows(Plan(ASKED, COLUMNS, RETENTION))
        self.quick, self.general = MemoryState(), MemoryState()

    def update(self, at: int, event: int, cents: int, online: bool) -> list[float | None]:
        values = (event, cents, online, NULL, NULL, NULL, NULL)
        found = self.aggregates.update(self.quick, at, values)
        assert found == self.windows.update(self.general, at, values)
        self._same()
        return found.values

    def label(self, *label: int) -> str:
        became = self.aggregates.label(self.quick, label)
        assert became == self.windows.label(self.general, label)
        self._same()
        return became

    def _same(self) -> None:
        assert self.quick.head == self.general.head
        assert self.quick.chunks == self.general.chunks


@pytest.fixture(params=[None, 4], ids=["pages of 64", "pages of 4"])
def small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(rows, "PAGE", request.param)
        monkeypatch.setattr(rows, "OPEN_MAX", 2 * request.param)
        monkeypatch.setattr(fast, "OPEN_MAX", 2 * request.param)


STEP = st.one_of(
    st.tuples(st.just("event"), st.integers(0, 30), st.integers(-99, 99), st.booleans()),
    st.tuples(st.just("late"), st.integers(1, 300), st.integers(-99, 99), st.booleans()),
    # Which event from the end, how long after it known, positive, rank
    st.tuples(st.just("label"), st.integers(0, 30), st.integers(0, 300), st.integers(0, 19)),
    st.tuples(st.just("early"), st.integers(0, 40), st.integers(0, 300), st.integers(0, 19)),
)


@pytest.mark.usefixtures("small_pages")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=1, max_size=25), length=st.integers(1, 160))
@example([("event", 9, 1, True), ("label", 0, 90, 1), ("event", 0, 2, False)], 160)
@example(
    [("event", 3, 1, True), ("label", 9, 90, 1), ("label", 9, 80, 2), ("late", 101, 5, True)], 160
)
@example([("early", 30, 50, 1), ("event", 7, 1, True), ("late", 260, 1, True)], 160)
def test_every_aggregate_is_what_a_recomputation_gives(
    steps: list[tuple[str, int, int, Any]], length: int
) -> None:
    pair, raw, newest = Pair(), Raw(), 1_000
    happened: list[tuple[int, int]] = []
    coming: list[tuple[int, int]] = []
    for index in range(length):
        what, by, number, choice = steps[index % len(steps)]
        if what in ("event", "late"):
            at = newest - by if what == "late" else newest + by
            event = index
            if what == "event" and coming:
                at, event = coming.pop(0)
                at = max(at, newest)
            newest = max(newest, at)
            whole = raw.add(at, event, number, choice)
            happened.append((at, event))
            found = pair.update(at, event, number, choice)
            if whole:
                expected = [raw.value(asked, at) for asked in ASKED]
                assert found == expected
        elif what == "early":
            coming.append((newest + by, 10_000 + index))
            label = (*coming[-1], newest + by + number, choice % 2, choice // 2 % 3)
            raw.label(*label)
            pair.label(*label)
        elif happened:
            at, event = happened[-1 - by % len(happened)]
            label = (at, event, at + number, choice % 2, choice // 2 % 3)
            raw.label(*label)
            pair.label(*label)


def test_by_hand() -> None:
    """Three events of a terminal; what their chargebacks make of its risk ten days later."""
    columns = [
        Column("q", nullable=False, meaning="id"),
        Column("q", meaning="label", label=Settled(700, 0)),
    ]
    terminal = Aggregates([Aggregate("rate", 1_000, 1, 700)], columns, 1_700)
    state = MemoryState()
    for at, event in ((100, 1), (200, 2), (300, 3)):
        assert terminal.update(state, at, (event, NULL)).values == [None]
    assert terminal.label(state, (200, 2, 500, 1, 0)) == TAKEN
    assert terminal.label(state, (200, 2, 500, 1, 0)) == REPEATED
    assert terminal.label(state, (100, 1, 801, 1, 0)) == UNKNOWN_IN_TIME
    # At 800 the first has entered, at 900 the second, at 1,000 the third.
    assert terminal.update(state, 800, (4, NULL)).values == [0.0]
    assert terminal.update(state, 899, (5, NULL)).values == [0.0]
    assert terminal.update(state, 900, (6, NULL)).values == [1 / 2]
    assert terminal.update(state, 1_000, (7, NULL)).values == [1 / 3]
    assert terminal.label(state, (300, 3, 900, 1, 0)) == LATE
    assert terminal.update(state, 1_100, (8, NULL)).values == [1 / 3]
    # At 1,801 the first has left it, and all but the last have entered; at 1,900 the second.
    assert terminal.update(state, 1_801, (9, NULL)).values == [1 / 7]
    assert terminal.update(state, 1_900, (10, NULL)).values == [0.0]


def test_the_best_source_decides_and_of_it_the_last_word() -> None:
    columns = [
        Column("q", nullable=False, meaning="id"),
        Column("q", meaning="label", label=Settled(100, 0)),
    ]
    for labels, expected in (
        ([(0, 1, 10, 1, 1), (0, 1, 20, 0, 0)], 0.0),  # the more trusted says no
        ([(0, 1, 20, 0, 0), (0, 1, 10, 1, 1)], 0.0),  # in whatever order they come
        ([(0, 1, 10, 1, 0), (0, 1, 20, 0, 0)], 0.0),  # it takes its word back
        ([(0, 1, 10, 1, 0), (0, 1, 101, 0, 0)], 1.0),  # but too late
        ([(0, 2, 10, 1, 0)], 0.0),  # of another event
    ):
        terminal, state = Aggregates([Aggregate("rate", 100, 1, 100)], columns, 200), MemoryState()
        terminal.update(state, 0, (1, NULL))
        for label in labels:
            terminal.label(state, label)
        assert terminal.update(state, 100, (9, NULL)).values == [expected]


def test_a_label_may_come_before_its_event_and_its_entity() -> None:
    columns = [
        Column("q", nullable=False, meaning="id"),
        Column("q", meaning="label", label=Settled(100, 0)),
    ]
    terminal, state = Aggregates([Aggregate("rate", 100, 1, 100)], columns, 200), MemoryState()
    assert terminal.label(state, (1_000, 1, 1_050, 1, 0)) == TAKEN
    found = terminal.update(state, 1_000, (1, NULL))
    assert (found.seq, found.late) == (1, False)
    assert terminal.update(state, 1_100, (2, NULL)).values == [1.0]
    assert terminal.update(state, 1_200, (3, NULL)).values == [0.0]  # (1,000, 1,100]: event 2
    assert terminal.update(state, 1_300, (4, NULL)).values == [0.0]


def test_all_labels_may_come_before_all_events() -> None:
    """As where a job reads its topics from their start: no event is late for that."""
    columns = [
        Column("q", nullable=False, meaning="id"),
        Column("q", meaning="label", label=Settled(100, 0)),
    ]
    terminal = Aggregates([Aggregate("rate", 300, 1, 100)], columns, 400)
    labels = [(7 * i, i, 7 * i + 50, int(i % 3 == 0), 0) for i in range(300)]
    random.Random(1).shuffle(labels)
    first, in_time = MemoryState(), MemoryState()
    assert [terminal.label(first, label) for label in labels] == [TAKEN] * 300
    assert newest(first.head or b"") == 7 * 299
    for i in range(300):
        for label in labels:
            if label[1] == i - 9:
                assert terminal.label(in_time, label) == TAKEN
        found = terminal.update(first, 7 * i, (i, NULL))
        assert found == terminal.update(in_time, 7 * i, (i, NULL))
        assert not found.late


@pytest.mark.usefixtures("small_pages")
def test_labels_that_wait_and_those_that_count_go_on_under_another_plan() -> None:
    asked = [Aggregate("rate", 300, 3, 100), Aggregate("rate", 300, 4, 250)]
    old = Aggregates(asked, COLUMNS, RETENTION)
    columns = [*COLUMNS[:5], Column("q", meaning="more")]
    new = Aggregates([*asked, Aggregate("sum", 300, 5)], columns, RETENTION)
    kept, before = MemoryState(), MemoryState()
    rest = (NULL,) * 4
    for index in range(120):
        at = 3 * index
        kept_found = old.update(kept, at, (index, 0, True, *rest))
        assert old.update(before, at, (index, 0, True, *rest)) == kept_found
        if index % 3 == 0:
            label = (at, index, at + 50, 1, 0)
            assert old.label(kept, label) == old.label(before, label) == TAKEN
    for index in range(120, 300):
        at = 3 * index
        found = new.update(kept, at, (index, 0, True, NULL, NULL, 1))
        assert found.values[:2] == old.update(before, at, (index, 0, True, *rest)).values
        assert set(found.cold) <= {2}
    old.forget(before)
    new.forget(kept)
    for state in (before, kept):
        assert (state.head, state.chunks) == (None, {})


def test_a_key_without_labels_to_come_costs_what_it_costs_without() -> None:
    """No label waits, or none is due: the quick way takes the event."""
    windows = Windows(Plan(ASKED, COLUMNS, RETENTION))
    update, state = fast.quick(windows), MemoryState()
    values = (1, 5, True, NULL, NULL, NULL, NULL)
    assert update(state, None, 0, values) is not None
    windows.label(state, (0, 1, 50, 1, 0))
    assert update(state, state.get(), 99, values) is not None
    assert update(state, state.get(), 100, values) is None
    windows.update(state, 100, values)
    assert update(state, state.get(), 249, values) is not None
    assert update(state, state.get(), 250, values) is None
    windows.update(state, 250, values)
    assert update(state, state.get(), 900, values) is not None


def test_a_key_is_as_new_as_the_event_of_its_last_label() -> None:
    """So it is not deleted as silent while labels of events to come wait; of any plan."""
    columns = [
        Column("q", nullable=False, meaning="id"),
        Column("q", meaning="label", label=Settled(100, 0)),
    ]
    rate = Aggregate("rate", 300, 1, 100)
    terminal, state = Aggregates([rate], columns, 400), MemoryState()
    terminal.label(state, (9_000, 2, 9_050, 1, 0))
    assert newest(state.head or b"") == 9_000
    more = Aggregates(
        [rate, Aggregate("sum", 300, 2)], [*columns, Column("q", meaning="more")], 400
    )
    more.label(state, (8_000, 3, 8_050, 1, 0))
    assert newest(state.head or b"") == 9_000
    found, time, _, labels = more.remembered(state)
    assert (found.values, time, len(labels)) == ([None, 0.0], NEVER, 2)
    more.update(state, 1_000, (1, NULL, 5))
    assert newest(state.head or b"") == 9_000
    more.update(state, 9_000, (2, NULL, 5))
    assert more.update(state, 9_100, (4, NULL, 5)).values == [1.0, 10.0]
    assert newest(state.head or b"") == 9_100
