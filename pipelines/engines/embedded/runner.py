"""The embedded engine: one Python process, no JVM, state and offsets in one WriteBatch.

Records go through a job's hops one at a time, in the order in which they came. After each batch the
outputs are made safe first (acknowledged by the broker, or flushed to files), then state and
offsets are committed together. A crash in between repeats the batch: the same records, from the
same state, make the same bytes.
"""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from verdict.operators.events.schema import Schema
from verdict.operators.message import NEXT, Emit, Message, new
from verdict.operators.meter import Meter
from verdict.operators.names import DEAD_LETTERS, EVENTS
from verdict.operators.score.carry import Deferred
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import OperatorError, RegistryError, told
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.telemetry.meters import HopMeter, RunMeter, hop_labels
from verdict.pipelines.telemetry.server import Endpoint, serve
from verdict.pipelines.topology import Job, Stop
from verdict.state.errors import VerdictError
from verdict.state.store.rocks import RocksStore

BATCH = 500
"""Most records of files between two commits."""
POLL_MOST = 1_000
"""Most records of Kafka that are taken at a time; fewer when fewer wait."""
COMMIT_S = 0.2
"""How long records are processed between two commits: to commit is to wait for the broker, which
costs throughput and latency; a crash repeats as much."""
SCORED = 256
"""Most of them that are scored at once, and are on their way before the following ones are."""
POLL_S = 0.1
"""How long to wait for a record before looking whether to stop."""
SWEPT = 100
"""Heads of each hop that are looked at after a commit, whether they can be deleted."""
AGAIN_S = 1.0
"""How long to wait before a schema registry that was away is asked again."""

LOGGER = logging.getLogger(__name__)


class Output(NamedTuple):
    """One record that a job put out, with the message that caused it."""

    stream: str
    key: bytes
    value: Any
    cause: Message


@runtime_checkable
class Deferring(Protocol):
    """An operator that can leave what it decides to a call for many; see `EntityHop.defer`."""

    defers: bool

    def defer(self) -> bool: ...

    def settle(self, deferred: Sequence[Any]) -> list[Emit]: ...


@runtime_checkable
class Forgetting(Protocol):
    """An operator whose keys' state may go one day; see `EntityHop.forgotten`."""

    def forgotten(self, head: bytes) -> bool: ...


@runtime_checkable
class Holding(Protocol):
    """An operator that has something to let go of; see `EntityHop.close`."""

    def close(self) -> None: ...


@runtime_checkable
class Counts(Protocol):
    """An operator with a meter."""

    meter: Meter


class Feed(Protocol):
    """What is to go in between the events; see `pipelines.label_files.LabelFeed`."""

    counts: dict[str, int]

    def groups(
        self, events: Iterable[Message], starts: Sequence[int], before: Mapping[str, int]
    ) -> Iterator[list[Message]]: ...


