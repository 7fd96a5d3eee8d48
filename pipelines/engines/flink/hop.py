"""What runs inside Flink's workers: one hop's operator, over the state of the current key.

Imported by the Python interpreter in the TaskManager, so it stays small.
"""

import logging
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pyflink.common import Row, Time, Types
from pyflink.datastream.functions import KeyedProcessFunction, ProcessFunction
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig, ValueStateDescriptor

from verdict.operators.message import NEXT, Emit, Holding, Message, Operator, new
from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.engines.flink.silent import SILENT, is_silent
from verdict.pipelines.engines.flink.state import FlinkState, NoState
from verdict.pipelines.engines.garbage import spare
from verdict.pipelines.errors import FlinkError, RegistryError, frames, safe_text
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
LOGGER = logging.getLogger(__name__)


def record_type() -> Any:
    """Return the type of what enters a hop.

    Index of the input, key, value, partition, offset, timestamp, and the headers to carry, packed,
    or null. A type keeps its Java twin, so each JVM needs one of its own.
    """
    names, types = _columns()
    return Types.ROW_NAMED(names, types)


def emitted_type() -> Any:
    """Return the type of what leaves a hop.

    0 for the next hop or 1 + index of the output, key, value, then as in `record_type`.
    """
    (src, *names), (index, *types) = _columns()
    names[2:2], types[2:2] = [src], [index]
    return Types.ROW_NAMED(["out", *names], [Types.INT(), *types])


def _columns() -> tuple[list[str], list[Any]]:
    return ["src", "k", "v", "part", "off", "ts", "hdr"], [
        *(Types.INT(), _bytes(), _bytes()),
        *(Types.INT(), Types.LONG(), Types.LONG(), Types.STRING()),
    ]


def _bytes() -> Any:
    # Arrives as bytes, as an element of a row; as a state's type it fails on None.
    return Types.PRIMITIVE_ARRAY(Types.BYTE())


class _Hop:
    """The part that both kinds of hop share.

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
        self.factory: Callable[[], Operator] = hop.operator
        self.state_ttl = hop.state_ttl
        self.sources = tuple(zip(job.inputs, topics, strict=True))
        self.outputs = {name: number for number, name in enumerate(job.outputs, 1)}
        if index + 1 < len(job.hops):
            self.outputs[NEXT] = 0
        self.later = index > 0
        self.last = index + 1 == len(job.hops)
        self.labels = hop_labels(job, hop.name)
        self.metrics = metrics
        self.served: Served | None = None

    def start(self, state: Any, subtask: int = 0, silent: str = "") -> None:
        # pemja sets the root logger to DEBUG, and every library then formats its debug lines.
        logging.getLogger().setLevel(logging.WARNING)
        if "pemja" in sys.modules:
            logs.start(self.labels["pipeline"], self.labels["job"])
        sys.setswitchinterval(SWITCH_S)
        try:
            self.operator = self.factory()
        except Exception as error:
            # No record is known yet that it could quote.
            said = f"{type(error).__name__}: {error}"
            raise FlinkError(f"{self.where} cannot start: {_with_stack(said, error)}") from error
        self.state = state
        self._mute(silent)
        if self.metrics is not None:
            self._measure(self.metrics, {**self.labels, "subtask": str(subtask)})
        _opening.hop = self
        spare()

    def _mute(self, silent: str) -> None:
        """Of records that are silent, put out only what goes to the next hop."""
        asked = is_silent(silent, tuple(topic for _, topic in self.sources))
        if asked is None:
            return
        rows = self.rows

        def hushed(record: Sequence[Any]) -> list[tuple[Any, ...]]:
            made = rows(record)
            if asked(record[0], record[3], record[4]):
                return [row for row in made if row[0] == 0]
            return made

        self.rows = hushed  # type: ignore[method-assign]

    def _measure(self, metrics: str, labels: dict[str, str]) -> None:
        """Count and time what passes through `rows`, and show it."""
        cache = getattr(self.state, "cache", None)
        meter = HopMeter(labels, self.last, self.operator, cache)
        dead = {0, self.outputs.get(DEAD_LETTERS)}
        rows, took, aged, last = self.rows, meter.took, meter.aged, self.last
        clock = time.perf_counter_ns

        def measured(record: Sequence[Any]) -> list[tuple[Any, ...]]:
            began = clock()
            made = rows(record)
            took(clock() - began)
            if last:
                for row in made:
                    if row[0] not in dead and row[6] >= 0:
                        aged(time.time_ns() // 1_000_000 - row[6])
            return made

        # In its place, so that whoever counts nothing pays nothing.
        self.rows = measured  # type: ignore[method-assign]
        self.served = serve(Endpoint.parse(metrics), meter)

    def close(self) -> None:
        """Show nothing any more and let go of tables: the process may go on, with another job."""
        if self.served is not None:
            self.served.close()
        operator = getattr(self, "operator", None)  # there is none where it could not start
        if isinstance(operator, Holding):
            operator.close()

    def rows(self, record: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one record through the operator, from and to the fields of Flink's rows."""
        src, key, value, partition, offset, timestamp, headers = record
        stream, topic = self.sources[src]
        rows = []
        try:
            if self.later:
                value = pickle.loads(value)
            self.state.key = key
            message = new(Message, (stream, key, value, topic, partition, offset, timestamp, ()))
            try:
                emitted = self.operator(message, self.state)
            except RegistryError as error:
                emitted = self._waited(message, error)
            for output, key, value in emitted:
                number = self.outputs.get(output)
                if not number:
                    if number is None:
                        raise FlinkError(self._unknown(output))
                    value = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
                rows.append((number, key, value, src, partition, offset, timestamp, headers))
        except Exception as error:
            where = f"{self.where} failed on {topic}/{partition}/{offset}"
            raise FlinkError(f"{where}: {_with_stack(safe_text(error), error)}") from error
        return rows

    def _waited(self, message: Message, error: RegistryError) -> Iterable[Emit]:
        """Ask again until the schema registry answers: what comes behind has to wait for it.

        Not for ever: no checkpoint can be taken meanwhile, and the task cannot be cancelled. Flink
        then starts the job again, and it waits on.
        """
        patience = Patience(LOGGER, self.where, most=WAIT_S)
        while patience.waits(error):
            try:
                # To decode is the first thing that is done: no state knows of the record yet.
                emitted = self.operator(message, self.state)
            except RegistryError as again:
                error = again
            else:
                patience.answered()
                return emitted
        raise error

    def process_element(self, record: Any, _context: Any) -> list[Any]:
        """Process a record the way that PyFlink documents; `_shorten` takes its place."""
        return [Row(*row) for row in self.rows(tuple(record))]

    def _unknown(self, output: str) -> str:
        if output == NEXT:
            return "it emits to NEXT, but it is the job's last hop"
        known = ", ".join(repr(name) for name in self.outputs if name != NEXT)
        return f"it emits to '{output}'; the job's outputs are {known}"


