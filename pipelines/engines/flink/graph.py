"""A job as a Flink program.

    Kafka table of each input -- UNION ALL -- [Java key selector] -- hop
      hop -- [Java key selector] -- next hop
      hop -- side output of the n-th output -- Kafka table of it

Everything around the hops is Flink's own. Each hop has a sink of its own for each output, so that
no operator has inputs of two slot sharing groups.
"""

from collections.abc import Mapping
from typing import Any

from pyflink.common import Configuration, Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

from verdict.pipelines.engines.flink.configure import configure
from verdict.pipelines.engines.flink.operator import Operators, record_type
from verdict.pipelines.engines.flink.settings import EXACTLY_ONCE, FlinkSettings
from verdict.pipelines.engines.flink.silent import mute
from verdict.pipelines.engines.flink.sink import delivery
from verdict.pipelines.engines.flink.uids import hop_uid, name_all
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.topology import Hop, Job

# Bytes to text one to one: UTF-8 would fold all invalid keys into one. No key counts as b"".
KEY = "DECODE(COALESCE(`k`, X''), 'ISO-8859-1')"
# Of a TIMESTAMP_LTZ, milliseconds since the epoch; SQL has no function for it.
MILLIS = "EXTRACT(EPOCH FROM `ts`) * 1000 + EXTRACT(MILLISECOND FROM `ts`)"
PRODUCER = {"linger.ms": "1", "batch.size": str(256 << 10)}
"""A decision waits a millisecond for others. In requests of Kafka's own 16 kB, thirty decisions, a
broker that shares the hop's cores needs more than twice the CPU time, and takes it from the hop."""


