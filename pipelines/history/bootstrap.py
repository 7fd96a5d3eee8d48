"""State made from history on the embedded engine: the job reads its topic, and puts out nothing.

What the topic does not reach back to may come from files first: events before a time from those,
the others from the topic. `bootstrap_flink` does it on a cluster.

So a feature that looks back 30 days is right at its first decision. The job that decides goes on
meanwhile. When the new state has caught up, that job is stopped; the new one reads silently up to
the very record at which the old one ended, and decides from there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from verdict.operators.message import Message
from verdict.operators.names import EVENTS, SCORE_JOB
from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.history.bootstrap_files import (
    Skipped,
    home,
    read_files_of,
    read_meta,
    within,
)
from verdict.pipelines.jobs import score
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop, topics_of


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
    first
        Streams of labels.
    tell
        Called with each batch of records.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        until: Mapping[str, int] | None,
        first: Sequence[str] = (),
        tell: Callable[[Sequence[Message]], None] | None = None,
    ) -> None:
        self._broker = broker
        self._until = until
        self._first = first
        self._tell = tell
        self._bounded = {_topic(partition) for partition in until or ()}
        self._past: set[str] = set()
        """Partitions of which a record behind the last one has come."""

    def poll(self, most: int, timeout: float) -> list[Message]:
        """Return the records that came, without those from the end on."""
        found = self._broker.poll(most, timeout)
        if self._until is not None:
            found = [message for message in found if self._is_before(message, self._until)]
        if self._tell is not None and found:
            self._tell(found)
        return found

    def _is_before(self, message: Message, until: Mapping[str, int]) -> bool:
        if message.stream in self._first and message.topic not in self._bounded:
            return True
        partition = f"{message.topic}/{message.partition}"
        if message.offset < until.get(partition, 0):
            return True
        self._past.add(partition)
        return False

    def send(self, output: OutputRecord) -> None:
        """Decide nothing: another job does."""

    def flush(self) -> None:
        """There is nothing to wait for."""

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        """Whether each partition is read to its end."""
        if self._until is None or self._broker.at_end(offsets):
            return self._broker.at_end(offsets)
        return all(
            offsets.get(partition, 0) >= end or partition in self._past
            for partition, end in self._until.items()
        )

    def lags(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """Return how many records of each partition lie past an offset."""
        return self._broker.lags(offsets)

    def close(self) -> None:
        """Leave the broker."""
        self._broker.close()


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
    if (files := read_files_of(kept)) is not None:
        if not files.whole:
            raise KafkaError(f"{kept} has not read its files to their end: name them again")
        job = within(job, pipeline, lambda time: time >= files.before, skipped or Skipped())

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
        broker = KafkaBroker(settings, inputs, {}, offsets, first=job.first)
        return Silent(broker, until, job.first, tell)

    return run_kafka(job, opened, kept, stop=stop, bounded=True)


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
    offsets: dict[str, int] = json.loads(read_meta(kept, "offsets") or b"{}")
    return offsets


def _topic(partition: str) -> str:
    return partition.rpartition("/")[0]
