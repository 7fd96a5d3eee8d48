"""The order in which a hop took the events of each key, and events put into it again.

What a hop finds depends on what it took before, for the same key. With several partitions or
subtasks no reading of the topic has that order; the decisions have: ``hop_seq`` is the number of an
event in the sequence of its key. Only what shares a key waits for each other, hop by hop, for the
orders of two hops may contradict each other.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

NONE = -1
"""In the place of a decision: there is none. In the place of a ``hop_seq``: there is no key."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Place(NamedTuple):
    """What one hop says of one event.

    ``number`` counts the decisions in the order in which they were read. ``repeated`` says that the
    event is a producer's retry: ``seq`` is that of the key's newest event then.
    """

    seq: int
    time: int
    late: bool
    repeated: bool
    number: int


class Places:
    """What one hop says of every decided event, by the decision's number: 26 bytes for each."""

    def __init__(self) -> None:
        self.keys, self.seqs, self.times = array("q"), array("q"), array("q")
        self.late, self.repeated = bytearray(), bytearray()

    def add(self, key: str | None, seq: int | None, time: int, late: bool, repeated: bool) -> None:
        """Take what the next decision says; a hop without key or number takes no part."""
        known = key is not None and seq is not None
        self.keys.append(hash(key))
        self.seqs.append(seq if known and seq is not None else NONE)
        self.times.append(time)
        self.late.append(late)
        self.repeated.append(repeated)


@dataclass
class Hole:
    """Numbers that a key's sequence lacks right before an event.

    Attributes
    ----------
    missing
        How many.
    unknown
        Of them, those of which no decision is known; an event without decision may have had one.
    begins
        The event is the first that is known of its sequence, which began anew.
    filled
        How many events without decision took such a number.
    """

    missing: int
    unknown: int
    begins: bool
    filled: int = 0


@dataclass
class Order:
    """In which order a hop took the events that are there.

    Attributes
    ----------
    before
        Number of a decision -> number of the one that the hop took right before it, for the same
        key; `NONE` where it was the first.
    holes
        Number of a decision -> what its sequence lacks before it. Every first event of a sequence
        that follows another has one, too.
    waiting
        Hash of a key -> decisions before which numbers are unknown, in order.
    """

    before: Numbers
    holes: dict[int, Hole] = field(default_factory=dict)
    waiting: dict[int, deque[int]] = field(default_factory=dict)


def order(places: Places, there: bytearray) -> Order:
    """Find the order of a hop.

    Parameters
    ----------
    places
        What the hop says of each decided event.
    there
        By number, whether the event itself is there to be replayed.

    Examples
    --------
    >>> places = Places()
    >>> for key, seq in [("a", 2), ("b", 1), ("a", 1), ("a", 4)]:
    ...     places.add(key, seq, 1000 * seq, False, False)
    >>> found = order(places, bytearray([1, 1, 1, 1]))
    >>> found.before.tolist()
    [2, -1, -1, 0]
    >>> found.holes
    {3: Hole(missing=1, unknown=1, begins=False, filled=0)}
    """
    keys, seqs = np.frombuffer(places.keys, np.int64), np.frombuffer(places.seqs, np.int64)
    repeated = np.frombuffer(places.repeated, np.bool_)
    found = Order(np.full(len(seqs), NONE, np.int64))
    held = np.flatnonzero(seqs != NONE)
    if not held.size:
        return found
    line = held[np.lexsort((held, repeated[held], seqs[held], keys[held]))]
    k, s, r = keys[line], seqs[line], repeated[line]
    begins = np.ones(len(line), np.bool_)
    begins[1:] = k[1:] != k[:-1]
    again = ~begins[1:] & (s[1:] == s[:-1]) & ~r[1:] & ~r[:-1]
    starts = np.append(np.flatnonzero(begins), len(line))
    for one in np.unique(np.searchsorted(starts, np.flatnonzero(again) + 1, "right") - 1):
        span = slice(starts[one], starts[one + 1])
        told = [
            Place(
                places.seqs[number],
                places.times[number],
                bool(places.late[number]),
                bool(places.repeated[number]),
                number,
            )
            for number in line[span].tolist()
        ]
        apart = sequences(told)
        line[span] = [place.number for sequence in apart for place in sequence]
        lengths = [len(sequence) for sequence in apart]
        begins[span] = False
        begins[starts[one] + np.cumsum([0, *lengths[:-1]])] = True
    _link(found, places, there, line, begins)
    return found


def _link(
    found: Order, places: Places, there: bytearray, line: Numbers, begins: np.ndarray[Any, Any]
) -> None:
    """Note who comes before whom, and what is missing between them."""
    is_there = np.frombuffer(there, np.bool_)[line]
    keys = np.frombuffer(places.keys, np.int64)[line]
    seqs = np.frombuffer(places.seqs, np.int64)[line]
    counts = ~np.frombuffer(places.repeated, np.bool_)[line]
    sequence = np.cumsum(begins)
    lost = np.cumsum(~is_there & counts)  # decided, and not there
    lost_before = np.concatenate(([0], lost))[np.flatnonzero(begins)][sequence - 1]
    at = np.flatnonzero(is_there)
    if not at.size:
        return
    numbers, keys, seqs, sequence = line[at], keys[at], seqs[at], sequence[at]
    same_key, same = np.zeros(len(at), np.bool_), np.zeros(len(at), np.bool_)
    same_key[1:], same[1:] = keys[1:] == keys[:-1], sequence[1:] == sequence[:-1]
    previous = np.concatenate(([NONE], numbers[:-1]))
    found.before[numbers] = np.where(same_key, previous, NONE)
    reached = np.where(same, np.concatenate(([0], seqs[:-1])), 0)
    missing = np.maximum(seqs - reached - counts[at], 0)
    lost_so_far = np.where(same, np.concatenate(([0], lost[at][:-1])), lost_before[at])
    unknown = np.maximum(missing - (lost[at] - lost_so_far), 0)
    for i in np.flatnonzero((missing > 0) | (same_key & ~same)).tolist():
        number = int(numbers[i])
        found.holes[number] = Hole(int(missing[i]), int(unknown[i]), not same[i])
        if unknown[i]:
            found.waiting.setdefault(int(keys[i]), deque()).append(number)