def _subtask(context: Any) -> int:
    """Return the number of this subtask; PyFlink 2.3 asks Java for it where it is no more."""
    found: int = context._runtime_context.getTaskInfo().getIndexOfThisSubtask()
    return found


def _silent(context: Any) -> str:
    """Return which records are silent; PyFlink 2.3 hands a hop none of the job's parameters."""
    found: str | None = context._runtime_context.getGlobalJobParameters().get(SILENT)
    return found or ""


def _garbage_after(milliseconds: int) -> StateTtlConfig:
    """Let RocksDB's compactions collect what has not been written for so long.

    Until they do it is still there: nothing is forgotten by the clock.
    """
    return (
        StateTtlConfig.new_builder(Time.milliseconds(milliseconds))
        .set_update_type(StateTtlConfig.UpdateType.OnCreateAndWrite)
        .set_state_visibility(StateTtlConfig.StateVisibility.ReturnExpiredIfNotCleanedUp)
        # Without the second, which nothing uses, PyFlink asks a gateway that is not here.
        .cleanup_in_rocksdb_compact_filter(1_000, True)
        .build()
    )


class KeyedHop(_Hop, KeyedProcessFunction):  # type: ignore[misc]
    """A hop with a key."""

    def open(self, context: Any) -> None:
        """Begin, with the head and the chunks that Flink keeps of the current key."""
        value = Types.PICKLED_BYTE_ARRAY()
        head = ValueStateDescriptor("head", value)
        chunks = MapStateDescriptor("chunks", Types.LONG(), value)
        if self.state_ttl is not None:
            head.enable_time_to_live(_garbage_after(self.state_ttl))
            chunks.enable_time_to_live(_garbage_after(self.state_ttl))
        state = FlinkState(context.get_state(head), context.get_map_state(chunks))
        self.start(state, _subtask(context), _silent(context))


class PlainHop(_Hop, ProcessFunction):  # type: ignore[misc]
    """A hop without a key."""

    def open(self, context: Any) -> None:
        """Begin, with a state that refuses to be used."""
        self.start(NoState(self.name), _subtask(context), _silent(context))


_opening = threading.local()
"""The hop that was opened last in this thread."""


def _shorten() -> None:
    """Let Java call a hop's `rows` without PyFlink's wrappers, a third of an empty call's time.

    Where PyFlink has an operation per operator, converting each record to a ``Row`` and back and
    going through four generators, the operation of one of our hops gets a ``process_element`` of
    its own, from Java's tuples to Java's tuples. Should PyFlink look different one day, nothing
    happens here, and `_Hop.process_element` is called as documented; a test says so.
    """
    from pyflink.fn_execution.embedded.operations import OneInputFunctionOperation

    opened = OneInputFunctionOperation.open

    def open_(self: Any) -> None:
        _opening.hop = None
        opened(self)
        hop = _opening.hop
        if hop is not None and len(self._operations) == 1:
            self.process_element = _from_java(hop)

    OneInputFunctionOperation.open = open_


def _from_java(hop: _Hop) -> Callable[[Any], Iterator[Any]]:
    """Make what Java calls: a row is its kind and its fields, a keyed one has its key before it.

    What it returns has to be a generator: pemja knows no other iterator.
    """
    rows = hop.rows
    if isinstance(hop, KeyedHop):
        return lambda value: ((0, row) for row in rows(value[1][1][1]))
    return lambda value: ((0, row) for row in rows(value[1]))


def _with_stack(text: str, error: Exception) -> str:
    """Add to an error where it comes from, as Java does: Java hears no more of it."""
    return "\n".join([text, *(f"\tat {frame}" for frame in frames(error))])


if "pemja" in sys.modules:  # within a TaskManager
    _shorten()
