"""What a window's update found."""

from typing import NamedTuple

TAKEN, REPEATED, LATE, UNKNOWN_IN_TIME = "taken", "repeated", "late", "unknown-in-time"
OUTCOMES = (TAKEN, REPEATED, LATE, UNKNOWN_IN_TIME)
"""What became of a label: it waits for its event to be old enough; it is there already; it came
after its event had entered a window that it would have counted in; it was not known when any of
them was to be entered, so it never counts."""


class WindowResult(NamedTuple):
    """What an event sees.

    Attributes
    ----------
    values
        One an aggregate; None where it has none.
    seq
        The event's number in its key's sequence, from 1.
    late
        Whether it is older than the newest event of its key.
    cold
        Indices of the aggregates that were not kept for as long as they reach back.
    """

    values: list[float | None]
    seq: int
    late: bool
    cold: tuple[int, ...] = ()
