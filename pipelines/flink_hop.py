"""What runs inside Flink's workers: one hop's operator, over the state of the current key.

Imported by the Python interpreter in the TaskManager, so it stays small.
"""

import logging
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream.functions import KeyedProcessFunction, ProcessFunction
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from operators.message import NEXT, Message, Operator
from pipelines.errors import FlinkError
from pipelines.garbage import spare
from pipelines.job import Job
from state.cache import HeadCache
from state.errors import StateError

SWITCH_S = 1e-4
"""How long a hop may keep Python's lock while another of the same JVM waits for it. On a mini
cluster the card-fraud job made 1,017 decisions a second with it, 885 with Python's own 5 ms."""


def record_type() -> Any:
    """Return the type of what enters a hop.

    Index of the input, key, value, partition, offset, timestamp. A type keeps its Java twin, so
    each JVM needs one of its own.
    """
    return Types.ROW_NAMED(
        ["src", "k", "v", "part", "off", "ts"],
        [Types.INT(), _bytes(), _bytes(), Types.INT(), Types.LONG(), Types.LONG()],
    )


def emitted_type() -> Any:
    """Return the type of what leaves a hop.

    0 for the next hop or 1 + index of the output, key, value, then as in `record_type`.
    """
    return Types.ROW_NAMED(
        ["out", "k", "v", "src", "part", "off", "ts"],
        [Types.INT(), _bytes(), _bytes(), Types.INT(), Types.INT(), Types.LONG(), Types.LONG()],
    )


def _bytes() -> Any:
    # Arrives as bytes, as an element of a row; as a state's type it fails on None.
    return Types.PRIMITIVE_ARRAY(Types.BYTE())


class FlinkState:
    """The current key's state in Flink: a ``ValueState``, and a ``MapState`` of chunks.

    Heads are kept in a cache, and written through to Flink: to read one from RocksDB costs more
    than all else that is done with it. The Java object is called without PyFlink's wrapper, which
    would pickle the bytes; so they lie in savepoints as they are.
    """

    __slots__ = ("_cache", "_chunks", "_head", "key")

    def __init__(self, head: Any, chunks: Any) -> None:
        self._head = head._state
        self._chunks = chunks
        self._cache = HeadCache()
        self.key = b""

    def get(self) -> bytes | None:
        head = self._cache.get(self.key)
        if head is None:
            head = self._head.value()
            if head is not None:
                self._cache.put(self.key, head)
        return head

    def put(self, head: bytes) -> None:
        self._cache.put(self.key, head)
        self._head.update(head)

    def chunk(self, number: int) -> bytes | None:
        data: bytes | None = self._chunks.get(number)
        return data

    def put_chunk(self, number: int, data: bytes) -> None:
        self._chunks.put(number, data)

    def drop_chunk(self, number: int) -> None:
        self._chunks.remove(number)


class NoState:
    """Stands for the state of a hop without a key, and refuses every use."""

    def __init__(self, hop: str) -> None:
        self._hop = hop
        self.key = b""

    def _refuse(self) -> StateError:
        return StateError(f"hop '{self._hop}' has no key, so no state; make it Hop(keyed=True)")

    def get(self) -> bytes | None:
        raise self._refuse()

    def put(self, head: bytes) -> None:
        raise self._refuse()

    def chunk(self, number: int) -> bytes | None:
        raise self._refuse()

    def put_chunk(self, number: int, data: bytes) -> None:
        raise self._refuse()

    def drop_chunk(self, number: int) -> None:
        raise self._refuse()


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
    """

    def __init__(self, job: Job, index: int, topics: tuple[str, ...]) -> None:
        hop = job.hops[index]
        self.name = hop.name
        self.where = f"{job.pipeline}/{job.name}/{hop.name}"
        self.factory: Callable[[], Operator] = hop.operator
        self.sources = tuple(zip(job.inputs, topics, strict=True))
        self.outputs = {name: number for number, name in enumerate(job.outputs, 1)}
        if index + 1 < len(job.hops):
            self.outputs[NEXT] = 0
        self.later = index > 0

    def start(self, state: Any) -> None:
        # pemja sets the root logger to DEBUG, and every library then formats its debug lines.
        logging.getLogger().setLevel(logging.WARNING)
        sys.setswitchinterval(SWITCH_S)
        try:
            self.operator = self.factory()
        except Exception as error:
            raise FlinkError(f"{self.where} cannot start: {_told(error)}") from error
        self.state = state
        _opening.hop = self
        spare()

    def rows(self, record: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one record through the operator, from and to the fields of Flink's rows."""
        src, key, value, partition, offset, timestamp = record
        stream, topic = self.sources[src]
        rows = []
        try:
            if self.later:
                value = pickle.loads(value)
            self.state.key = key
            message = Message(stream, key, value, topic, partition, offset, timestamp)
            for output, key, value in self.operator(message, self.state):
                number = self.outputs.get(output)
                if not number:
                    if number is None:
                        raise ValueError(self._unknown(output))
                    value = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
                rows.append((number, key, value, src, partition, offset, timestamp))
        except Exception as error:
            where = f"{self.where} failed on {topic}/{partition}/{offset}"
            raise FlinkError(f"{where}: {_told(error)}") from error
        return rows

    def process_element(self, record: Any, _context: Any) -> list[Any]:
        """Process a record the way that PyFlink documents; `_shorten` takes its place."""
        return [Row(*row) for row in self.rows(tuple(record))]

    def _unknown(self, output: str) -> str:
        if output == NEXT:
            return "it emits to NEXT, but it is the job's last hop"
        known = ", ".join(repr(name) for name in self.outputs if name != NEXT)
        return f"it emits to '{output}'; the job's outputs are {known}"


class KeyedHop(_Hop, KeyedProcessFunction):  # type: ignore[misc]
    """A hop with a key."""

    def open(self, context: Any) -> None:
        value = Types.PICKLED_BYTE_ARRAY()
        self.start(
            FlinkState(
                context.get_state(ValueStateDescriptor("head", value)),
                context.get_map_state(MapStateDescriptor("chunks", Types.LONG(), value)),
            )
        )


class PlainHop(_Hop, ProcessFunction):  # type: ignore[misc]
    """A hop without a key."""

    def open(self, _context: Any) -> None:
        self.start(NoState(self.name))


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


def _told(error: Exception) -> str:
    """Say an error, and under it where it comes from, as Java does: Java hears no more of it."""
    frames = traceback.extract_tb(error.__traceback__)
    stack = [f"\tat {frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(frames)]
    return "\n".join([f"{type(error).__name__}: {error}", *stack])


if "pemja" in sys.modules:  # within a TaskManager
    _shorten()
