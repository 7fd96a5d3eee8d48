"""A hop's order is found again from what it says of each event, whatever is read first."""

import random
from itertools import permutations
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from verdict.pipelines.replay.order import NONE, PASS, Order, Places, Sequencer, order

HORIZON = 10


class Took(NamedTuple):
    """What a hop says of an event that it took."""

    seq: int
    late: bool


def hop(times: list[int]) -> list[Took]:
    """Take events of one key, in order; after a silence the key begins anew."""
    newest, seq, said = None, 0, []
    for time in times:
        if newest is not None and time - newest >= HORIZON:
            newest, seq = None, 0
        seq += 1
        late = newest is not None and time < newest
        newest = time if newest is None else max(newest, time)
        said.append(Took(seq, late))
    return said


def places_of(key: str, times: list[int], said: list[Took], read: list[int]) -> Places:
    """Say it of each event, as their decisions are read; ``read`` has places in the hop's order."""
    places = Places()
    for at in read:
        places.add(key, said[at].seq, times[at], said[at].late, at=at)
    return places


def chain(line: Order, size: int) -> list[int]:
    """Return the numbers of one key's decisions in the order that was found."""
    following = {line.before[number]: number for number in range(size)}
    found = [following[NONE]]
    while found[-1] in following:
        found.append(following[found[-1]])
    assert len(found) == size
    return found


def all_orders(times: list[int], said: list[Took]) -> list[tuple[int, ...]]:
    """Try all: in which orders would the hop have said this of the events?"""
    return [
        tried
        for tried in permutations(range(len(times)))
        if hop([times[at] for at in tried]) == [said[at] for at in tried]
    ]


TIMES = st.lists(st.integers(0, 45), min_size=1, max_size=6)


@given(times=TIMES, seed=st.integers(0, 1 << 16))
def test_the_hop_could_have_taken_the_events_in_the_order_that_is_found(
    times: list[int], seed: int
) -> None:
    said = hop(times)
    read = list(range(len(times)))
    random.Random(seed).shuffle(read)
    line = order(places_of("a", times, said, read), bytearray([1] * len(times)), HORIZON)
    found = tuple(read[number] for number in chain(line, len(times)))
    possible = all_orders(times, said)
    assert found in possible
    assert all(not hole.missing for hole in line.holes.values())


@given(steps=st.lists(st.integers(0, HORIZON - 1), min_size=1, max_size=12), data=st.data())
def test_what_is_not_there_leaves_a_hole_of_its_size(steps: list[int], data: st.DataObject) -> None:
    """One sequence, in order; some events lost their decision, and some decisions their event."""
    times = [sum(steps[: at + 1]) for at in range(len(steps))]
    fates = data.draw(st.lists(st.sampled_from("tdn"), min_size=len(times), max_size=len(times)))
    said = hop(times)
    read = [at for at, fate in enumerate(fates) if fate != "n"]  # n: no decision
    there = bytearray(fates[at] == "t" for at in read)  # d: a decision, and no event
    line = order(places_of("a", times, said, read), there, HORIZON)
    before = NONE
    reached = 0
    for number, at in enumerate(read):
        if not there[number]:
            assert line.before[number] == NONE
            continue
        between = fates[reached:at]
        hole = line.holes.get(number)
        assert (hole.missing if hole else 0) == len(between)
        assert (hole.unknown if hole else 0) == between.count("n")
        assert line.before[number] == before
        before, reached = number, at + 1
    assert line.ends.tolist() == ([before] if before != NONE else [])


@given(
    keys=st.lists(st.sampled_from(["a", "b", None]), max_size=20),
    choose=st.randoms(),
    data=st.data(),
)
def test_events_are_given_in_that_order_however_they_come(
    keys: list[str | None], choose: random.Random, data: st.DataObject
) -> None:
    """All come but for some that are dropped; those without the entity wait for nobody."""
    taken = dict.fromkeys(("a", "b"), 0)
    places = Places()
    for at, key in enumerate(keys):
        if key is None:
            places.add(None, None, at)
            continue
        taken[key] += 1
        places.add(key, taken[key], at, at=at)
    line = Sequencer(order(places, bytearray([1] * len(keys)), 1_000))
    come = list(range(len(keys)))
    choose.shuffle(come)
    dropped = data.draw(st.sets(st.sampled_from(come))) if come else set()
    given_out: list[int] = []
    for number in come:
        ready = line.drop(number) if number in dropped else line.take(number, number)
        given_out += [item for item, _ in ready]
    for key in ("a", "b"):
        expected = [at for at, each in enumerate(keys) if each == key and at not in dropped]
        if not any(keys[number] == key for number in dropped):
            assert [at for at in given_out if keys[at] == key] == expected
    assert set(given_out) | set(dropped) == set(come)
    assert list(line.awaited()) == []


def test_what_is_waited_for_is_said_and_releases_all_behind_it() -> None:
    places = Places()
    for seq in (1, 2, 3):
        places.add("a", seq, seq)
    line = Sequencer(order(places, bytearray([1, 1, 1]), HORIZON))
    assert [*line.take(2, "third"), *line.take(1, "second")] == []
    assert list(line.awaited()) == [0]
    assert [item for item, _ in line.drop(0)] == ["second", "third"]


def test_an_event_without_decision_takes_a_number_that_nobody_has() -> None:
    places = Places()
    for seq in (1, 3, 5):
        places.add("a", seq, seq)
    line = Sequencer(order(places, bytearray([1, 1, 1]), HORIZON))
    assert list(line.take_unknown("a", 2, "too early")) == []  # the first must come before
    assert list(line.take(0, "1")) == [("1", NONE), ("too early", 1)]
    assert line.fill(1, 2) and not line.fill(1, 2)
    assert list(line.take(1, "3")) == [("3", NONE)]
    assert line.lacks("a") and not line.lacks("b")
    assert list(line.take_unknown("a", 4, "4")) == [("4", 2)]
    assert line.fill(2, 4)
    assert list(line.take_unknown("a", 4, "never logged")) == [("never logged", PASS)]
    assert list(line.take(2, "5")) == [("5", NONE)]
    assert list(line.take_unknown("a", 6, "behind the last")) == [("behind the last", NONE)]


def test_as_read_nothing_waits() -> None:
    places = Places()
    for seq in (2, 1):
        places.add("a", seq, seq)
    line = Sequencer(order(places, bytearray([1, 1]), HORIZON), as_read=True)
    assert list(line.take(0, "second")) == [("second", NONE)]
    assert list(line.take_unknown("a", 3, "unknown")) == [("unknown", NONE)]
