"""The sequences of numbers that one key went through at a hop, told apart.

A key that is silent for so long that a hop forgets it begins anew, with the number 1.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class HopPlace(NamedTuple):
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


def begins_anew(one: HopPlace, following: HopPlace, horizon: int) -> bool:
    """Whether two places, of numbers in their order, tell of more than one sequence.

    Twice the same number; or the next one, though after such a silence, or late for no reason.
    """
    if one.repeated or following.repeated:
        return False
    waited = following.time - one.time
    return following.seq == one.seq or (
        following.seq == one.seq + 1 and (waited >= horizon or (following.late and waited >= 0))
    )


def sequences(places: Sequence[HopPlace], horizon: int) -> list[list[HopPlace]]:
    """Take apart the sequences of one key that was silent for so long that it began anew.

    An event that is not late is no older than all before it: by their times these are in order, and
    a number that is no higher than the one before begins a sequence. Each late one fills a number
    that a sequence lacks, where a newer event came before it, and its neighbours were decided with
    it. A retry has the number of the newest event before it.

    Parameters
    ----------
    places
        Of one key.
    horizon
        Milliseconds of silence after which it begins anew.

    Examples
    --------
    >>> def place(seq, time, number, late=False):
    ...     return HopPlace(seq, time, late, False, number, number)
    >>> apart = sequences(
    ...     [place(1, 0, 0), place(2, 9, 1), place(1, 90, 2), place(2, 80, 3, True)], 50
    ... )
    >>> [[each.number for each in sequence] for sequence in apart]
    [[0, 1], [2, 3]]
    """
    apart = [_Line(firm) for firm in _firm(places, horizon)]
    for line, following in pairwise(apart):
        line.following = following.firm[0]
    begun = len(apart)
    late: dict[int, list[HopPlace]] = {}
    for place in places:
        if place.late and not place.repeated:
            late.setdefault(place.seq, []).append(place)
    for seq in sorted(late):
        fits = sorted(
            (*fit, place, index)
            for place in late[seq]
            for index, line in enumerate(apart)
            if (fit := line.fits_late(place)) is not None
        )
        rest = {place.number: place for place in late[seq]}
        for *_, place, index in fits:
            if place.number in rest and seq not in apart[index].taken:
                apart[index].add(rest.pop(place.number))
        apart += [_Line([place]) for place in rest.values()]
    made = [line.places for line in apart] or [[]]
    for place in places:
        if place.repeated:
            nearest = [
                (*near, index)
                for index, line in enumerate(apart)
                if (near := line.fits_retry(place)) is not None
            ]
            made[min(nearest)[-1] if nearest else 0].append(place)
    for sequence in made:
        sequence.sort(key=lambda place: (place.seq, place.repeated))
    # One that only late events are known of lies where it was decided.
    return made if len(made) <= begun else sorted(made, key=lambda sequence: sequence[0].at)


def _firm(places: Sequence[HopPlace], horizon: int) -> list[list[HopPlace]]:
    """Take apart what is in the order of its times: neither late nor a retry."""
    apart: list[list[HopPlace]] = []
    last: HopPlace | None = None
    for place in sorted(
        (place for place in places if not place.late and not place.repeated),
        key=lambda place: (place.time, place.seq, place.number),
    ):
        follows = last is not None and place.seq > last.seq
        if last is not None and place.seq == last.seq + 1:
            follows = place.time - last.time < horizon
        if not follows:
            apart.append([])
        apart[-1].append(place)
        last = place
    return apart


class _Line:
    """A sequence, as far as it is known.

    Parameters
    ----------
    firm
        What is sure of it, by number.

    Attributes
    ----------
    following
        The first of the sequence after it.
    places
        All of it, in no order.
    taken
        Their numbers.
    """

    def __init__(self, firm: list[HopPlace]) -> None:
        self.firm = firm
        self.following: HopPlace | None = None
        self.places = list(firm)
        self.taken = {place.seq for place in firm}

    def add(self, place: HopPlace) -> None:
        """Take a late one."""
        self.places.append(place)
        self.taken.add(place.seq)

    def fits_late(self, place: HopPlace) -> tuple[bool, int, int, int] | None:
        """Say how badly a late event fits in, the better the less; None if it cannot be."""
        before, astray = self._neighbour(place, place.seq)
        if place.seq in self.taken or before is None:
            return None
        behind, follows = before.time - place.time, place.seq - 1 in self.taken
        if behind <= 0 and follows:
            return None  # late for whom?
        wanted = 0 if place.seq < self.firm[-1].seq else 1 if follows else 2
        return behind <= 0, astray, wanted, behind

    def fits_retry(self, place: HopPlace) -> tuple[bool, int, int] | None:
        """Say how badly a retry fits in."""
        before, astray = self._neighbour(place, place.seq + 1)
        if before is None:
            return None
        behind = before.time - place.time
        return behind < 0, astray, behind

    def _neighbour(self, place: HopPlace, seq: int) -> tuple[HopPlace | None, int]:
        """Return the newest sure event before a number, and how far from its neighbours it was.

        That is, when a place was decided before the one, or after the other.
        """
        at = bisect_left(self.firm, seq, key=lambda each: each.seq)
        if not at:
            return None, 0
        before = self.firm[at - 1]
        after = self.firm[at] if at < len(self.firm) else self.following
        astray = max(before.at - place.at, 0)
        return before, astray + (max(place.at - after.at, 0) if after is not None else 0)
