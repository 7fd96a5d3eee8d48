"""Throughput: how fast a contestant reads a topic that is full, and writes its decisions."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from contestants import STARTING_S, Place, Running
from decisions import Decisions, Wrong, feature_names
from topics import Topics
from usage import Shares, Usage

STALLED_S = 90.0
"""Seconds without a new decision after which a contestant has failed."""
LOOK_S = 0.25
"""Seconds between two looks at the topic; on two cores even looking costs."""
SETTLED_S = 1.0
"""Seconds without a new record that say that all is out: a topic ends with a transaction's marks,
which count as records from outside."""


@dataclass(frozen=True)
class Measured:
    """One run of one contestant.

    Attributes
    ----------
    rate
        Events a second, after the warm-up.
    seconds
        From its start until all decisions were in the topic.
    cpu_us
        Microseconds of CPU time of all its processes an event, after the warm-up. Where others
        use the machine, it says more than the rate.
    shares
        Of the machine's cores meanwhile.
    peak_mb
        Peak resident memory by process.
    decisions
        What it decided, where that was asked for.
    """

    rate: float
    seconds: float
    cpu_us: float
    shares: Shares
    peak_mb: dict[str, float]
    decisions: Decisions | None


def await_decisions(
    running: Running, topics: Topics, place: Place, count: int, tell: Callable[[int], None]
) -> float:
    """Wait until a contestant has written its decisions; return when the last was seen.

    Parameters
    ----------
    tell
        Called with the number of decisions so far.
    """
    end, since = 0, time.monotonic()
    deadline = since + STARTING_S
    while end < count or time.monotonic() - since < SETTLED_S:
        running.check()
        found = topics.end(place.decisions)
        now = time.monotonic()
        if found > end:
            end, since = found, now
            deadline = now + STALLED_S
            tell(min(end, count))
        elif now > deadline:
            dead = topics.end(place.dead_letters)
            raise running.failure(f"stopped at {end:,} decisions, {dead:,} dead letters")
        time.sleep(LOOK_S)
    return since


def measure(
    place: Place,
    topics: Topics,
    running: Running,
    *,
    count: int,
    warm_up: float,
    compare: bool,
    tell: Callable[[int], None],
) -> Measured:
    """Wait for a contestant that reads ``count`` events, and measure it.

    Parameters
    ----------
    place
        Where it works.
    warm_up
        Share of the events before time counts.
    compare
        Whether to decode all decisions, to be compared; else they are only counted.
    tell
        Called with the number of decisions so far.
    """
    contestant = running.contestant
    first = int(warm_up * count)
    marks: list[tuple[int, Usage]] = []

    def passed(done: int) -> None:
        if done >= first and not marks:
            marks.append((done, Usage.now(running, place)))
        tell(done)

    ended = await_decisions(running, topics, place, count, passed)
    (done, begin), end = marks[0], Usage.now(running, place)
    cpu_us = (end.its_s - begin.its_s) / max(count - done, 1) * 1e6
    memory = running.peak_mb()
    running.stop()
    timestamps: list[int] = []

    def values() -> Iterator[bytes]:
        for record in topics.read(place.decisions):
            timestamps.append(record.timestamp)
            yield record.value

    decided = None
    if compare:
        names = feature_names(contestant.pipeline)
        decode = contestant.decoder
        decided = Decisions.collect(
            contestant.name, names, count, values(), decode, contestant.last_bit
        )
    elif (made := sum(1 for _ in values())) != count:
        raise Wrong(f"{contestant.name} made {made:,} decisions of {count:,} events")
    times = np.sort(np.array(timestamps))
    elapsed = (times[-1] - times[first]) / 1000
    rate = float((count - 1 - first) / elapsed)
    return Measured(rate, ended - running.started, cpu_us, end.shares(begin), memory, decided)
