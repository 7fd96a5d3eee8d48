"""What runs inside Flink's workers: one hop's operator, for the records that Java has together.

Imported by the Python interpreter in the TaskManager, so it stays small.
"""

import logging
import pickle
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from verdict.operators.message import NEXT, Emit, Holding, Message, Operator, new
from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.engines.batch import HopRunner
from verdict.pipelines.engines.flink.silent import SILENT, is_silent
from verdict.pipelines.engines.flink.state import FlinkState, NoState
from verdict.pipelines.engines.garbage import spare
from verdict.pipelines.errors import FlinkError, frames, safe_text
from verdict.pipelines.formats.patience import Patience
from verdict.pipelines.telemetry import logs
from verdict.pipelines.telemetry.meters import HopMeter, hop_labels
from verdict.pipelines.telemetry.server import Endpoint, Served, serve
from verdict.pipelines.topology import Job

SWITCH_S = 1e-4
"""How long a hop may keep Python's lock while another of the same JVM waits for it. On a mini
cluster the card-fraud job made 1,017 decisions a second with it, 885 with Python's own 5 ms."""
WAIT_S = 60.0
"""How long a record waits for a schema registry that is away."""
NUMBERS = struct.Struct("<iiqq")
"""Of a record: the index of its input, partition, offset, timestamp."""
LOGGER = logging.getLogger(__name__)


