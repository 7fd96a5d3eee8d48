"""State made from history: a pipeline's job reads its topic from the start, and puts out nothing.

What the topic does not reach back to may come from files first: events before a time from those,
the others from the topic. `flink_bootstrap` does it on a cluster.

So a feature that looks back 30 days is right at its first decision. The job that decides goes on
meanwhile. When the new state has caught up, that job is stopped; the new one reads silently up to
the very record at which the old one ended, and decides from there.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

from verdict.operators.message import Emit, Message, Operator
from verdict.operators.names import EVENTS, LABEL_STREAMS, SCORE_JOB
from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_files import BATCH
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import Holding, Output, Runner
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import FileError, KafkaError
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.jobs import events, score
from verdict.pipelines.jobs.label_feed import LabelFeed
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.spec.load import over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job, Stop, topics_of
from verdict.state.store.keyed import KeyedState
from verdict.state.store.rocks import RocksStore

FILES = "history"
"""Where the state keeps what it was made of."""


class Silent:
    """A broker that reads, up to some offsets, and writes nothing.

    Parameters
    ----------
    broker
        What reads.
    until
        ``topic/partition`` -> the first offset that is not read; None reads to the topics' end. Of
        other partitions nothing is read, but for labels of a topic of which none is named: the job
        that decides knows of no labels there.
    tell
        Called with each batch of records.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        until: Mapping[str, int] | None,
        tell: Callable[[Sequence[Message]], None] | None = None,
    ) -> None:
        self._broker = broker
        self._until = until
        self._tell = tell
        self._bounded = {_topic(partition) for partition in until or ()}
        self._past: set[str] = set()
        """Partitions of which a record behind the last one has come."""

    def poll(self, most: int, timeout: float) -> list[Message]:
        found = self._broker.poll(most, timeout)
        if self._until is not None:
            found = [message for message in found if self._is_before(message, self._until)]
        if self._tell is not None and found:
            self._tell(found)
        return found

    def _is_before(self, message: Message, until: Mapping[str, int]) -> bool:
        if message.stream in LABEL_STREAMS and message.topic not in self._bounded:
            return True
        partition = f"{message.topic}/{message.partition}"
        if message.offset < until.get(partition, 0):
            return True
        self._past.add(partition)
        return False

    def send(self, output: Output) -> None:
        """Decide nothing: another job does."""

    def flush(self) -> None:
        """There is nothing to wait for."""

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        if self._until is None or self._broker.at_end(offsets):
            return self._broker.at_end(offsets)
        return all(
            offsets.get(partition, 0) >= end or partition in self._past
            for partition, end in self._until.items()
        )

    def lags(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], int]:
        return self._broker.lags(offsets)

    def close(self) -> None:
        self._broker.close()


@dataclass
class Files:
    """What of a state comes from files.

    Attributes
    ----------
    before
        Milliseconds since the epoch: events of before come from files, later ones from the topic.
    files
        The files -> how many records of each were read.
    whole
        Whether they were read to their end.
    labels
        The files of labels -> how many records of each there were.
    """

    before: int
    files: dict[str, int] = field(default_factory=dict)
    whole: bool = False
    labels: dict[str, int] = field(default_factory=dict)


@dataclass
class Skipped:
    """How many records were left out: those of the other side of `Files.before`."""

    records: int = 0


class _Span:
    """Lets only records of a span of event time into the first hop."""

    def __init__(
        self,
        operator: Operator,
        is_in: Callable[[int], bool],
        time_of: Callable[[Message], int | None],
        skipped: Skipped,
    ) -> None:
        self._operator = operator
        self._is_in = is_in
        self._time_of = time_of
        self._skipped = skipped

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        if message.stream == EVENTS:
            time = self._time_of(message)
            if time is not None and not self._is_in(time):
                self._skipped.records += 1
                return ()
        return self._operator(message, state)

    def close(self) -> None:
        if isinstance(self._operator, Holding):
            self._operator.close()


def _within(job: Job, pipeline: Pipeline, is_in: Callable[[int], bool], skipped: Skipped) -> Job:
    first, *others = job.hops
    time_of = events.event_times(pipeline, pipeline.spec.events.files is not None)
    spanned = replace(first, operator=lambda: _Span(first.operator(), is_in, time_of, skipped))
    return replace(job, hops=(spanned, *others))


