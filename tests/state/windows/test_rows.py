"""A key's rows against a plain list."""

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verdict.state.errors import StateError
from verdict.state.store.keyed import MemoryState
from verdict.state.windows import rows
from verdict.state.windows.rows import END, KIND_BITS, LAST, SPACING, Row, Rows

LAYOUT = struct.Struct("<qq")
OFFSETS = (3, 20, 60)
"""Of the cursors: each begins behind the rows that are so much older than the newest."""


@dataclass
class Both:
    """The same rows twice: in pages, which are written and read anew, and in a list."""

    following: int = SPACING
    state: MemoryState = field(default_factory=MemoryState)
    plain: list[Row] = field(default_factory=list)
    passed: list[int] = field(default_factory=lambda: [0] * len(OFFSETS))
    """How many rows of the list each cursor is behind."""
    newest: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        cursors = [[END, 0] for _ in OFFSETS]
        self.rows = Rows(LAYOUT, 5, self.state, 0, 0, self.following, cursors=cursors)

    def again(self) -> None:
        """Write the pages, and begin with nothing but what a head keeps."""
        old = self.rows
        old.save()
        self.rows = Rows(
            LAYOUT,
            5,
            self.state,
            *(old.first, old.last, old.following),
            list(old.open),
            [list(cursor) for cursor in old.cursors],
        )

    def append(self, ahead: int) -> None:
        self.newest += ahead
        self.number += 1
        for i, offset in enumerate(OFFSETS):
            edge = self.newest - offset

            def left(row: Row, edge: int = edge) -> bool:
                return bool(row[0] <= edge)

            gone = list(self.rows.pass_by(i, left))
            until = sum(row[0] <= edge for row in self.plain)
            assert gone == self.plain[self.passed[i] : until]
            self.passed[i] = max(until, self.passed[i])
        self.rows.append((self.newest, self.number))
        self.plain.append((self.newest, self.number))

    def insert(self, late: int) -> None:
        at = self.newest - late
        self.number += 1
        inside = [at > self.newest - offset for offset in OFFSETS]
        self.rows.insert((at, self.number), lambda i: inside[i])
        place = sum(row[0] <= at for row in self.plain)
        self.plain.insert(place, (at, self.number))
        for i, passed in enumerate(self.passed):
            if place <= passed:
                self.passed[i] = place if inside[i] else passed + 1

    def pop(self) -> None:
        if self.plain:
            self.rows.pop()
            self.plain.pop()
            self.passed = [min(passed, len(self.plain)) for passed in self.passed]

    def spill(self, _: int) -> None:
        full = len(self.rows.open) >= rows.OPEN_MAX
        before = self.rows.open[: rows.PAGE]
        assert self.rows.spill() == (before if full else [])

    def forget(self, age: int) -> None:
        """Of a time that every cursor is behind, as in `state.windows.general`."""
        until = self.newest - max(OFFSETS) - age
        had_pages = bool(self.rows.first)
        dropped = self.rows.forget(until)
        assert dropped == self.plain[: len(dropped)]
        gone = len(self.plain) - len(list(self.rows.forth(self._begin)))
        assert had_pages or not dropped
        assert all(row[0] <= until for row in self.plain[:gone])
        del self.plain[:gone]
        self.passed = [max(passed - gone, 0) for passed in self.passed]
        oldest = self.rows.oldest
        assert oldest is None or oldest > until

    @property
    def _begin(self) -> tuple[int, int]:
        return (self.rows.first or END), 0

    def check(self) -> None:
        found = self.rows
        assert list(found.forth(self._begin)) == self.plain
        behind = list(found.back(found.end))
        assert [row for _, row in behind] == self.plain[::-1]
        places = [place for place, _ in behind]
        assert places == sorted(places, reverse=True)
        assert all(found.at(place) == row for place, row in behind)
        assert found.newest == (self.plain[-1] if self.plain else None)
        for (page, index), passed in zip(found.cursors, self.passed, strict=True):
            assert list(found.forth((page, index))) == self.plain[passed:]
            assert page == END or found.at((page, index)) is not None

    def check_pages(self) -> None:
        """What is stored is what the links lead to, and no page is too long."""
        self.rows.save()
        numbers, number = [], self.rows.first
        before = None
        while number:
            data = self.state.chunks[5 << KIND_BITS | number]
            numbers.append(number)
            assert rows.LINKS.size < len(data)
            assert (len(data) - rows.LINKS.size) // LAYOUT.size <= rows.OPEN_MAX
            link, behind = rows.LINKS.unpack_from(data)
            assert before is None or link == before
            before, number = number, 0 if number == self.rows.last else behind
        assert numbers == sorted(numbers)
        assert {n & (1 << KIND_BITS) - 1 for n in self.state.chunks} == set(numbers)
        assert self.rows.following > max(numbers, default=0)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PAGE", 3)
    monkeypatch.setattr(rows, "OPEN_MAX", 6)