def sequences(places: Sequence[Place]) -> list[list[Place]]:
    """Take apart the sequences of one key that was silent for so long that it began anew.

    An event that is not late is no older than all before it: by their times these are in order, and
    a number that is no higher than the one before begins a sequence. A late one belongs to the
    sequence that lacks its number and whose neighbours were decided when it was.

    Examples
    --------
    >>> def place(seq, time, number, late=False):
    ...     return Place(seq, time, late, False, number)
    >>> found = sequences([place(1, 0, 0), place(2, 9, 1), place(1, 90, 2), place(2, 80, 3, True)])
    >>> [[each.number for each in sequence] for sequence in found]
    [[0, 1], [2, 3]]
    """
    firm = sorted(
        (each for each in places if not each.late and not each.repeated),
        key=lambda each: (each.time, each.seq, each.number),
    )
    found: list[dict[int, Place]] = []
    last = 0
    for each in firm:
        if not found or each.seq <= last:
            found.append({})
        found[-1][each.seq] = each
        last = each.seq
    firm_seqs = [sorted(sequence) for sequence in found]

    def distance(place: Place, index: int) -> int:
        seqs = firm_seqs[index]
        neighbour = seqs[max(0, bisect_left(seqs, place.seq + place.repeated) - 1)]
        return abs(found[index][neighbour].number - place.number)

    for each in sorted(place for place in places if place.late and not place.repeated):
        free = [i for i in range(len(firm_seqs)) if each.seq not in found[i]]
        if free:
            found[min(free, key=lambda i: distance(each, i))][each.seq] = each
        else:
            found.append({each.seq: each})
    lines = [sorted(sequence.values()) for sequence in found]
    again = [place for place in places if place.repeated]
    if again and not firm_seqs:
        return [*lines, sorted(again)]
    for each in again:
        lines[min(range(len(firm_seqs)), key=lambda i: distance(each, i))].append(each)
    return [sorted(each, key=lambda place: (place.seq, place.repeated)) for each in lines]


class Sequencer:
    """Gives events to a hop in the order in which it took them when they were decided.

    An event waits for the one before it. One without decision has no number; it takes the first of
    its key that nobody has, or the hop did not take it: a hop numbers every event that it logs.

    Parameters
    ----------
    found
        The hop's order.

    Attributes
    ----------
    held
        Events that wait.

    Examples
    --------
    >>> places = Places()
    >>> for seq in (1, 2, 4):
    ...     places.add("a", seq, 1000 * seq, False, False)
    >>> line = Sequencer(order(places, bytearray([1, 1, 1])))
    >>> line.take(1, "second"), line.take(0, "first")
    ([], ['first', 'second'])
    >>> line.take_unknown("a", "undecided"), line.take_unknown("a", "another")
    (['undecided'], None)
    >>> line.take(2, "fourth")
    ['fourth']
    """

    def __init__(self, found: Order) -> None:
        self._order = found
        self._done = bytearray(len(found.before))
        self._next: dict[int, tuple[int, Any]] = {}
        self._behind: dict[int, list[Any]] = {}
        self.held = 0

    def take(self, number: int, item: Any) -> list[Any]:
        """Take a decided event; return what the hop can take now, in order."""
        before = int(self._order.before[number])
        if before == NONE or self._done[before]:
            return self._released(number, [item])
        self._next[before] = (number, item)
        self.held += 1
        return []

    def take_unknown(self, key: str, item: Any) -> list[Any] | None:
        """Take an event without decision; None if the hop did not take it."""
        holes = self._order.waiting.get(hash(key))
        while holes:
            number = holes[0]
            hole = self._order.holes[number]
            if self._done[number] or hole.filled == hole.unknown:
                holes.popleft()
                continue
            hole.filled += 1
            before = int(self._order.before[number])
            if before == NONE or self._done[before]:
                return [item]
            self._behind.setdefault(before, []).append(item)
            self.held += 1
            return []
        return None

    def drop(self, number: int) -> list[Any]:
        """Wait for an event no more; return what the hop can take now."""
        return [] if self._done[number] else self._released(number, [])

    def awaited(self) -> Iterator[int]:
        """Yield the events that are waited for and do not wait themselves, as they were decided."""
        waits = {number for number, _ in self._next.values()}
        yield from sorted({*self._next, *self._behind} - waits)

    def hole(self, number: int) -> Hole | None:
        """Return what is missing before an event."""
        return self._order.holes.get(number)

    def _released(self, number: int, ready: list[Any]) -> list[Any]:
        while True:
            self._done[number] = 1
            behind = self._behind.pop(number, ())
            ready.extend(behind)
            self.held -= len(behind)
            following = self._next.pop(number, None)
            if following is None:
                return ready
            number, item = following
            ready.append(item)
            self.held -= 1
