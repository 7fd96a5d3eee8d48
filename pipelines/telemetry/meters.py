"""What engines and operators count, shown to Prometheus: one HTTP server a process.

Where an event passes, plain integers are counted up and nothing else is done. Names, labels and
text are made when Prometheus asks. Nothing of an event's own (a key, an id, a field) is in a label.
"""

import errno
import logging
import socket
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple, Protocol, runtime_checkable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from verdict.operators.features.lookups import Table
from verdict.operators.message import Message
from verdict.operators.meter import BOUNDS_NS, SAMPLE, Histogram, Meter
from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.topology import Job
from verdict.state.store.cache import HeadCache

LOGGER = logging.getLogger(__name__)

PREFIX = "verdict"
AGE_BOUNDS_MS = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500),
    *(1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000),
)
"""Upper bounds of end-to-end latency's buckets, milliseconds: what Kafka's timestamps can tell."""

STOP_S = 0.05
"""How often the server looks whether it is to stop."""

JOB = ("pipeline", "job")
HOP = (*JOB, "hop", "subtask")

COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "events": ("Events that a hop has processed.", HOP),
    "decisions": ("Decisions by action.", (*HOP, "action")),
    "dead_letters": ("Dead letters by stage and kind.", (*HOP, "stage", "kind")),
    "late": ("Events older than their entity's newest.", (*HOP, "entity")),
    "repeated": ("Events that the producer sent again: decided, not counted.", HOP),
    "labels": (
        "Labels by what became of them: taken, late, repeated, unknown-in-time.",
        (*HOP, "entity", "outcome"),
    ),
    "labels_late": (
        "Labels that came after their event had entered the delayed windows: they change nothing.",
        (*HOP, "entity"),
    ),
    "lookup_bad_rows": ("Rows of a lookup's table that were refused.", (*HOP, "table")),
    "state_cache_hits": ("Heads of keyed state found in memory.", HOP),
    "state_cache_misses": ("Heads of keyed state that RocksDB was asked for.", HOP),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "model_info": ("A model that a hop asks. Always 1.", (*HOP, "name", "version", "sha256")),
    "lookup_rows": ("Rows of a lookup's table.", (*HOP, "table")),
    "lookup_lag_records": (
        "Records of a lookup's topic that are not in its table yet.",
        (*HOP, "table"),
    ),
    "consumer_lag_records": (
        "Records of an input partition that are not decided yet.",
        (*JOB, "topic", "partition"),
    ),
    "oldest_undecided_seconds": (
        "Age of the oldest record, by its Kafka timestamp, that is fetched or waits and is not "
        "decided; 0 where none is.",
        JOB,
    ),
}
HISTOGRAMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "stage_seconds": (
        f"Time of each stage of a hop; one event in {SAMPLE} is timed.",
        (*HOP, "stage"),
    ),
    "hop_seconds": ("Time of each event in a hop's operator.", HOP),
    "end_to_end_seconds": (
        "From an event's Kafka timestamp until the last hop hands what came of it to the producer; "
        "without dead letters.",
        HOP,
    ),
    "commit_seconds": ("Time until outputs are acknowledged, state and offsets stored.", JOB),
}

COUNTED: Mapping[str, tuple[str, ...]] = {
    "decisions": ("action",),
    DEAD_LETTERS: ("stage", "kind"),
    "late": ("entity",),
    "repeated": (),
    "labels": ("entity", "outcome"),
    "labels-late": ("entity",),
}
"""What an operator's `Meter` counts -> labels of the rest of its key."""


class Endpoint(NamedTuple):
    """Where a process may serve its metrics: at the first free port of a range.

    Examples
    --------
    >>> Endpoint.parse("127.0.0.1:9400-9409")
    Endpoint(host='127.0.0.1', first=9400, last=9409)
    >>> str(Endpoint.parse("0.0.0.0:9400"))
    '0.0.0.0:9400-9400'
    """

    host: str
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Read ``host:port`` or ``host:first-last``."""
        host, _, ports = text.rpartition(":")
        first, _, last = ports.partition("-")
        return cls(host, int(first), int(last or first))

    def __str__(self) -> str:
        return f"{self.host}:{self.first}-{self.last}"


class Ages:
    """A histogram of how old events were, in whole milliseconds.

    Examples
    --------
    >>> ages = Ages()
    >>> ages.observe(4)
    >>> ages.observe(-20)  # a producer whose clock is ahead
    >>> ages.counts[0], ages.counts[3], ages.total
    (1, 1, 4)
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(AGE_BOUNDS_MS) + 1)
        self.total = 0

    def observe(self, milliseconds: int, events: int = 1) -> None:
        """Count one event, or several of an age."""
        if milliseconds < 0:
            milliseconds = 0
        self.counts[bisect_left(AGE_BOUNDS_MS, milliseconds)] += events
        self.total += milliseconds * events


