"""What one operator counts and times, for the engine to show."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

SAMPLE = 16
"""One event in so many has its stages timed: to time one costs 2 us."""

BOUNDS_NS = tuple(int(step * 10**power) for power in range(3, 10) for step in (1, 2.5, 5))
"""Upper bounds of a histogram's buckets, nanoseconds: 1 us to 5 s."""


class Histogram:
    """How many observations fell below each of `BOUNDS_NS`, and their sum in nanoseconds.

    Examples
    --------
    >>> latency = Histogram()
    >>> latency.observe(900)
    >>> latency.observe(1_000)
    >>> latency.counts[0], latency.total
    (2, 1900)
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.total = 0

    def observe(self, nanoseconds: int) -> None:
        """Count one observation."""
        self.counts[bisect_left(BOUNDS_NS, nanoseconds)] += 1
        self.total += nanoseconds


class Meter:
    """Counts by name and label values, and the time that each stage of an operator takes.

    An operator has no clock; the engine gives its meter one, else nothing is timed.

    Examples
    --------
    >>> ticks = iter(range(0, 90, 10))
    >>> meter = Meter()
    >>> meter.clock = lambda: next(ticks)
    >>> meter.start()
    True
    >>> meter.lap("decode")
    >>> meter.stages["decode"].total
    10
    >>> meter.counts["decisions", "approve"] += 1
    """

    __slots__ = ("_at", "_turn", "clock", "counts", "stages")

    def __init__(self) -> None:
        self.counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self.stages: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.clock: Callable[[], int] | None = None
        self._turn = 0
        self._at = 0

    def start(self) -> bool:
        """Begin an event; return whether its stages are timed."""
        if self.clock is None:
            return False
        self._turn = (self._turn + 1) % SAMPLE
        if self._turn != 1:
            return False
        self._at = self.clock()
        return True

    def lap(self, stage: str, events: int = 1) -> None:
        """End a stage of an event that is timed, or of several, of which it is one's share."""
        assert self.clock is not None
        now = self.clock()
        self.stages[stage].observe((now - self._at) // events)
        self._at = now