class Runner:
    """Runs one job over a store: a message in, its outputs out.

    Of a job that ends before its last hop, what goes on is among the outputs.

    Parameters
    ----------
    job
        The job.
    store
        Of its state.
    metered
        Count and time each hop, for ``meters`` to show.

    Attributes
    ----------
    taken, blocked
        How many of its messages the last call of `many` ran; and why not the others, if the schema
        registry is away.
    """

    def __init__(self, job: Job, store: RocksStore, metered: bool = False) -> None:
        self.job = job
        self.taken = 0
        self.blocked: RegistryError | None = None
        self._last = len(job.hops) - 1
        self._hops = [(hop.operator(), store.keyed(f"{job.name}/{hop.name}")) for hop in job.hops]
        self.meters: list[HopMeter] = []
        self._held: list[int] = []
        """Nanoseconds that each event took until its decision was left to `settle`."""
        if metered:
            for hop, (operator, state) in zip(job.hops, self._hops, strict=True):
                cache = state.cache if hop.keyed else None
                labels, last = hop_labels(job, hop.name), hop is job.hops[-1]
                self.meters.append(HopMeter(labels, last, operator, cache))

    def __call__(self, message: Message) -> list[Output]:
        """Run one message through the hops."""
        outputs: list[Output] = []
        self._run(0, message, outputs)
        return outputs

    def many(self, messages: Sequence[Message]) -> list[Output]:
        """Run messages through the hops, one at a time; a last hop may score them all at once."""
        outputs: list[Output] = []
        last = self._hops[-1][0]
        defers = isinstance(last, Deferring) and last.defer()
        self.taken, self.blocked = 0, None
        try:
            for message in messages:
                self._run(0, message, outputs)
                self.taken += 1
        except RegistryError as error:
            # To decode is the first thing that is done with a message: no state knows of it yet.
            self.blocked = error
        if not defers:
            return outputs
        assert isinstance(last, Deferring)
        places = [i for i, output in enumerate(outputs) if isinstance(output.value, Deferred)]
        settled = self._settled(last, [outputs[place].value for place in places])
        for place, emit in zip(places, settled, strict=True):
            outputs[place] = new(Output, (*emit, outputs[place].cause))
        last.defers = False
        return outputs

    def close(self) -> None:
        """Let go of what operators hold beside their state: tables that they look up."""
        for operator, _ in self._hops:
            if isinstance(operator, Holding):
                operator.close()

    @property
    def counts(self) -> list[Mapping[tuple[str, ...], int]]:
        """What each hop has counted, as its `Meter` says."""
        return [operator.meter.counts for operator, _ in self._hops if isinstance(operator, Counts)]

    def sweep(self) -> int:
        """Delete some of what is forgotten, after a commit; return how many keys."""
        return sum(
            state.sweep(operator.forgotten, SWEPT)
            for operator, state in self._hops
            if isinstance(operator, Forgetting)
        )

    def _settled(self, last: Deferring, deferred: Sequence[Deferred]) -> list[Emit]:
        began = time.perf_counter_ns()
        try:
            settled = last.settle(deferred)
        except VerdictError:
            raise
        except Exception as error:
            messages = [each.message for each in (deferred[0], deferred[-1])]
            raise self._failed(len(self._hops) - 1, error, *messages) from error
        if self._held:
            each = (time.perf_counter_ns() - began) // len(self._held)
            self.meters[-1].times += [before + each for before in self._held]
            self._held.clear()
        return settled

    def _run(self, index: int, message: Message, outputs: list[Output]) -> None:
        operator, state = self._hops[index]
        state.key = message.key or b""
        began = time.perf_counter_ns() if self.meters else 0
        try:
            emits = operator(message, state)
            if self.meters:
                emits = tuple(emits)  # a generator works only now
                self._time(index, time.perf_counter_ns() - began, emits)
            for output, key, value in emits:
                if output == NEXT and index != self._last:
                    stream, _, _, topic, partition, offset, timestamp, carried = message
                    following = new(
                        Message, (stream, key, value, topic, partition, offset, timestamp, carried)
                    )
                    self._run(index + 1, following, outputs)
                else:
                    outputs.append(new(Output, (output, key, value, message)))
        except VerdictError:
            raise
        except Exception as error:
            raise self._failed(index, error, message) from error

    def _time(self, index: int, took: int, emits: Sequence[Emit]) -> None:
        if emits and type(emits[0].value) is Deferred:
            self._held.append(took)
        else:
            self.meters[index].times.append(took)

    def _failed(self, index: int, error: Exception, *messages: Message) -> OperatorError:
        """Say which hop failed, and on what: one record, or one of those from the first to last."""
        job = self.job
        where = " to ".join(f"{m.topic}/{m.partition}/{m.offset}" for m in messages)
        hop = f"{job.pipeline}/{job.name}/{job.hops[index].name}"
        return OperatorError(f"{hop} failed on {where}: {told(error)}; 'verdict -v' shows it")