STEPS = st.one_of(
    st.tuples(st.just("append"), st.sampled_from([0, 0, 1, 1, 2, 30])),
    st.tuples(st.just("append"), st.integers(0, 3)),
    st.tuples(st.just("insert"), st.sampled_from([0, 1, 2, 3, 19, 20, 21, 60, 61])),
    st.tuples(st.just("insert"), st.integers(0, 90)),
    st.tuples(st.just("spill"), st.just(0)),
    st.tuples(st.just("forget"), st.integers(0, 40)),
)


@pytest.mark.usefixtures("small_pages")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(STEPS, min_size=1, max_size=25),
    length=st.integers(1, 160),
    following=st.sampled_from([SPACING, SPACING, LAST - 3 * SPACING]),
)
def test_rows_are_a_list_in_time_order(
    steps: list[tuple[str, int]], length: int, following: int
) -> None:
    both = Both(following)
    for index in range(length):
        what, by = steps[index % len(steps)]
        getattr(both, what)(by)
        both.check()
        both.check_pages()
        if index % 3 == 0:
            both.again()
            both.check()


@pytest.mark.usefixtures("small_pages")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.just("append"), st.sampled_from([0, 1, 5]))
        | st.tuples(st.just("pop"), st.integers(1, 12)),
        min_size=1,
        max_size=12,
    ),
    length=st.integers(1, 120),
    following=st.sampled_from([SPACING, LAST - 2 * SPACING]),
)
def test_the_newest_row_can_be_taken_out_through_all_pages(
    steps: list[tuple[str, int]], length: int, following: int
) -> None:
    """As candidates of an extreme are: each is spilled at once, and nothing comes late."""
    both = Both(following)
    for index in range(length):
        what, by = steps[index % len(steps)]
        if what == "pop":
            for _ in range(by):
                both.pop()
        else:
            both.append(by)
            both.spill(0)
        both.check()
        both.check_pages()
        if index % 2:
            both.again()


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("late", [0, 5, 40])
def test_a_page_that_ever_more_late_rows_fall_into_is_cut_again_and_again(late: int) -> None:
    """The numbers between two pages are soon used up; then others make room."""
    both = Both()
    for _ in range(60):
        both.append(1)
        both.spill(0)
    for index in range(600):
        both.insert(late)
        both.spill(0)
        if index % 20 == 0:
            both.check()
            both.check_pages()
            both.again()
    both.check()
    both.check_pages()


@pytest.mark.usefixtures("small_pages")
def test_the_numbers_of_pages_come_to_their_end_and_begin_anew() -> None:
    both = Both(LAST)
    for _ in range(30):
        both.append(1)
        both.spill(0)
        both.check()
        both.check_pages()
    assert both.rows.following < 30 * SPACING


def test_a_page_that_is_missing_is_named() -> None:
    both = Both()
    for _ in range(2 * rows.OPEN_MAX):
        both.append(1)
        both.spill(0)
    both.again()
    both.state.chunks.clear()
    with pytest.raises(StateError, match=f"page {5 << KIND_BITS | both.rows.last} of a key's rows"):
        list(both.rows.back(both.rows.end))
