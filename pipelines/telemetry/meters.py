"""What engines and operators count, as families of the page.

Where an event passes, plain integers are counted up and nothing else is done. Names, labels and
text are made when Prometheus asks. Nothing of an event's own (a key, an id, a field) is in a label.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from verdict.operators.features.lookups import LookupTable
from verdict.operators.message import Message
from verdict.operators.meter import BOUNDS_NS, Histogram, Meter
from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.telemetry.page import AGE_BOUNDS_MS, HOP, JOB, Ages, Page
from verdict.pipelines.topology import Job
from verdict.state.store.cache import HeadCache

COUNTED: Mapping[str, tuple[str, ...]] = {
    "decisions": ("action",),
    DEAD_LETTERS: ("stage", "kind"),
    "late": ("entity",),
    "repeated": (),
    "labels": ("entity", "outcome"),
    "labels-late": ("entity",),
}
"""What an operator's `Meter` counts -> labels of the rest of its key."""


@runtime_checkable
class Lagging(Protocol):
    """A broker that knows, without asking, how far its topics reach."""

    def lags(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """Return how many records of each partition lie past an offset."""
        ...


def hop_labels(job: Job, hop: str, subtask: int = 0) -> dict[str, str]:
    """Return the labels of all samples of a hop.

    Examples
    --------
    >>> hop_labels(Job("score", "card-fraud", (), (), ()), "customer")["hop"]
    'customer'
    """
    return dict(zip(HOP, (job.pipeline, job.name, hop, str(subtask)), strict=True))


class HopMeter:
    """What is counted and timed of one hop in one subtask.

    The engine says how long each event took and how old it was; all else is read off the operator.

    Parameters
    ----------
    labels
        Of `hop_labels`.
    last
        Whether the job ends with this hop.
    operator
        The hop's. If it has a `Meter`, that is given a clock.
    cache
        Of its state; None without a key.

    Attributes
    ----------
    aged
        Takes the milliseconds since the Kafka timestamp behind an output.
    times
        Takes each event's nanoseconds in the operator; `fold` counts them.
    """

    def __init__(
        self, labels: Mapping[str, str], last: bool, operator: object, cache: HeadCache | None
    ) -> None:
        self.labels = labels
        self._last = last
        self._times, self._ages = Histogram(), Ages()
        self.times: list[int] = []
        self.aged = self._ages.observe
        self._cache = cache
        found = getattr(operator, "meter", None)
        self._meter = found if isinstance(found, Meter) else Meter()
        self._meter.clock = time.perf_counter_ns
        self._models = tuple(getattr(operator, "models", ()))
        self._tables: Sequence[LookupTable] = tuple(getattr(operator, "tables", ()))

    def fold(self) -> None:
        """Count what is in ``times``."""
        times, found = self.times, self._times
        counts = found.counts
        for place in map(partial(bisect_left, BOUNDS_NS), times):
            counts[place] += 1
        found.total += sum(times)
        times.clear()

    def show(self, page: Page) -> None:
        """Add the samples of this hop."""
        labels = self.labels
        page.counter("events", labels, sum(self._times.counts))
        page.histogram("hop_seconds", labels, self._times)
        if self._last:
            page.histogram("end_to_end_seconds", labels, self._ages, AGE_BOUNDS_MS, 1e3)
        for (name, *values), count in list(self._meter.counts.items()):
            more = COUNTED.get(name, ())
            if len(more) == len(values):
                of = dict(zip(more, values, strict=True))
                page.counter(name.replace("-", "_"), {**labels, **of}, count)
        for stage, times in list(self._meter.stages.items()):
            page.histogram("stage_seconds", {**labels, "stage": stage}, times)
        if self._cache is not None:
            page.counter("state_cache_hits", labels, self._cache.hits)
            page.counter("state_cache_misses", labels, self._cache.misses)
        for card in self._models:
            of = {"name": card.name, "version": card.version, "sha256": card.sha256}
            page.gauge("model_info", {**labels, **of}, 1)
        for table in self._tables:
            of = {"table": table.name}
            page.gauge("lookup_rows", {**labels, **of}, table.rows)
            page.counter("lookup_bad_rows", {**labels, **of}, table.bad)
            if (lag := table.lag) is not None:
                page.gauge("lookup_lag_records", {**labels, **of}, lag)


class RunMeter:
    """What is counted and timed of a run of the embedded engine.

    Parameters
    ----------
    job
        The job.
    hops
        Of its hops.
    offsets
        ``topic/partition`` -> next offset, as the engine keeps it.
    broker
        If it is `Lagging`, lag and age are shown.

    Attributes
    ----------
    committed
        Takes a commit's nanoseconds.
    batch
        The records in hand: fetched, not all decided.
    """

    def __init__(
        self, job: Job, hops: Sequence[HopMeter], offsets: Mapping[str, int], broker: object
    ) -> None:
        self.labels = dict(zip(JOB, (job.pipeline, job.name), strict=True))
        self._hops = hops
        self._offsets = offsets
        self._broker = broker if isinstance(broker, Lagging) else None
        self._commits = Histogram()
        self.committed = self._commits.observe
        self.batch: Sequence[Message] = ()
        self._decided: dict[tuple[str, int], int] = {}
        self._idle = int(time.time() * 1e3)

    def sent(self, ages: Sequence[int]) -> None:
        """Note the milliseconds since the Kafka timestamps behind outputs that were sent."""
        aged = self._hops[-1].aged
        for age, events in Counter(ages).items():
            aged(age, events)
        for hop in self._hops:
            hop.fold()

    def decided(self, newest: Iterable[Message]) -> None:
        """Note that the batch in hand is decided, and the last record of each of its partitions."""
        for message in newest:
            self._decided[message.topic, message.partition] = message.timestamp
        self.batch = ()

    def idle(self) -> None:
        """Note that there was nothing to take; unless something is on its way, nothing waits."""
        if self._broker is None or not any(self._broker.lags(self._offsets).values()):
            self._idle = int(time.time() * 1e3)

    def show(self, page: Page) -> None:
        """Add the samples of this run."""
        for hop in self._hops:
            hop.show(page)
        page.histogram("commit_seconds", self.labels, self._commits)
        if self._broker is None:
            return
        batch = self.batch
        lags = self._broker.lags(self._offsets)
        for (topic, partition), lag in lags.items():
            where = {"topic": topic, "partition": str(partition)}
            page.gauge("consumer_lag_records", {**self.labels, **where}, lag)
        oldest = self._oldest(batch, lags)
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest / 1e3)
        page.gauge("oldest_undecided_seconds", self.labels, age)

    def _oldest(self, batch: Sequence[Message], lags: Mapping[tuple[str, int], int]) -> int | None:
        """Return the timestamp of the oldest undecided record, as far as it is known.

        Of a record that was not fetched yet it is not. But it is not older than the last one of its
        partition that was decided, nor did it wait when nothing did.
        """
        found = [message.timestamp for message in batch if message.timestamp >= 0]
        in_hand = {(message.topic, message.partition) for message in batch}
        for partition, lag in lags.items():
            if lag > 0 and partition not in in_hand:
                found.append(max(self._decided.get(partition, 0), self._idle))
        return min(found, default=None)
