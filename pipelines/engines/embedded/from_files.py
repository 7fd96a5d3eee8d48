"""A job over files."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

from verdict.operators.events.schema import Schema
from verdict.operators.message import Message
from verdict.operators.names import EVENTS
from verdict.pipelines.engines.embedded.runner import OutputRecord, Runner
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.topology import Job, Stop
from verdict.state.store.rocks import RocksStore

BATCH = 500
"""Most records of files between two commits."""


class Feed(Protocol):
    """What is to go in between the events; see `pipelines.jobs.label_feed.LabelFeed`."""

    counts: dict[str, int]

    def groups(
        self, events: Iterable[Message], starts: Sequence[int], before: Mapping[str, int]
    ) -> Iterator[list[Message]]:
        """Yield each event behind what is to be fed before it."""
        ...


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
    watch: Callable[[Sequence[OutputRecord]], None] | None = None,
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

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from verdict import jobs, load, read_records
    >>> from verdict.pipelines.paths import resource
    >>> pipeline = load(resource("init/pipeline.yaml"))
    >>> with TemporaryDirectory() as folder:
    ...     state, out = Path(folder, "state"), Path(folder, "out")
    ...     files = [resource("init/events.jsonl")]
    ...     run_files(jobs(pipeline), files, pipeline.schema, pipeline.topics, state, out)
    ...     next(read_records(out / "decisions.avro"))["action"]
    10
    'approve'
    """
    store = RocksStore(state)
    runners: list[Runner] = []
    try:
        kept = json.loads(store.meta("files") or b"{}")
        offsets: dict[str, int] = kept.get("offsets", {})
        counts: dict[str, int] = kept.get("counts", {})
        lengths: dict[str, int] = kept.get("lengths", {})
        for job in jobs:
            runners.append(Runner(job, store))  # noqa: PERF401  one that fails closes the others
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
) -> Iterator[OutputRecord]:
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


def paced(rate: float, after: int = 0) -> Callable[[int], int]:
    """Make a pace for `run_files`: ``rate`` events a second, after the first ``after``.

    >>> take = paced(1000, after=20)
    >>> take(0), take(5)
    (20, 15)
    """
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
