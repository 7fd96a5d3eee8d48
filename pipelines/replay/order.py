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
from itertools import pairwise
from typing import Any

import numpy as np

from verdict.pipelines.replay.sequences import HopPlace, begins_anew, sequences

NONE, PASS = -1, -2
"""In the place of a decision: there is none. In the place of a ``hop_seq``: there is no key.
`PASS` says that a hop never took an event."""


class Places:
    """What one hop says of every decided event, by the decision's number: 34 bytes for each."""

    def __init__(self) -> None:
        self.keys, self.seqs, self.times, self.at = (array("q") for _ in range(4))
        self.late, self.repeated = bytearray(), bytearray()

    def add(
        self,
        key: str | None,
        seq: int | None,
        time: int,
        late: bool = False,
        repeated: bool = False,
        at: int = 0,
    ) -> None:
        """Take what the next decision says; a hop without key or number takes no part."""
        known = key is not None and seq is not None
        self.keys.append(hash(key))
        self.seqs.append(seq if known and seq is not None else NONE)
        self.times.append(time)
        self.at.append(at)
        self.late.append(late)
        self.repeated.append(repeated)

    def place(self, number: int) -> HopPlace:
        """Return what was said of one event."""
        late, repeated = bool(self.late[number]), bool(self.repeated[number])
        return HopPlace(
            self.seqs[number], self.times[number], late, repeated, self.at[number], number
        )


Ready = tuple[Any, int]
"""An event that a hop can take; one without decision has the decision before which its number is
missing, if it needs one."""


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
    silent
        Where it begins anew: an event up to this time may have come before the silence.
    filled
        How many events without decision took such a number.
    """

    missing: int
    unknown: int
    begins: bool
    silent: int
    filled: int = 0

    def takes(self, time: int) -> bool:
        """Whether an event of a time, without decision, may have come here."""
        return self.filled < self.unknown or (self.begins and time <= self.silent)


@dataclass
class Order:
    """In which order a hop took the events that are there.

    Attributes
    ----------
    before
        Number of a decision -> number of the one that the hop took right before it, for the same
        key; `NONE` where it was the first.
    keys, ends
        The hash of every key, ascending; and of each the last decision.
    holes
        Number of a decision -> what its sequence lacks before it. Every first event of a sequence
        that follows another has one, too.
    waiting
        Hash of a key -> decisions before which numbers are unknown, in order.
    """

    before: "array[int]"
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    ends: "array[int]" = field(default_factory=lambda: array("q"))
    holes: dict[int, Hole] = field(default_factory=dict)
    waiting: dict[int, deque[int]] = field(default_factory=dict)


def order(places: Places, there: bytearray, horizon: int) -> Order:
    """Find the order of a hop.

    Parameters
    ----------
    places
        What the hop says of each decided event.
    there
        By number, whether the event itself is there to be replayed.
    horizon
        Milliseconds of silence after which a key begins anew.

    Examples
    --------
    >>> places = Places()
    >>> for key, seq in [("a", 2), ("b", 1), ("a", 1), ("a", 4)]:
    ...     places.add(key, seq, 1000 * seq)
    >>> line = order(places, bytearray([1, 1, 1, 1]), 5000)
    >>> line.before.tolist()
    [2, -1, -1, 0]
    >>> line.holes
    {3: Hole(missing=1, unknown=1, begins=False, silent=-1000, filled=0)}
    """
    line = Order(array("q", [NONE]) * len(places.seqs))
    held = np.flatnonzero(np.frombuffer(places.seqs, np.int64) != NONE)
    keys, sizes = np.unique(np.frombuffer(places.keys, np.int64)[held], return_counts=True)
    # A key's decisions side by side: of all keys at once this takes eight bytes a decision.
    held = held[np.argsort(np.frombuffer(places.keys, np.int64)[held], kind="stable")]
    start = 0
    for key, size in zip(keys.tolist(), sizes.tolist(), strict=True):
        one = [places.place(number) for number in held[start : start + size].tolist()]
        start += size
        one.sort(key=lambda place: (place.seq, place.repeated))
        several = any(begins_anew(*two, horizon) for two in pairwise(one))
        _link(line, key, sequences(one, horizon) if several else [one], there, horizon)
    return line


def _link(
    line: Order, key: int, apart: Sequence[Sequence[HopPlace]], there: bytearray, horizon: int
) -> None:
    """Note who comes before whom in a key's sequences, and what is missing between them."""
    last = NONE
    for sequence in apart:
        reached = lost = 0  # the number before; and what was decided since, and is not there
        first = True
        for place in sequence:
            counts = not place.repeated
            if not there[place.number]:
                lost += counts
                continue
            missing = max(place.seq - reached - counts, 0)
            unknown = max(missing - lost, 0)
            anew = first and last != NONE
            if missing or anew:
                hole = Hole(missing, unknown, first, place.time - horizon)
                line.holes[place.number] = hole
            if unknown or anew:
                line.waiting.setdefault(key, deque()).append(place.number)
            line.before[place.number] = last
            last, reached, lost, first = place.number, place.seq, 0, False
    if last != NONE:
        line.keys.append(key)
        line.ends.append(last)