class Page:
    """What one look shows: the families, each with the samples of all that serve together."""

    def __init__(self) -> None:
        # Whoever serves no metrics need not wait for this.
        from prometheus_client import core, utils

        self._core = core
        self._text: Callable[[float], str] = utils.floatToGoString
        self._families: dict[str, Any] = {}

    def counter(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Add a sample; one of a name that is not known has a hop's labels."""
        help_, names = COUNTERS.get(name, (f"Counted by operators: {name}.", HOP))
        family = self._families.get(name)
        if family is None:
            made = self._core.CounterMetricFamily(f"{PREFIX}_{name}", help_, labels=names)
            family = self._families[name] = made
        family.add_metric([labels[each] for each in names], value)

    def gauge(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Add a sample."""
        help_, names = GAUGES[name]
        family = self._families.get(name)
        if family is None:
            made = self._core.GaugeMetricFamily(f"{PREFIX}_{name}", help_, labels=names)
            family = self._families[name] = made
        family.add_metric([labels[each] for each in names], value)

    def histogram(
        self,
        name: str,
        labels: Mapping[str, str],
        found: Histogram | Ages,
        bounds: Sequence[int] = BOUNDS_NS,
        unit: float = 1e9,
    ) -> None:
        """Add a histogram whose bounds and sum are given in parts of a second: ``1 / unit``."""
        help_, names = HISTOGRAMS[name]
        family = self._families.get(name)
        if family is None:
            made = self._core.HistogramMetricFamily(f"{PREFIX}_{name}", help_, labels=names)
            family = self._families[name] = made
        counts, total = list(found.counts), found.total
        buckets, below = [], 0
        for bound, count in zip((*bounds, None), counts, strict=True):
            below += count
            edge = "+Inf" if bound is None else self._text(bound / unit)
            buckets.append((edge, below))
        family.add_metric([labels[each] for each in names], buckets, total / unit)

    def families(self) -> Iterator[Any]:
        """Return what was added, in the order of the names."""
        return iter([self._families[name] for name in sorted(self._families)])


class Source(Protocol):
    """Something that has samples to show. Its labels tell it from all others of the process."""

    @property
    def labels(self) -> Mapping[str, str]: ...

    def show(self, page: Page) -> None: ...


@runtime_checkable
class Lagging(Protocol):
    """A broker that knows, without asking, how far its topics reach."""

    def lags(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], int]: ...


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
    took
        Takes an event's nanoseconds in the operator.
    aged
        Takes the milliseconds since the Kafka timestamp behind an output.
    times
        Nanoseconds of events, for `fold`: an engine that works in batches saves calls.
    """

    def __init__(
        self, labels: Mapping[str, str], last: bool, operator: object, cache: HeadCache | None
    ) -> None:
        self.labels = labels
        self._last = last
        self._times, self._ages = Histogram(), Ages()
        self.times: list[int] = []
        self.took = self._times.observe
        self.aged = self._ages.observe
        self._cache = cache
        found = getattr(operator, "meter", None)
        self._meter = found if isinstance(found, Meter) else Meter()
        self._meter.clock = time.perf_counter_ns
        self._models = tuple(getattr(operator, "models", ()))
        self._tables: Sequence[Table] = tuple(getattr(operator, "tables", ()))

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


class Served:
    """A source that is shown, until it is closed."""

    def __init__(self, where: Endpoint, server: "_Server", source: Source) -> None:
        self._where, self._server, self._source = where, server, source

    @property
    def port(self) -> int | None:
        """At which the server listens; None where no port was to be had."""
        return self._server.port

    def close(self) -> None:
        """Show it no more; the last source of a server takes it along."""
        server, key = self._server, _key(self._source)
        with _lock:
            if server.sources.get(key) is not self._source:  # closed, or another took its place
                return
            del server.sources[key]
            if not server.sources:
                del _servers[self._where]
                server.stop()


def serve(where: Endpoint, source: Source) -> Served:
    """Show a source's samples at ``http://host:port/metrics``.

    One server does for all sources of a process that name the same endpoint: the hops of a Flink
    mini cluster share an interpreter. It stops with the last of them. A source with the labels of
    another takes its place: that of a task that ended without a word. Where no port is to be had, a
    line in the log says so, and events are decided nevertheless.
    """
    with _lock:
        server = _servers.get(where)
        if server is None:
            server = _servers[where] = _Server(where)
        server.sources[_key(source)] = source
        return Served(where, server, source)


def _key(source: Source) -> tuple[tuple[str, str], ...]:
    return tuple(source.labels.items())


class _Http(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own, none of which keeps the process alive."""

    daemon_threads = True


class _Http6(_Http):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


class _Server:
    """The HTTP server of a process, and a collector for its registry."""

    def __init__(self, where: Endpoint) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

        self.sources: dict[tuple[tuple[str, str], ...], Source] = {}
        self.port: int | None = None
        self._http: WSGIServer | None = None
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(namespace=PREFIX, registry=registry)
        registry.register(self)
        self._start(where, make_wsgi_app(registry))

    def _start(self, where: Endpoint, app: Any) -> None:
        server = _Http6 if ":" in where.host else _Http
        for port in range(where.first, where.last + 1):
            try:
                http = make_server(where.host, port, app, server, _Silent)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and port < where.last:
                    continue
                LOGGER.warning(
                    "no metrics are served at %s: %s; mend settings.metrics",
                    where,
                    error.strerror or error,
                )
                return
            self._http, self.port = http, http.server_port
            # Every half a second, as is the default, a job that starts again would wait for it.
            self._thread = threading.Thread(target=http.serve_forever, args=(STOP_S,), daemon=True)
            self._thread.start()
            return

    def collect(self) -> Iterator[Any]:
        """Return what all sources show now."""
        page = Page()
        for source in list(self.sources.values()):
            source.show(page)
        return page.families()

    def describe(self) -> Iterable[Any]:
        """Return nothing: names are known when samples are."""
        return ()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()


_lock = threading.Lock()
_servers: dict[Endpoint, _Server] = {}
"""Of this process: a second server could only have another port, and the same to say."""
