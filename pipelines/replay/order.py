"""The order in which a hop took the events of each key, and events put into it again.

What a hop finds depends on what it took before, for the same key. With several partitions or
subtasks no reading of the topic has that order; the decisions have: ``hop_seq`` is the number of an
event in the sequence of its key. Only what shares a key waits for each other, hop by hop, for the
orders of two hops may contradict each other.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

NONE, PASS = -1, -2
"""In the place of a decision: there is none. In the place of a ``hop_seq``: there is no key.
`PASS` says that a hop never took an event."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Place(NamedTuple):
    """What one hop says of one event.

    ``repeated`` says that the event is a producer's retry: ``seq`` is that of the key's newest one
    then. ``at`` grows in the order in which the hop took a key's events, or nearly: an offset, or
    when it was decided. ``number`` counts the decisions as they were read.
    """

    seq: int
    time: int
    late: bool
    repeated: bool
    at: int
    number: int


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
    holes
        Number of a decision -> what its sequence lacks before it. Every first event of a sequence
        that follows another has one, too.
    waiting
        Hash of a key -> decisions before which numbers are unknown, in order.
    keys, ends
        The hash of every key, ascending; and of each the last decision.
    """

    before: Numbers
    keys: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    ends: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
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
    >>> found = order(places, bytearray([1, 1, 1, 1]), 5000)
    >>> found.before.tolist()
    [2, -1, -1, 0]
    >>> found.holes
    {3: Hole(missing=1, unknown=1, begins=False, silent=-1000, filled=0)}
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
    times, late = np.frombuffer(places.times, np.int64)[line], np.frombuffer(places.late, np.bool_)
    waited, late = np.diff(times), late[line][1:]
    # Twice the same number; or the next one, though after such a silence, or late for no reason.
    again = (s[1:] == s[:-1]) | (
        (s[1:] == s[:-1] + 1) & ((waited >= horizon) | (late & (waited >= 0)))
    )
    again &= ~begins[1:] & ~r[1:] & ~r[:-1]
    starts = np.append(np.flatnonzero(begins), len(line))
    for one in np.unique(np.searchsorted(starts, np.flatnonzero(again) + 1, "right") - 1):
        span = slice(starts[one], starts[one + 1])
        told = [
            Place(
                places.seqs[number],
                places.times[number],
                bool(places.late[number]),
                bool(places.repeated[number]),
                places.at[number],
                number,
            )
            for number in line[span].tolist()
        ]
        apart = sequences(told, horizon)
        line[span] = [place.number for sequence in apart for place in sequence]
        lengths = [len(sequence) for sequence in apart]
        begins[span] = False
        begins[starts[one] + np.cumsum([0, *lengths[:-1]])] = True
    _link(found, places, there, line, begins, horizon)
    return found


def _link(
    found: Order,
    places: Places,
    there: bytearray,
    line: Numbers,
    begins: np.ndarray[Any, Any],
    horizon: int,
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
    last = np.flatnonzero(np.append(~same_key[1:], True))
    found.keys, found.ends = keys[last], numbers[last]
    reached = np.where(same, np.concatenate(([0], seqs[:-1])), 0)
    missing = np.maximum(seqs - reached - counts[at], 0)
    lost_so_far = np.where(same, np.concatenate(([0], lost[at][:-1])), lost_before[at])
    unknown = np.maximum(missing - (lost[at] - lost_so_far), 0)
    for i in np.flatnonzero((missing > 0) | (same_key & ~same)).tolist():
        number = int(numbers[i])
        silent = places.times[number] - horizon
        found.holes[number] = Hole(int(missing[i]), int(unknown[i]), not same[i], silent)
        if unknown[i] or (same_key[i] and not same[i]):
            found.waiting.setdefault(int(keys[i]), deque()).append(number)


def sequences(places: Sequence[Place], horizon: int) -> list[list[Place]]:
    """Take apart the sequences of one key that was silent for so long that it began anew.

    An event that is not late is no older than all before it: by their times these are in order, and
    a number that is no higher than the one before begins a sequence. Each late one fills a number
    that a sequence lacks, where a newer event came before it, and its neighbours were decided with
    it.

    Parameters
    ----------
    places
        Of one key.
    horizon
        Milliseconds of silence after which it begins anew.

    Examples
    --------
    >>> def place(seq, time, number, late=False):
    ...     return Place(seq, time, late, False, number, number)
    >>> found = sequences(
    ...     [place(1, 0, 0), place(2, 9, 1), place(1, 90, 2), place(2, 80, 3, True)], 50
    ... )
    >>> [[each.number for each in sequence] for sequence in found]
    [[0, 1], [2, 3]]
    """
    firm = sorted(
        (each for each in places if not each.late and not each.repeated),
        key=lambda each: (each.time, each.seq, each.number),
    )
    found: list[dict[int, Place]] = []
    last: Place | None = None
    for each in firm:
        follows = last is not None and each.seq > last.seq
        if last is not None and each.seq == last.seq + 1:
            follows = each.time - last.time < horizon
        if not follows:
            found.append({})
        found[-1][each.seq] = each
        last = each
    lines = [sorted(sequence) for sequence in found]

    def newest(index: int, seq: int) -> Place | None:
        """Return the newest event of a sequence before a number."""
        at = bisect_left(lines[index], seq) - 1
        return None if at < 0 else found[index][lines[index][at]]

    def astray(place: Place, index: int) -> int:
        """Return how far from its neighbours in a sequence a decision was made."""
        seqs = lines[index]
        low, high = bisect_left(seqs, place.seq + place.repeated) - 1, bisect_right(seqs, place.seq)
        after = found[index][seqs[high]] if high < len(seqs) else None
        if after is None and index + 1 < len(firsts):
            after = firsts[index + 1]
        before = found[index][seqs[low]]
        return max(before.at - place.at, 0) + (max(place.at - after.at, 0) if after else 0)

    firsts = [found[index][seqs[0]] for index, seqs in enumerate(lines)]
    late: dict[int, list[Place]] = {}
    for each in places:
        if each.late and not each.repeated:
            late.setdefault(each.seq, []).append(each)
    for seq in sorted(late):
        pairs = []
        for each in late[seq]:
            for index in range(len(lines)):
                before = newest(index, seq)
                if seq in found[index] or before is None:
                    continue
                reach = lines[index][-1]
                wanted = 0 if seq < reach else 1 if seq - 1 in found[index] else 2
                behind = before.time - each.time
                if behind <= 0 and seq - 1 in found[index]:
                    continue  # late for whom?
                pairs.append((behind <= 0, astray(each, index), wanted, behind, each, index))
        placed: set[int] = set()
        for *_, each, index in sorted(pairs):
            if each.number not in placed and seq not in found[index]:
                placed.add(each.number)
                found[index][seq] = each
        for each in late[seq]:
            if each.number not in placed:
                found.append({seq: each})
                lines.append([seq])
    made = [list(sequence.values()) for sequence in found] or [[]]
    for each in places:
        if not each.repeated:
            continue
        fits = []
        for index in range(len(lines)):
            before = newest(index, each.seq + 1)
            if before is not None:
                behind = before.time - each.time
                fits.append((behind < 0, astray(each, index), behind, index))
        made[min(fits)[-1] if fits else 0].append(each)
    ready = [sorted(each, key=lambda place: (place.seq, place.repeated)) for each in made]
    # One that only late events are known of lies where it was decided.
    return ready if len(ready) <= len(firsts) else sorted(ready, key=lambda each: each[0].at)


class Sequencer:
    """Gives events to a hop in the order in which it took them when they were decided.

    An event waits for the one before it. One without decision has no number: it takes the first of
    its key that nobody has, or may have come before a silence. If neither is so, the hop did not
    log it, for it numbers all that it logs. Behind a key's last decision it makes no difference.

    Parameters
    ----------
    found
        The hop's order.
    as_read
        The hop took them as they are read: the first hop of a topic that is keyed by it, or all
        hops of one process. Then nothing waits, and what was not decided has its place, too.

    Attributes
    ----------
    held
        Events that wait.

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

    def __init__(self, found: Order, as_read: bool = False) -> None:
        self._order = found
        self.as_read = as_read
        self._done = bytearray(len(found.before))
        self._next: dict[int, tuple[int, Any]] = {}
        self._behind: dict[int, list[tuple[int, Any]]] = {}
        self.held = 0

    def take(self, number: int, item: Any) -> Iterator[Ready]:
        """Take a decided event; yield what the hop can take now, in order."""
        before = int(self._order.before[number])
        if self.as_read or before == NONE or self._done[before]:
            yield from self._released(number, item)
            return
        self._next[before] = (number, item)
        self.held += 1

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
            before = int(self._order.before[number])
            if before == NONE or self._done[before]:
                yield item, number
            else:
                self._behind.setdefault(before, []).append((number, item))
                self.held += 1
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
        at = int(np.searchsorted(keys, wanted))
        return at < len(keys) and keys[at] == wanted and not self._done[self._order.ends[at]]

    def _released(self, number: int, item: Any) -> Iterator[Ready]:
        """Yield an event, None for one that is dropped, and all that waited for it alone."""
        while True:
            if item is not None:
                yield item, NONE
            self._done[number] = 1
            behind = self._behind.pop(number, ())
            self.held -= len(behind)
            for hole, each in behind:
                yield each, hole
            following = self._next.pop(number, None)
            if following is None:
                return
            number, item = following
            self.held -= 1