def read_files(
    pipeline: Pipeline,
    folder: Path,
    files: Sequence[Path],
    before: int,
    *,
    stop: Stop,
    progress: Callable[[int], None] | None = None,
    skipped: Skipped | None = None,
) -> int:
    """Read events of before a time from files into a pipeline's state, and decide none of them.

    It comes first; `bootstrap` then takes from the topic the events of that time and later. What
    was read before is not read again, so a second call goes on. Labels come from the files that the
    pipeline file names beside their topic, for those of the topic come only after all these events.

    Parameters
    ----------
    pipeline
        Of events in a topic.
    folder
        Of the pipelines' states, as `verdict run --state` takes it.
    files
        One history, in this order.
    before
        Milliseconds since the epoch.
    stop
        Ends it after the batch at hand.
    progress
        Called with how many bytes more of the files have been read.
    skipped
        Counts the events of that time and later.

    Returns
    -------
    int
        Records read.

    Raises
    ------
    FileError
        A file cannot be read; or the state has read the topic, or other files, already.
    SpecError
        There are features over labels, and no files of labels.
    """
    moved = over(pipeline, files)
    label_files = moved.label_files()
    names = [str(file.resolve()) for file in files]
    kept = home(pipeline, folder)
    store = RocksStore(kept)
    runner: Runner | None = None
    try:
        found = _files(store) or Files(before, dict.fromkeys(names, 0))
        if store.meta("offsets") is not None and not found.whole:
            raise FileError(
                f"{kept} has read the topic already, and what lies in files comes before it: name "
                "by --state a folder that is empty"
            )
        if (found.before, list(found.files)) != (before, names):
            raise FileError(
                f"{kept} was begun with {', '.join(found.files)}, up to another time or in another "
                "order: say the same again, or name by --state a folder that is empty"
            )
        if found.whole:
            return 0
        job = _within(score.score(moved), moved, lambda time: time < before, skipped or Skipped())
        runner = Runner(job, store)
        starts = list(found.files.values())
        groups: Iterator[list[Message]]
        feed = LabelFeed(moved, label_files) if label_files else None
        if feed is None:
            events = read_events(files, moved.schema, EVENTS, starts, progress)
            groups = ([event] for event in events)
        else:
            events = read_events(files, moved.schema, EVENTS, progress=progress)
            groups = feed.groups(events, starts, found.labels)
        read = 0
        with spared():
            while batch := list(islice(groups, BATCH)):
                runner.many([message for group in batch for message in group])
                read += len(batch)
                for *_, event in batch:
                    found.files[names[event.partition]] = event.offset + 1
                if feed is not None:
                    found.labels = feed.counts
                store.commit({FILES: json.dumps(asdict(found)).encode()})
                runner.sweep()
                if stop.is_set():
                    return read
        found.whole = True
        if feed is not None:
            runner.many(feed.rest())
        store.commit({FILES: json.dumps(asdict(found)).encode()})
        return read
    finally:
        if runner is not None:
            runner.close()
        store.close()


def _files(store: RocksStore) -> Files | None:
    kept = store.meta(FILES)
    return None if kept is None else Files(**json.loads(kept))


def bootstrap(
    pipeline: Pipeline,
    folder: Path,
    *,
    stop: Stop,
    until: Mapping[str, int] | None = None,
    tell: Callable[[Sequence[Message]], None] | None = None,
    skipped: Skipped | None = None,
) -> int:
    """Read a pipeline's events into its state, and decide none of them.

    What was read before is not read again, so a second call catches up.

    Parameters
    ----------
    pipeline
        Of events in a topic.
    folder
        Of the pipelines' states, as `verdict run --state` takes it.
    stop
        Ends it after the batch at hand.
    until
        As `decided` returns it; None for the topics' end.
    tell
        Called with each batch of records.
    skipped
        Counts those that came from files (see `read_files`).

    Returns
    -------
    int
        Records read.

    Raises
    ------
    KafkaError
        Files were not read to their end. The state has decided events itself, or read further than
        ``until``; or as the broker does.
    """
    job = score.score(pipeline)
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    inputs = topics_of(job.inputs, pipeline.topics)
    kept = home(pipeline, folder)
    if (files := _kept_files(kept)) is not None:
        if not files.whole:
            raise KafkaError(f"{kept} has not read its files to their end: name them again")
        job = _within(job, pipeline, lambda time: time >= files.before, skipped or Skipped())

    def opened(offsets: Mapping[str, int]) -> Silent:
        ends = until or {}
        bounded = {_topic(partition) for partition in ends} | {inputs[EVENTS]}
        for partition, read in offsets.items() if until is not None else ():
            end = ends.get(partition, 0)
            if _topic(partition) in bounded and read > end:
                raise KafkaError(
                    f"{kept} has read {partition} up to {read}, the job that decides "
                    f"only up to {end}: what lies between would be decided by nobody. Let that job "
                    "decide it (verdict run --bounded), then say this again"
                )
        return Silent(KafkaBroker(settings, inputs, {}, offsets), until, tell)

    return run_kafka(job, opened, kept, stop=stop, bounded=True)


def _kept_files(kept: Path) -> Files | None:
    if not kept.is_dir():
        return None
    store = RocksStore(kept)
    try:
        return _files(store)
    finally:
        store.close()


def decided(pipeline: Pipeline, folder: Path) -> dict[str, int]:
    """Return up to where the ``score`` job of a pipeline has decided: topic/partition -> offset.

    Raises
    ------
    StateError
        The job still runs: it holds the folder.
    KafkaError
        There is no state of it.
    """
    kept = home(pipeline, folder)
    if not kept.is_dir():
        raise KafkaError(
            f"there is no state of {pipeline.spec.pipeline}'s {SCORE_JOB} in {folder}: name "
            "the folder that it runs with (settings.state, or --state)"
        )
    store = RocksStore(kept)
    try:
        offsets: dict[str, int] = json.loads(store.meta("offsets") or b"{}")
        return offsets
    finally:
        store.close()


def _topic(partition: str) -> str:
    return partition.rpartition("/")[0]


def home(pipeline: Pipeline, folder: Path) -> Path:
    """Return where the embedded engine keeps the state of a pipeline's ``score`` job."""
    return folder / pipeline.spec.pipeline / SCORE_JOB
