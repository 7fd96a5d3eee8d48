"""Which events a replay has sent already, so that none is sent a second time.

It holds for one run of ``verdict dlq replay``: nothing is kept, and the next run replays the same
letters again. Of what came twice that way ``events.dedupe`` lets one count.
"""

from contextlib import suppress

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.coordinates import Coordinates, coordinates
from verdict.pipelines.kafka.fetch import Headers

REPLAYED_HEADER = "replayed-from"
"""Header of a replayed event: ``topic/partition/offset`` of the event that failed first."""
SECOND_TIME = "replayed in this run already"
"""Why a letter is skipped whose event is known to `ReplayedOnce`."""


class ReplayedOnce:
    """The events that a run has replayed, under all places where they lie.

    Examples
    --------
    >>> once = ReplayedOnce()
    >>> first, again = Coordinates("payments", 0, 17), Coordinates("payments", 0, 90)
    >>> once.add(first, again)
    >>> first in once, again in once, Coordinates("payments", 1, 17) in once
    (True, True, False)
    """

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], set[int]] = {}

    def __contains__(self, place: Coordinates) -> bool:
        return place.offset in self._offsets.get(place[:2], ())

    def add(self, *places: Coordinates) -> None:
        """Note where an event lies that is replayed now."""
        for place in places:
            self._offsets.setdefault(place[:2], set()).add(place.offset)


def first_place(headers: Headers, place: Coordinates) -> Coordinates:
    """Say where an event lay when it failed first, by its ``replayed-from``.

    Parameters
    ----------
    headers
        Of the event; a ``replayed-from`` that is none of ours counts as none.
    place
        Where it lies now, which is the answer if it was never replayed.

    Examples
    --------
    >>> now = Coordinates("payments", 0, 90)
    >>> str(first_place([("replayed-from", b"payments/0/17")], now))
    'payments/0/17'
    >>> str(first_place([("replayed-from", b"yesterday")], now))
    'payments/0/90'
    """
    for name, value in headers:
        if name == REPLAYED_HEADER and value is not None:
            with suppress(KafkaError, UnicodeDecodeError):
                return coordinates(value.decode())
    return place