def run_files(
    jobs: Sequence[Job],
    files: Sequence[Path],
    schema: Schema,
    topics: Mapping[str, str],
    state: Path,
    out: Path,
    *,
    stop: Stop | None = None,
    pace: Callable[[int], int] | None = None,
    watch: Callable[[Sequence[Output]], None] | None = None,
    labels: Feed | None = None,
) -> int:
    """Run jobs over files, each fed by what those before it put out.

    Parameters
    ----------
    jobs
        In the order in which they feed each other: score, shadow, watch.
    files
        Of events, read to their end.
    schema
        Of the events.
    topics
        Output stream -> name of its file in ``out``, without ``.avro``.
    state
        Folder of the state. A run that was stopped goes on where it was committed last; so does
        one over files that have grown, or over others that follow those already read.
    out
        Folder of the output files.
    stop
        Ends the run after the batch at hand.
    pace
        Called with the number of events so far before each batch; may wait, and returns how many
        to take next.
    watch
        Called with each batch's outputs once they are committed.
    labels
        Fed between the events.

    Returns
    -------
    int
        Events read, those of runs before included.
    """
    store = RocksStore(state)
    runners: list[Runner] = []
    try:
        kept = json.loads(store.meta("files") or b"{}")
        offsets: dict[str, int] = kept.get("offsets", {})
        counts: dict[str, int] = kept.get("counts", {})
        lengths: dict[str, int] = kept.get("lengths", {})
        for job in jobs:
            runners.append(Runner(job, store))
        sinks = {
            stream: AvroFile(
                out / f"{topics[stream]}.avro", definition(stream), lengths.get(stream, 0)
            )
            for stream in dict.fromkeys(stream for job in jobs for stream in job.outputs)
        }
        done = sum(offsets.values())
        paths = [str(file.resolve()) for file in files]
        starts = [offsets.get(path, 0) for path in paths]
        groups: Iterator[list[Message]]
        if labels is None:
            groups = ([event] for event in read_events(files, schema, EVENTS, starts))
        else:
            # Those of a run before too: a label of now may be of an event of then.
            events = read_events(files, schema, EVENTS)
            groups = labels.groups(events, starts, kept.get("labels", {}))
        while taken := list(islice(groups, pace(done) if pace else BATCH)):
            batch = [group[-1] for group in taken]
            outputs = list(_chain(runners, chain.from_iterable(taken), topics, counts))
            for stream, sink in sinks.items():
                sink.append(output.value for output in outputs if output.stream == stream)
            done += len(batch)
            offsets |= {paths[message.partition]: message.offset + 1 for message in batch}
            lengths |= {stream: sink.length for stream, sink in sinks.items()}
            kept = {"offsets": offsets, "counts": counts, "lengths": lengths}
            if labels is not None:
                kept["labels"] = labels.counts
            store.commit({"files": json.dumps(kept).encode()})
            for runner in runners:
                runner.sweep()
            if watch is not None:
                watch(outputs)
            if stop is not None and stop.is_set():
                break
        for sink in sinks.values():
            sink.close()
        return done
    finally:
        for runner in runners:
            runner.close()
        store.close()


def _chain(
    runners: Sequence[Runner],
    messages: Iterable[Message],
    topics: Mapping[str, str],
    counts: dict[str, int],
) -> Iterator[Output]:
    """Run each message through every job that it, or what came of it, is an input of."""
    for message in messages:
        waiting = [message]
        while waiting:
            current = waiting.pop(0)
            for runner in runners:
                if current.stream not in runner.job.inputs:
                    continue
                for output in runner(current):
                    yield output
                    offset = counts.get(output.stream, 0)
                    counts[output.stream] = offset + 1
                    waiting.append(
                        Message(
                            output.stream,
                            output.key,
                            output.value,
                            topics[output.stream],
                            0,
                            offset,
                            output.cause.timestamp,
                        )
                    )


class Broker(Protocol):
    """What `run_kafka` needs of Kafka: records in, records out, acknowledged."""

    def poll(self, most: int, timeout: float) -> list[Message]: ...

    def send(self, output: Output) -> None: ...

    def flush(self) -> None: ...

    def at_end(self, offsets: Mapping[str, int]) -> bool: ...

    def close(self) -> None: ...


