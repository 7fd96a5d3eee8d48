"""The page that Prometheus reads: names, kinds, help."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from verdict.operators.meter import BOUNDS_NS, SAMPLE, Histogram

PREFIX = "verdict"
AGE_BOUNDS_MS = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500),
    *(1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000),
)
"""Upper bounds of end-to-end latency's buckets, milliseconds: what Kafka's timestamps can tell."""
PIPELINE = ("pipeline",)
JOB = (*PIPELINE, "job")
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
    "decisions_read": ("Decisions read as hot consumers read them, repeats among them.", PIPELINE),
    "repeats": ("Decisions read that came before.", PIPELINE),
    "repeat_differs": ("Repeats whose bytes are not those of the first copy.", PIPELINE),
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
        histogram_: Histogram | Ages,
        bounds: Sequence[int] = BOUNDS_NS,
        unit: float = 1e9,
    ) -> None:
        """Add a histogram whose bounds and sum are given in parts of a second: ``1 / unit``."""
        help_, names = HISTOGRAMS[name]
        family = self._families.get(name)
        if family is None:
            made = self._core.HistogramMetricFamily(f"{PREFIX}_{name}", help_, labels=names)
            family = self._families[name] = made
        counts, total = list(histogram_.counts), histogram_.total
        buckets, below = [], 0
        for bound, count in zip((*bounds, None), counts, strict=True):
            below += count
            edge = "+Inf" if bound is None else self._text(bound / unit)
            buckets.append((edge, below))
        family.add_metric([labels[each] for each in names], buckets, total / unit)

    def families(self) -> Iterator[Any]:
        """Return what was added, in the order of the names."""
        return iter([self._families[name] for name in sorted(self._families)])
