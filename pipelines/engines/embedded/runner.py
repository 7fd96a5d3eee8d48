"""The embedded engine: one Python process, no JVM, state and offsets in one WriteBatch.

Records go through a job's hops in the order in which they came, a batch through one hop before it
goes through the next. Then the outputs are made safe (acknowledged by the broker, or flushed to
files), and state and offsets are committed together. A crash in between repeats the batch: the same
records, from the same state, make the same bytes.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from verdict.operators.message import NEXT, Counts, Forgetting, Holding, Message, new
from verdict.pipelines.engines.batch import Emitted, HopRunner, to_next
from verdict.pipelines.errors import OperatorError, RegistryError, safe_text
from verdict.pipelines.telemetry.meters import HopMeter, hop_labels
from verdict.pipelines.topology import Job
from verdict.state.errors import VerdictError
from verdict.state.store.rocks import RocksStore

SWEPT = 100
"""Heads of each hop that are looked at after a commit, whether they can be deleted."""


class OutputRecord(NamedTuple):
    """One record that a job put out, with the message that caused it."""

    stream: str
    key: bytes
    value: Any
    cause: Message


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
        self.meters: list[HopMeter] = []
        self._hops: list[HopRunner] = []
        for hop in job.hops:
            operator, state = hop.operator(), store.keyed(f"{job.name}/{hop.name}")
            last, meter = hop is job.hops[-1], None
            if metered:
                cache = state.cache if hop.keyed else None
                meter = HopMeter(hop_labels(job, hop.name), last, operator, cache)
                self.meters.append(meter)
            self._hops.append(HopRunner(operator, state, last, meter))

    def __call__(self, message: Message) -> list[OutputRecord]:
        """Run one message through the hops."""
        found = self.many((message,))
        if self.blocked is not None:
            raise self.blocked
        return found

    def many(self, messages: Sequence[Message]) -> list[OutputRecord]:
        """Run messages through the hops, all of them through one before the next.

        What comes of a message stands before what comes of a later one.
        """
        running: Sequence[Message] = messages
        causes: Sequence[int] = range(len(messages))
        # What leaves the job before its last hop, by the index of its cause.
        early: list[tuple[int, OutputRecord]] = []
        for index, hop in enumerate(self._hops[:-1]):
            emitted = self._emitted(index, running)
            if index == 0:
                self.taken, self.blocked = hop.taken, hop.blocked
            following: list[Message] = []
            followed: list[int] = []
            for at, emit in emitted:
                cause = causes[at]
                if emit[0] == NEXT:
                    following.append(to_next(messages[cause], emit))
                    followed.append(cause)
                else:
                    early.append((cause, new(OutputRecord, (*emit, messages[cause]))))
            running, causes = following, followed
        emitted = self._emitted(len(self._hops) - 1, running)
        if len(self._hops) == 1:
            self.taken, self.blocked = self._hops[0].taken, self._hops[0].blocked
        outputs = [
            new(OutputRecord, (output, key, value, messages[causes[at]]))
            for at, (output, key, value) in emitted
        ]
        if early:
            ended = [(causes[at], output) for (at, _), output in zip(emitted, outputs, strict=True)]
            outputs = [output for _, output in sorted([*early, *ended], key=itemgetter(0))]
        return outputs

    def _emitted(self, index: int, messages: Sequence[Message]) -> list[Emitted]:
        hop = self._hops[index]
        try:
            emitted = hop(messages)
        except VerdictError:
            raise
        except Exception as error:
            raise self._failed(index, error, hop.failing) from error
        if index > 0 and hop.blocked is not None:
            raise hop.blocked
        return emitted

    def close(self) -> None:
        """Let go of what operators hold beside their state: tables that they look up."""
        for hop in self._hops:
            if isinstance(hop.operator, Holding):
                hop.operator.close()

    @property
    def counts(self) -> list[Mapping[tuple[str, ...], int]]:
        """What each hop has counted, as its `Meter` says."""
        operators = [hop.operator for hop in self._hops]
        return [operator.meter.counts for operator in operators if isinstance(operator, Counts)]

    def sweep(self) -> int:
        """Delete some of what is forgotten, after a commit; return how many keys."""
        return sum(
            hop.state.sweep(hop.operator.forgotten, SWEPT)
            for hop in self._hops
            if isinstance(hop.operator, Forgetting)
        )

    def _failed(self, index: int, error: Exception, messages: Sequence[Message]) -> OperatorError:
        """Say which hop failed, and on what: one record, or one of those from the first to last."""
        job = self.job
        where = " to ".join(f"{m.topic}/{m.partition}/{m.offset}" for m in messages)
        hop = f"{job.pipeline}/{job.name}/{job.hops[index].name}"
        return OperatorError(f"{hop} failed on {where}: {safe_text(error)}; 'verdict -v' shows it")
