"""The embedded engine: one Python process, no JVM, state and offsets in one WriteBatch.

Records go through a job's hops one at a time, in the order in which they came. After each batch the
outputs are made safe first (acknowledged by the broker, or flushed to files), then state and
offsets are committed together. A crash in between repeats the batch: the same records, from the
same state, make the same bytes.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from verdict.operators.message import (
    NEXT,
    Counts,
    Deferred,
    Deferring,
    Emit,
    Forgetting,
    Holding,
    Message,
    Operator,
    new,
)
from verdict.pipelines.errors import OperatorError, RegistryError, safe_text
from verdict.pipelines.telemetry.meters import HopMeter, hop_labels
from verdict.pipelines.topology import Job
from verdict.state.errors import VerdictError
from verdict.state.store.rocks import RocksState, RocksStore

SWEPT = 100
"""Heads of each hop that are looked at after a commit, whether they can be deleted."""


class OutputRecord(NamedTuple):
    """One record that a job put out, with the message that caused it."""

    stream: str
    key: bytes
    value: Any
    cause: Message


_At = tuple[Operator, RocksState]
"""A hop's operator, and the state of the key that it is at."""


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
        self._hops: list[_At] = [
            (hop.operator(), store.keyed(f"{job.name}/{hop.name}")) for hop in job.hops
        ]
        end = self._hops[-1][0]
        self._settles = end if isinstance(end, Deferring) and end.defers else None
        """The last hop's operator, if that is better asked for many decisions at once."""
        self.meters: list[HopMeter] = []
        self._held: list[int] = []
        """Nanoseconds that each event took until its decision was left to `settle`."""
        if metered:
            for hop, (operator, state) in zip(job.hops, self._hops, strict=True):
                cache = state.cache if hop.keyed else None
                labels, last = hop_labels(job, hop.name), hop is job.hops[-1]
                self.meters.append(HopMeter(labels, last, operator, cache))

    def __call__(self, message: Message) -> list[OutputRecord]:
        """Run one message through the hops."""
        outputs: list[OutputRecord] = []
        self._run(0, message, outputs, None)
        return outputs

    def many(self, messages: Sequence[Message]) -> list[OutputRecord]:
        """Run messages through the hops, one at a time; a last hop may score them all at once."""
        outputs: list[OutputRecord] = []
        self.taken, self.blocked = 0, None
        try:
            for message in messages:
                self._run(0, message, outputs, self._settles)
                self.taken += 1
        except RegistryError as error:
            # To decode is the first thing that is done with a message: no state knows of it yet.
            self.blocked = error
        if self._settles is None:
            return outputs
        places = [i for i, output in enumerate(outputs) if isinstance(output.value, Deferred)]
        settled = self._settled(self._settles, [outputs[place].value for place in places])
        for place, emit in zip(places, settled, strict=True):
            outputs[place] = new(OutputRecord, (*emit, outputs[place].cause))
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

    def _run(
        self, index: int, message: Message, outputs: list[OutputRecord], settles: Deferring | None
    ) -> None:
        operator, state = self._hops[index]
        state.key = message.key or b""
        began = time.perf_counter_ns() if self.meters else 0
        try:
            if operator is settles:
                emits = settles(message, state, True)
            else:
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
                    self._run(index + 1, following, outputs, settles)
                else:
                    outputs.append(new(OutputRecord, (output, key, value, message)))
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
        return OperatorError(f"{hop} failed on {where}: {safe_text(error)}; 'verdict -v' shows it")