def run_kafka(
    job: Job,
    broker_from: Callable[[Mapping[str, int]], Broker],
    state: Path,
    *,
    stop: Stop,
    bounded: bool = False,
    commit_s: float = COMMIT_S,
    metrics: Endpoint | None = None,
) -> int:
    """Run a job from Kafka to Kafka, until told to stop.

    Parameters
    ----------
    job
        The job.
    broker_from
        Opens the topics at offsets, ``topic/partition`` -> next offset; others at their start.
    state
        Folder of the state.
    stop
        Ends the run after the batch at hand.
    bounded
        End where the topics end now.
    commit_s
        Seconds between two commits, while records come.
    metrics
        Where to show what is counted and timed; None counts and times nothing.

    Returns
    -------
    int
        Records read in this run.
    """
    store = RocksStore(state)
    runner: Runner | None = None
    try:
        offsets: dict[str, int] = json.loads(store.meta("offsets") or b"{}")
        runner = Runner(job, store, metrics is not None)
        broker = broker_from(offsets)
        meter: RunMeter | None = None
        served: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if metrics is not None:
            meter = RunMeter(job, runner.meters, offsets, broker)
            served = contextlib.closing(serve(metrics, meter))

        def commit() -> None:
            began = time.perf_counter_ns()
            broker.flush()
            store.commit({"offsets": json.dumps(offsets).encode()})
            runner.sweep()
            if meter is not None:
                meter.committed(time.perf_counter_ns() - began)

        def send(outputs: Sequence[Output]) -> None:
            for output in outputs:
                broker.send(output)
            if meter is not None:
                now = time.time_ns() // 1_000_000
                meter.sent(
                    [
                        now - cause.timestamp
                        for stream, _, _, cause in outputs
                        if stream != DEAD_LETTERS and cause.timestamp >= 0
                    ]
                )

        def note(decided: Sequence[Message]) -> None:
            newest = {(message.topic, message.partition): message for message in decided}
            for (topic, partition), message in newest.items():
                offsets[f"{topic}/{partition}"] = message.offset + 1
            if meter is not None:
                meter.decided(newest.values())

        patience = _Patience(stop)
        with contextlib.closing(broker), served, spared():
            read = 0
            open_since: float | None = None
            while not stop.is_set():
                if bounded and broker.at_end(offsets):
                    break
                if open_since is not None and time.monotonic() - open_since > commit_s:
                    commit()
                    open_since = None
                batch = broker.poll(POLL_MOST, POLL_S)
                if not batch:
                    if meter is not None:
                        meter.idle()
                    continue
                open_since = open_since or time.monotonic()
                if meter is not None:
                    meter.batch = batch
                done = 0
                while done < len(batch):
                    send(runner.many(batch[done : done + SCORED]))
                    done += runner.taken
                    if runner.blocked is not None:
                        note(batch[:done])
                        commit()
                    if not patience(runner.blocked):
                        break
                note(batch[:done])
                read += done
            if open_since is not None:
                commit()
            return read
    finally:
        if runner is not None:
            runner.close()
        store.close()


class _Patience:
    """Waits while a schema registry is away; says so once, and once that it is back."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._since: float | None = None

    def __call__(self, blocked: RegistryError | None) -> bool:
        """Wait a little if something is away; return False if told to stop."""
        now = time.monotonic()
        if blocked is None:
            if self._since is not None:
                LOGGER.warning("The schema is there, after %.0f s; going on.", now - self._since)
                self._since = None
            return True
        if self._since is None:
            self._since = now
            LOGGER.warning("%s\nWaiting, and asking again; nothing is lost.", blocked)
        while time.monotonic() < now + AGAIN_S:
            if self._stop.is_set():
                return False
            time.sleep(POLL_S)
        return True


def paced(rate: float, after: int = 0) -> Callable[[int], int]:
    """Make a pace for `run_files`: ``rate`` events a second, after the first ``after``."""
    started: list[float] = []

    def take(done: int) -> int:
        if done < after:
            return min(BATCH, after - done)
        now = time.monotonic()
        if not started:
            started.append(now - (done - after) / rate)
        due = started[0] + (done - after + 1) / rate
        time.sleep(max(due - now, 0))
        owed = int((time.monotonic() - started[0]) * rate) - (done - after)
        return max(1, min(BATCH, owed))

    return take