class Sequencer:
    """Gives events to a hop in the order in which it took them when they were decided.

    An event waits for the one before it. One without decision has no number: it takes the first of
    its key that nobody has, or may have come before a silence. If neither is so, the hop did not
    log it, for it numbers all that it logs. Behind a key's last decision it makes no difference.

    Parameters
    ----------
    line
        The hop's order.
    as_read
        The hop took them as they are read: the first hop of a topic that is keyed by it, or all
        hops of one process. Then nothing waits, and what was not decided has its place, too.

    Examples
    --------
    >>> places = Places()
    >>> for seq in (1, 2, 4):
    ...     places.add("a", seq, 1000 * seq)
    >>> line = Sequencer(order(places, bytearray([1, 1, 1]), 5000))
    >>> list(line.take(1, "second")), list(line.take(0, "first"))
    ([], [('first', -1), ('second', -1)])
    >>> list(line.take_unknown("a", 3000, "undecided")), line.fill(2, 3000)
    ([('undecided', 2)], True)
    >>> list(line.take_unknown("a", 3000, "not logged")), list(line.take(2, "fourth"))
    ([('not logged', -2)], [('fourth', -1)])
    """

    def __init__(self, line: Order, as_read: bool = False) -> None:
        self._order = line
        self.as_read = as_read
        self._done = bytearray(len(line.before))
        self._next: dict[int, tuple[int, Any]] = {}
        self._behind: dict[int, list[tuple[int, Any]]] = {}

    def take(self, number: int, item: Any) -> Iterator[Ready]:
        """Take a decided event; yield what the hop can take now, in order."""
        before = self._order.before[number]
        if self.as_read or before == NONE or self._done[before]:
            yield from self._released(number, item)
            return
        self._next[before] = (number, item)

    def take_unknown(self, key: str, time: int, item: Any) -> Iterator[Ready]:
        """Take an event without decision; yield it if the hop can take it now, or did not."""
        if self.as_read:
            yield item, NONE
            return
        holes = self._order.waiting.get(hash(key))
        while holes and self._done[holes[0]]:
            holes.popleft()
        for number in holes or ():
            if self._done[number] or not self._order.holes[number].takes(time):
                continue
            before = self._order.before[number]
            if before == NONE or self._done[before]:
                yield item, number
            else:
                self._behind.setdefault(before, []).append((number, item))
            return
        yield item, PASS if self._goes_on(key) else NONE

    def fill(self, number: int, time: int) -> bool:
        """Give a number that is missing before a decision away; False if there is none left."""
        hole = self._order.holes[number]
        if not hole.takes(time):
            return False
        hole.filled += 1
        return True

    def lacks(self, key: str) -> bool:
        """Whether numbers of a key are still to come that an event without decision may have."""
        holes = self._order.waiting.get(hash(key), ())
        return any(not self._done[number] for number in holes)

    def drop(self, number: int) -> Iterator[Ready]:
        """Wait for an event no more; yield what the hop can take now."""
        if not self._done[number]:
            yield from self._released(number, None)

    def awaited(self) -> Iterator[int]:
        """Yield the events that are waited for and do not wait themselves, as they were decided."""
        waits = {number for number, _ in self._next.values()}
        yield from sorted({*self._next, *self._behind} - waits)

    def hole(self, number: int) -> Hole | None:
        """Return what is missing before an event."""
        return self._order.holes.get(number)

    def _goes_on(self, key: str) -> bool:
        """Whether a decision of a key is still to come."""
        keys, wanted = self._order.keys, hash(key)
        at = bisect_left(keys, wanted)
        return at < len(keys) and keys[at] == wanted and not self._done[self._order.ends[at]]

    def _released(self, number: int, item: Any) -> Iterator[Ready]:
        """Yield an event, None for one that is dropped, and all that waited for it alone."""
        while True:
            if item is not None:
                yield item, NONE
            self._done[number] = 1
            for hole, each in self._behind.pop(number, ()):
                yield each, hole
            following = self._next.pop(number, None)
            if following is None:
                return
            number, item = following
