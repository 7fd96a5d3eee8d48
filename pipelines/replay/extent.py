"""How far recorded decisions reach: in time, and in each partition of the events."""

import time
from dataclasses import dataclass

from verdict.pipelines.spec.pipeline import Pipeline

SETTLED = 60_000
"""Milliseconds, beside a checkpoint, after which a decision can be read in any partition."""
EVER, NEVER = -(1 << 63), (1 << 63) - 1

Position = tuple[int, int]
"""Of an event in its line: file and number, or 0 and the offset."""


@dataclass
class WholeSpan:
    """The time from which on, and up to which, the decisions that were read are whole.

    Retention takes one partition's decisions before another's, and they are not all read, or
    committed, in the same moment.

    Attributes
    ----------
    since, until
        Milliseconds, of Kafka's timestamps.

    Examples
    --------
    >>> span = WholeSpan(until=5_000)
    >>> span.begins(0, 1_000)  # nothing was removed of this partition
    >>> span.begins(7, 2_000)
    >>> [span.holds(when) for when in (1_999, 2_000, 5_001)]
    [False, True, False]
    """

    since: int = EVER
    until: int = NEVER

    def begins(self, offset: int, when: int) -> None:
        """Take the first decision that one partition still has."""
        if offset > 0:
            self.since = max(self.since, when)

    def holds(self, when: int) -> bool:
        """Whether a decision was put out in that time."""
        return self.since <= when <= self.until


def whole_span(pipeline: Pipeline) -> WholeSpan:
    """Say up to when the decisions of a job that runs can be read now."""
    lag = SETTLED + 2 * pipeline.spec.settings.checkpoint_interval
    return WholeSpan(until=int(time.time() * 1000) - lag)


class Extent:
    """How far the events of each line were decided; a line is a partition, or all files.

    Attributes
    ----------
    missed
        Events without decision between two others.

    Examples
    --------
    >>> extent = Extent()
    >>> for offset, decided in enumerate([False, True, False, True, False]):
    ...     extent.take(0, (0, offset), decided, True)
    >>> [extent.missing(0, (0, offset)) for offset in (0, 2)]
    [False, True]
    >>> extent.begun(0, (0, 0)), extent.ended(0, (0, 4))
    (False, True)
    """

    def __init__(self) -> None:
        self._first: dict[int, Position] = {}
        self._last: dict[int, Position] = {}
        self._between: dict[int, tuple[Position, Position]] = {}
        self.missed = 0
        self._gap: dict[int, int] = {}

    def take(self, line: int, at: Position, decided: bool, firm: bool) -> None:
        """Take the next event of a line: whether it has a decision, and one of a settled time."""
        if not decided:
            self._gap[line] = self._gap.get(line, 0) + (line in self._between)
            return
        self._first.setdefault(line, at)
        self._last[line] = at
        if firm:
            self._between[line] = (self._between.get(line, (at, at))[0], at)
            self.missed += self._gap.pop(line, 0)

    def begun(self, line: int, at: Position) -> bool:
        """Whether an event, or one before it, was decided."""
        return line in self._first and at >= self._first[line]

    def ended(self, line: int, at: Position) -> bool:
        """Whether neither an event nor one behind it was decided."""
        return line not in self._last or at > self._last[line]

    def missing(self, line: int, at: Position) -> bool:
        """Whether an event must have a decision: it lies between two of a settled time."""
        first, last = self._between.get(line, (at, at))
        return first < at < last