class FlinkHop:
    """A hop in a TaskManager: Java calls `batch`. It travels there pickled.

    Parameters
    ----------
    job
        The job, whose factories stay behind: only the hop's own travels.
    index
        Of the hop.
    topics
        Topic of each of the job's inputs, in their order.
    metrics
        ``host:first-last``, where to show what is counted and timed; None does neither.
    """

    def __init__(
        self, job: Job, index: int, topics: tuple[str, ...], metrics: str | None = None
    ) -> None:
        hop = job.hops[index]
        self.name = hop.name
        self.where = f"{job.pipeline}/{job.name}/{hop.name}"
        self.keyed = hop.keyed
        self.factory: Callable[[], Operator] = hop.operator
        self.streams, self.topics = job.inputs, topics
        self.outputs = {name: number for number, name in enumerate(job.outputs, 1)}
        if index + 1 < len(job.hops):
            self.outputs[NEXT] = 0
        self.later = index > 0
        self.last = index + 1 == len(job.hops)
        self.labels = hop_labels(job, hop.name)
        self.metrics = metrics
        self.served: Served | None = None

    def start(self, java: Any, subtask: int = 0, silent: str = "") -> None:
        """Make the operator, in the worker.

        Parameters
        ----------
        java
            The `BatchOperator`, which has the state.
        subtask
            Number of it.
        silent
            Of which records nothing is put out; see `is_silent`.
        """
        # pemja sets the root logger to DEBUG, and every library then formats its debug lines.
        logging.getLogger().setLevel(logging.WARNING)
        if "pemja" in sys.modules:
            logs.start(self.labels["pipeline"], self.labels["job"])
        sys.setswitchinterval(SWITCH_S)
        try:
            operator = self.factory()
        except Exception as error:
            # No record is known yet that it could quote.
            text = f"{type(error).__name__}: {error}"
            raise FlinkError(f"{self.where} cannot start: {_with_stack(text, error)}") from error
        self._state = FlinkState(java) if self.keyed else NoState(self.name)
        self._is_silent = is_silent(silent, self.topics)
        self._patience = Patience(LOGGER, self.where, most=WAIT_S)
        self._meter: HopMeter | None = None
        if self.metrics is not None:
            labels = {**self.labels, "subtask": str(subtask)}
            cache = self._state.cache if isinstance(self._state, FlinkState) else None
            self._meter = HopMeter(labels, self.last, operator, cache)
            self.served = serve(Endpoint.parse(self.metrics), self._meter)
        self._run = HopRunner(operator, self._state, self.last, self._meter)
        spare()

    def close(self) -> None:
        """Show nothing any more and let go of tables: the process may go on, with another job."""
        if self.served is not None:
            self.served.close()
        run = self.__dict__.pop("_run", None)  # there is none where it could not start
        if run is not None and isinstance(run.operator, Holding):
            run.operator.close()
        self.__dict__.pop("_state", None)  # and with it the Java object

    def batch(
        self, numbers: bytes, keys: Sequence[bytes | None], values: Sequence[Any]
    ) -> tuple[Any, ...]:
        """Run records through the operator.

        Parameters
        ----------
        numbers
            `NUMBERS` of each.
        keys, values
            Of each: the record's own in the first hop, in a later one what the hop before emitted.

        Returns
        -------
        tuple
            Keys, and their heads to write. Of all records to put out: for each the index of the one
            that it comes of, and 0 for the next hop or 1 + index of the output; keys; values.
        """
        streams, topics = self.streams, self.topics
        if self.later:
            values = [pickle.loads(value) for value in values]
        messages = [
            new(Message, (streams[source], key, value, topics[source], part, offset, timestamp, ()))
            for (source, part, offset, timestamp), key, value in zip(
                NUMBERS.iter_unpack(numbers), keys, values, strict=True
            )
        ]
        emitted = self._emitted(messages)
        if self._is_silent is not None:
            asked, places = self._is_silent, list(NUMBERS.iter_unpack(numbers))
            emitted = [
                (index, emit)
                for index, emit in emitted
                if emit.output == NEXT or not asked(*places[index][:3])
            ]
        if self._meter is not None:
            self._measure(self._meter, messages, emitted)
        return self._rows(messages, emitted)

    def _emitted(self, messages: Sequence[Message]) -> list[tuple[int, Emit]]:
        """Run them, waiting for the schema registry where it is away: others have to wait, too.

        Not for ever: no checkpoint can be taken meanwhile, and the task cannot be cancelled. Flink
        then starts the job again, and it waits on.
        """
        run, patience = self._run, self._patience
        try:
            emitted, done = run(messages), run.taken
            while run.blocked is not None:
                if not patience.waits(run.blocked):
                    run.failing = (messages[done],)
                    raise run.blocked
                emitted += [(done + index, emit) for index, emit in run(messages[done:])]
                done += run.taken
                if run.taken:
                    patience.answered()
        except Exception as error:
            raise self._failed(error, run.failing) from error
        return emitted

    def _failed(self, error: Exception, messages: Sequence[Message]) -> FlinkError:
        where = " to ".join(f"{each.topic}/{each.partition}/{each.offset}" for each in messages)
        text = _with_stack(safe_text(error), error)
        return FlinkError(f"{self.where} failed on {where}: {text}")

    def _measure(
        self, meter: HopMeter, messages: Sequence[Message], emitted: Sequence[tuple[int, Emit]]
    ) -> None:
        meter.fold()
        if not self.last:
            return
        now = time.time_ns() // 1_000_000
        for index, emit in emitted:
            timestamp = messages[index].timestamp
            if timestamp >= 0 and emit.output not in (NEXT, DEAD_LETTERS):
                meter.aged(now - timestamp)

    def _rows(
        self, messages: Sequence[Message], emitted: Sequence[tuple[int, Emit]]
    ) -> tuple[Any, ...]:
        outputs = self.outputs
        places: list[int] = []
        keys: list[bytes] = []
        values: list[Any] = []
        for index, (output, key, value) in emitted:
            number = outputs.get(output)
            if not number:
                if number is None:
                    raise self._failed(FlinkError(self._unknown(output)), (messages[index],))
                value = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
            places += (index, number)
            keys.append(key)
            values.append(value)
        packed = struct.pack(f"<{len(places)}i", *places)
        return (*self._state.take_written(), packed, tuple(keys), tuple(values))

    def _unknown(self, output: str) -> str:
        if output == NEXT:
            return "it emits to NEXT, but it is the job's last hop"
        known = ", ".join(repr(name) for name in self.outputs if name != NEXT)
        return f"it emits to '{output}'; the job's outputs are {known}"


def open_hop(java: Any, payload: bytes, subtask: int, parameters: Any) -> FlinkHop:
    """Make a hop of its pickle; Java calls its `batch`."""
    hop: FlinkHop = pickle.loads(payload)
    hop.start(java, subtask, parameters.get(SILENT) or "")
    return hop


def _with_stack(text: str, error: Exception) -> str:
    """Add to an error where it comes from, as Java does: Java hears no more of it."""
    return "\n".join([text, *(f"\tat {frame}" for frame in frames(error))])
