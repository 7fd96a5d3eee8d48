"""A job over Kafka."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from verdict.operators.message import Message
from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.engines.embedded.runner import OutputRecord, Runner
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.formats.patience import Patience
from verdict.pipelines.telemetry.meters import RunMeter
from verdict.pipelines.telemetry.server import Endpoint, serve
from verdict.pipelines.topology import Job, Stop
from verdict.state.store.rocks import RocksStore

POLL_MOST = 1_000
"""Most records of Kafka that are taken at a time; fewer when fewer wait."""
COMMIT_S = 0.2
"""How long records are processed between two commits: to commit is to wait for the broker, which
costs throughput and latency; a crash repeats as much."""
SCORED = 256
"""Most of them that are scored at once, and are on their way before the following ones are."""
POLL_S = 0.1
"""How long to wait for a record before looking whether to stop."""
LOGGER = logging.getLogger(__name__)


class Broker(Protocol):
    """What `run_kafka` needs of Kafka: records in, records out, acknowledged."""

    def poll(self, most: int, timeout: float) -> list[Message]:
        """Return the records that came, at most so many, waiting so many seconds for the first."""
        ...

    def send(self, output: OutputRecord) -> None:
        """Send a record, without waiting for it."""
        ...

    def flush(self) -> None:
        """Wait until what was sent is acknowledged."""
        ...

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        """Whether all is read that was in the topics at the first call."""
        ...

    def close(self) -> None:
        """Leave the broker."""
        ...


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

        def send(outputs: Sequence[OutputRecord]) -> None:
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

        patience = Patience(LOGGER, stop=stop)
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
                    if runner.blocked is None:
                        patience.answered()
                        continue
                    note(batch[:done])
                    commit()
                    if not patience.waits(runner.blocked):
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
