"""Which events without decision were lost: nobody decided them, and nobody says why.

What the replay decides and the job did not is lost only where a decision must be there: between
two others of its partition that were surely not removed yet and surely followed by it, and where no
dead letter stands in its place.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from verdict.operators.names import DEAD_LETTERS, SCORE_JOB
from verdict.pipelines.dead_letters.letter import Asked
from verdict.pipelines.dead_letters.read import letters
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop
from verdict.state.store.rocks import RocksStore

SETTLED = 60_000
"""Milliseconds, beside a checkpoint, after which a decision can be read in any partition."""
EVER, NEVER = -(1 << 63), (1 << 63) - 1

Place = tuple[int, int]
"""Of an event in its line: file and number, or 0 and the offset."""


@dataclass
class Settled:
    """The time from which on, and up to which, the decisions that were read are whole.

    Retention takes one partition's decisions before another's, and they are not all read, or
    committed, in the same moment.

    Attributes
    ----------
    since, until
        Milliseconds, of Kafka's timestamps.

    Examples
    --------
    >>> settled = Settled(until=5_000)
    >>> settled.begins(0, 1_000)  # nothing was removed of this partition
    >>> settled.begins(7, 2_000)
    >>> [settled.holds(when) for when in (1_999, 2_000, 5_001)]
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


def settled(pipeline: Pipeline) -> Settled:
    """Say up to when the decisions of a job that runs can be read now."""
    lag = SETTLED + 2 * pipeline.spec.settings.checkpoint_interval
    return Settled(until=int(time.time() * 1000) - lag)


class Decided:
    """How far the events of each line were decided; a line is a partition, or all files.

    Attributes
    ----------
    missed
        Events without decision between two others.

    Examples
    --------
    >>> decided = Decided()
    >>> for offset, found in enumerate([False, True, False, True, False]):
    ...     decided.take(0, (0, offset), found, True)
    >>> [decided.missing(0, (0, offset)) for offset in (0, 2)]
    [False, True]
    >>> decided.begun(0, (0, 0)), decided.ended(0, (0, 4))
    (False, True)
    """

    def __init__(self) -> None:
        self._first: dict[int, Place] = {}
        self._last: dict[int, Place] = {}
        self._between: dict[int, tuple[Place, Place]] = {}
        self.missed = 0
        self._gap: dict[int, int] = {}

    def take(self, line: int, at: Place, found: bool, firm: bool) -> None:
        """Take the next event of a line: whether it has a decision, and one of a settled time."""
        if not found:
            self._gap[line] = self._gap.get(line, 0) + (line in self._between)
            return
        self._first.setdefault(line, at)
        self._last[line] = at
        if firm:
            self._between[line] = (self._between.get(line, (at, at))[0], at)
            self.missed += self._gap.pop(line, 0)

    def begun(self, line: int, at: Place) -> bool:
        """Whether an event, or one before it, was decided."""
        return line in self._first and at >= self._first[line]

    def ended(self, line: int, at: Place) -> bool:
        """Whether neither an event nor one behind it was decided."""
        return line not in self._last or at > self._last[line]

    def missing(self, line: int, at: Place) -> bool:
        """Whether an event must have a decision: it lies between two of a settled time."""
        first, last = self._between.get(line, (at, at))
        return first < at < last


class Letters:
    """The records that are dead letters of the score job, in a temporary store."""

    def __init__(self, store: RocksStore) -> None:
        self._store = store

    def read(self, sources: Iterator[str], most: int) -> None:
        """Take their places; ``most`` is after how many to write them out."""
        for number, source in enumerate(sources, 1):
            self._store.put(b"d" + source.encode(), b"")
            if number % most == 0:
                self._store.commit({})
        self._store.commit({})

    def __contains__(self, source: str) -> bool:
        return self._store.get(b"d" + source.encode()) is not None


def sources(pipeline: Pipeline, decisions: Sequence[Path] | None, stop: Stop) -> Iterator[str]:
    """Yield where the records lie that are dead letters of the score job.

    Parameters
    ----------
    pipeline
        Whose letters.
    decisions
        Files: the letters are looked for beside them. None reads the topic.
    stop
        Ends it.

    Raises
    ------
    KafkaError
        The broker does not answer, or has no such topic.
    FileError
        A file cannot be read.
    """
    folders: list[Path | None] = [None]
    if decisions is not None:
        name = f"{pipeline.topics[DEAD_LETTERS]}.avro"
        beside = dict.fromkeys(file.parent for file in decisions)
        folders = [folder for folder in beside if (folder / name).exists()]
    for folder in folders:
        for letter in letters(pipeline, Asked(), folder):
            if stop.is_set():
                return
            if (letter.pipeline, letter.job) == (pipeline.spec.pipeline, SCORE_JOB):
                yield str(letter.original)