class Graph:
    """Builds a job; its ``env`` is ready to execute."""

    def __init__(
        self, job: Job, topics: Mapping[str, str], settings: FlinkSettings, cluster: str | None
    ) -> None:
        missing = [stream for stream in (*job.inputs, *job.outputs) if stream not in topics]
        if missing:
            raise FlinkError(f"{job.pipeline}/{job.name}: no topic is named for {missing[0]!r}")
        committed = settings.bounded or settings.checkpoint_interval_ms > 0
        if settings.delivery == EXACTLY_ONCE and not committed:
            raise FlinkError(
                f"{job.pipeline}/{job.name}: a checkpoint commits the outputs, and "
                "checkpoint_interval_ms is 0; take checkpoints, or deliver at-least-once"
            )
        self.job, self.topics, self.settings = job, topics, settings
        configuration = Configuration()
        for name, value in configure(settings).items():
            configuration.set_string(name, value)
        if cluster is None:
            self.env = StreamExecutionEnvironment.get_execution_environment(configuration)
        else:
            host, _, port = cluster.rpartition(":")
            java = get_gateway().jvm.org.apache.flink.streaming.api.environment
            remote = java.StreamExecutionEnvironment.createRemoteEnvironment
            no_jars = get_gateway().new_array(get_gateway().jvm.String, 0)
            self.env = StreamExecutionEnvironment(
                remote(host, int(port), configuration._j_configuration, no_jars)
            )
        self.tables = StreamTableEnvironment.create(self.env)
        # So that nothing in SQL depends on this machine's zone.
        self.tables.get_config().set("table.local-time-zone", "UTC")
        self._sinks = self.tables.create_statement_set()
        self.uids = self._build()
        """Of every transformation."""
        if settings.silent:
            mute(self.env, settings.silent)

    def _build(self) -> list[str]:
        operators = Operators(self.job, self.env, self._input_topics(), self.settings.batch)
        stream = self._source()
        hops: dict[int, str] = {}
        for index, hop in enumerate(self.job.hops):
            entering = _by_key(stream) if hop.keyed else stream
            uid = hop_uid(self.job, hop.name)
            stream = operators.hop(entering, index, uid, self.settings.metrics)
            hops[stream.getTransformation().getId()] = hop.name
            if self.settings.slot_groups:
                stream.slotSharingGroup(hop.name)
                if index == 0:
                    _set_group_before(stream, hop.name)
            for number, tag in enumerate(operators.tags):
                table = f"hop_{index}_output_{number + 1}"
                self._sink(table, hop, number, stream.getSideOutput(tag))
        self._sinks.attach_as_datastream()
        return name_all(self.job, self.env._j_stream_execution_environment, hops)

    def _input_topics(self) -> tuple[str, ...]:
        return tuple(self.topics[stream] for stream in self.job.inputs)

    def _source(self) -> Any:
        """Make a table of each input; return Java's stream of all their records."""
        queries = []
        for number, topic in enumerate(self._input_topics()):
            table = f"input_{number}"
            options = {
                **self._client(),
                "topic": topic,
                "properties.group.id": self.settings.group
                or f"{self.job.pipeline}.{self.job.name}",
                "scan.startup.mode": "earliest-offset",
            }
            if self.settings.start == "committed":
                options["scan.startup.mode"] = "group-offsets"
                options["properties.auto.offset.reset"] = "earliest"
            if self.settings.bounded:
                options["scan.bounded.mode"] = "latest-offset"
            self.tables.execute_sql(
                f"CREATE TABLE {table} (`k` BYTES, `v` BYTES, "
                "`part` INT METADATA FROM 'partition' VIRTUAL, "
                "`off` BIGINT METADATA FROM 'offset' VIRTUAL, "
                "`ts` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, "
                "`headers` MAP<STRING, BYTES> METADATA VIRTUAL"
                f") WITH ({_options(options)})"
            )
            # A hop without keys has no use for their text.
            key = KEY if self.job.hops[0].keyed else "CAST(NULL AS STRING)"
            carried = [f", `headers`[{_quoted(name)}]" for name in self.job.carry]
            queries.append(
                f"SELECT {key} AS `key`, {number} AS `src`, `k`, `v`, `part`, `off`, "
                f"{MILLIS} AS `ts`{''.join(carried)} FROM {table}"
            )
        records = self.tables.sql_query(" UNION ALL ".join(queries))
        return self.tables.to_append_stream(records, record_type(self.job.carry))._j_data_stream

    def _sink(self, table: str, hop: Hop, number: int, stream: Any) -> None:
        """Write what a hop emits to an output."""
        topic = self.topics[self.job.outputs[number]]
        options = {
            **self._client(),
            "topic": topic,
            **delivery(self.job, hop, topic, self.settings),
        }
        self.tables.execute_sql(
            f"CREATE TABLE {table} (`k` BYTES, `v` BYTES, `headers` MAP<STRING, BYTES> METADATA) "
            f"WITH ({_options(options)})"
        )
        view = f"{table}_rows"
        self.tables.create_temporary_view(view, DataStream(stream))
        self._sinks.add_insert_sql(f"INSERT INTO {table} SELECT `k`, `v`, `headers` FROM {view}")

    def _client(self) -> dict[str, str]:
        client = {"acks": "all", **PRODUCER, **self.settings.client}
        return {
            "connector": "kafka",
            "key.format": "raw",
            "key.fields": "k",
            "value.format": "raw",
            "value.fields-include": "EXCEPT_KEY",
            **{f"properties.{name}": value for name, value in client.items()},
            "properties.bootstrap.servers": self.settings.bootstrap,
        }


def _by_key(stream: Any) -> Any:
    """Send records of a key one way: Java's ``KeyedStream``, by PyFlink's convention of keys."""
    functions = get_gateway().jvm.org.apache.flink.streaming.api.functions.python
    key_type = Types.ROW([Types.STRING()]).get_java_type_info()
    return stream.keyBy(functions.KeyByKeySelector(), key_type)


def _set_group_before(stream: Any, group: str) -> None:
    """Put all that comes before an operator into its slot sharing group; it would have another."""
    sharing = get_gateway().jvm.org.apache.flink.api.common.operators.SlotSharingGroup
    java_group = sharing.newBuilder(group).build()
    for transformation in stream.getTransformation().getTransitivePredecessors():
        transformation.setSlotSharingGroup(java_group)


def _options(options: Mapping[str, str]) -> str:
    return ", ".join(f"{_quoted(name)} = {_quoted(value)}" for name, value in options.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
