"""A hop's operator in a Flink program: Java whose source travels, and which Flink compiles itself.

docs/flink-operator.md says why, and how.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle
from pyflink.common import Types
from pyflink.java_gateway import get_gateway

from verdict.pipelines.engines.flink.hop import FlinkHop
from verdict.pipelines.engines.flink.rest import cause_of
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.topology import MAX_CARRIED, SOURCE_HEADER, Hop, Job

SOURCE = Path(__file__).with_name("BatchOperator.java")
CLASS = "verdict.BatchOperator"
OPENING = """
from verdict.pipelines.engines.flink.hop import open_hop
hop = open_hop(operator, payload, subtask, parameters)
"""
BATCH_BYTES = 1 << 20
"""Bytes of values at which a batch is worked off: it is held twice, by Java and by Python."""
WHOLE = str(2**31 - 1)
"""Characters of a method: Flink would split longer ones by a tool made for SQL's generated code."""


def record_type(carried: Sequence[str]) -> Any:
    """Return the type of what enters a hop.

    Its key as text, index of the input, key, value, partition, offset, timestamp, and the value of
    each header to carry, or null. A type keeps its Java twin, so each JVM needs one of its own.
    """
    data = Types.PRIMITIVE_ARRAY(Types.BYTE())
    columns = {
        **{"key": Types.STRING(), "src": Types.INT(), "k": data, "v": data},
        **{"part": Types.INT(), "off": Types.LONG(), "ts": Types.LONG()},
        **{f"h{number}": data for number in range(len(carried))},
    }
    return Types.ROW_NAMED(list(columns), list(columns.values()))


class Operators:
    """Makes the operators of a job's hops.

    Parameters
    ----------
    job
        The job.
    env
        The ``StreamExecutionEnvironment``, configured.
    topics
        Of the job's inputs, in their order.
    size
        Most records that Python is called for at once.

    Raises
    ------
    FlinkError
        Flink does not compile them: it is another release than the one they were made for.
    """

    def __init__(self, job: Job, env: Any, topics: Sequence[str], size: int) -> None:
        self._job, self._size, self._topics = job, size, topics
        self._env = env._j_stream_execution_environment
        self._jvm = get_gateway().jvm
        self._record = record_type(job.carry).get_java_type_info()
        self.tags = [self._tag(number) for number, _ in enumerate(job.outputs)]
        """Java's ``OutputTag`` of each output."""

    def hop(self, stream: Any, index: int, uid: str, metrics: str | None) -> Any:
        """Add a hop behind Java's ``DataStream``, keyed if the hop is; return Java's stream.

        What goes to the next hop is in the stream itself, what goes to an output beside it.
        """
        jvm, hop = self._jvm, self._job.hops[index]
        # A cloud pickle, so that jobs may be of functions that no module has.
        payload = cloudpickle.dumps(FlinkHop(self._job, index, tuple(self._topics), metrics))
        configs = jvm.org.apache.flink.python.util.PythonConfigUtil
        heads, chunks = self._states(hop) if hop.keyed else (None, None)
        references = (
            configs.extractPythonConfiguration(self._env.getConfiguration()),
            OPENING,
            payload,
            self._size,
            BATCH_BYTES,
            heads,
            chunks,
            _array(jvm.org.apache.flink.util.OutputTag, self.tags),
            _array(jvm.String, [f"{topic}/" for topic in self._topics]),
            SOURCE_HEADER,
            _array(jvm.String, self._job.carry),
            MAX_CARRIED,
        )
        whole = jvm.org.apache.flink.configuration.Configuration()
        whole.setString("table.generated-code.max-length", WHOLE)
        generated = jvm.org.apache.flink.table.runtime.generated.GeneratedOperator(
            CLASS, SOURCE.read_text("utf-8"), _array(jvm.java.lang.Object, references), whole
        )
        self._compile(generated)
        factory = jvm.org.apache.flink.table.runtime.operators.CodeGenOperatorFactory(generated)
        # `DataStream.transform` takes only factories that say that they have one input.
        operator = jvm.org.apache.flink.streaming.api.transformations.OneInputTransformation(
            *(stream.getTransformation(), uid, factory, self._record),
            *(self._env.getParallelism(), False),
        )
        if hop.keyed:
            operator.setStateKeySelector(stream.getKeySelector())
            operator.setStateKeyType(stream.getKeyType())
        operator.setUid(uid)
        self._env.addOperator(operator)
        return configs.createSingleOutputStreamOperator(self._env, operator)

    def _compile(self, generated: Any) -> None:
        """Compile it here once: a TaskManager would say of an error that it is Flink's own."""
        loader = self._jvm.java.lang.Thread.currentThread().getContextClassLoader()
        try:
            generated.compile(loader)
        except Exception as error:
            raise FlinkError(
                f"{self._job.pipeline}/{self._job.name}: this release of Flink does not compile "
                f"verdict's operator ({cause_of(str(error))}): it was made for another; install "
                "apache-flink as constraints.txt pins it",
                str(error),
            ) from None

    def _tag(self, number: int) -> Any:
        """Name an output, of the rows of its table: key, value, headers."""
        types = self._jvm.org.apache.flink.table.types.logical
        data, text = types.VarBinaryType(2**31 - 1), types.VarCharType(2**31 - 1)
        columns = _array(types.LogicalType, [data, data, types.MapType(text, data)])
        names = _array(self._jvm.String, ["k", "v", "headers"])
        of = self._jvm.org.apache.flink.table.runtime.typeutils.InternalTypeInfo
        row = of.of(types.RowType.of(columns, names))
        return self._jvm.org.apache.flink.util.OutputTag(f"output-{number}", row)

    def _states(self, hop: Hop) -> tuple[Any, Any]:
        """Describe a hop's heads and chunks, as PyFlink's own operators have them in savepoints."""
        states = self._jvm.org.apache.flink.api.common.state
        pickled = Types.PICKLED_BYTE_ARRAY().get_java_type_info()
        heads = states.ValueStateDescriptor("head", pickled)
        chunks = states.MapStateDescriptor("chunks", Types.LONG().get_java_type_info(), pickled)
        if hop.state_ttl is not None:
            garbage = self._garbage_after(hop.state_ttl)
            heads.enableTimeToLive(garbage)
            chunks.enableTimeToLive(garbage)
        return heads, chunks

    def _garbage_after(self, milliseconds: int) -> Any:
        """Let RocksDB's compactions collect what has not been written for so long.

        Until they do it is still there: nothing is forgotten by the clock.
        """
        of = self._jvm.org.apache.flink.api.common.state.StateTtlConfig
        return (
            of.newBuilder(self._jvm.java.time.Duration.ofMillis(milliseconds))
            .setUpdateType(of.UpdateType.OnCreateAndWrite)
            .setStateVisibility(of.StateVisibility.ReturnExpiredIfNotCleanedUp)
            .cleanupInRocksdbCompactFilter(1_000)
            .build()
        )


def _array(of: Any, values: Sequence[Any]) -> Any:
    """Make a Java array."""
    array = get_gateway().new_array(of, len(values))
    for place, value in enumerate(values):
        array[place] = value
    return array
