"""A job as a Flink program.

    Kafka table of each input -- UNION ALL -- [Java key selector] -- hop
      hop -- WHERE out = 0 -- [Java key selector] -- next hop
      hop -- WHERE out = n -- Kafka table of the n-th output

Everything between the Python operators is Java. Each hop has a sink of its own for each output, so
that no operator has inputs of two slot sharing groups.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyflink.common import Configuration, Types
from pyflink.datastream import KeyedStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

from verdict.pipelines.engines.flink.configure import configure
from verdict.pipelines.engines.flink.hop import KeyedHop, PlainHop, emitted_type, record_type
from verdict.pipelines.engines.flink.settings import EXACTLY_ONCE, FlinkSettings
from verdict.pipelines.engines.flink.silent import mute
from verdict.pipelines.engines.flink.sink import delivery
from verdict.pipelines.engines.flink.uids import hop_uid, name_all
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.topology import MAX_CARRIED, SOURCE_HEADER, Hop, Job

# Bytes to text one to one: UTF-8 would fold all invalid keys into one. No key counts as b"".
KEY = "DECODE(COALESCE(`k`, X''), 'ISO-8859-1')"
# Of a TIMESTAMP_LTZ, milliseconds since the epoch; SQL has no function for it.
MILLIS = "EXTRACT(EPOCH FROM `ts`) * 1000 + EXTRACT(MILLISECOND FROM `ts`)"
ABSENT = "-"
"""Stands for a header that a record does not have: nothing that Base64 has."""


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
        records = self._source()
        hops: dict[int, str] = {}
        for index, hop in enumerate(self.job.hops):
            entering = self._stream(records, hop.keyed)
            function = (KeyedHop if hop.keyed else PlainHop)(
                self.job, index, self._input_topics(), self.settings.metrics
            )
            uid = hop_uid(self.job, hop.name)
            leaving = entering.process(function, output_type=emitted_type()).name(uid).uid(uid)
            hops[leaving._j_data_stream.getTransformation().getId()] = hop.name
            if self.settings.slot_groups:
                leaving.slot_sharing_group(hop.name)
                if index == 0:
                    _set_group_before(leaving, hop.name)
            view = f"hop_{index}"
            self.tables.create_temporary_view(view, leaving)
            self._sink(view, hop)
            records = f"SELECT {RECORD} FROM {view} WHERE `out` = 0"
        self._sinks.attach_as_datastream()
        return name_all(self.job, self.env._j_stream_execution_environment, hops)

    def _input_topics(self) -> tuple[str, ...]:
        return tuple(self.topics[stream] for stream in self.job.inputs)

    def _source(self) -> str:
        """Make a table of each input; return the query over all of them."""
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
            queries.append(
                f"SELECT {number} AS `src`, `k`, `v`, `part`, `off`, {MILLIS} AS `ts`, "
                f"{_packed(self.job.carry)} AS `hdr` FROM {table}"
            )
        return " UNION ALL ".join(queries)

    def _stream(self, records: str, keyed: bool) -> Any:
        if not keyed:
            table = self.tables.sql_query(f"SELECT {RECORD} FROM ({records})")
            return self.tables.to_append_stream(table, record_type())
        # Java's own convention, (key, record), which the selector and Python's operator share.
        pairs = self.tables.to_append_stream(
            self.tables.sql_query(f"SELECT {KEY} AS `key`, ROW({RECORD}) AS `r` FROM ({records})"),
            Types.ROW([Types.STRING(), record_type()]),
        )
        functions = get_gateway().jvm.org.apache.flink.streaming.api.functions.python
        key_type = Types.ROW([Types.STRING()]).get_java_type_info()
        keyed_stream = pairs._j_data_stream.keyBy(functions.KeyByKeySelector(), key_type)
        return KeyedStream(keyed_stream, record_type(), pairs)

    def _sink(self, view: str, hop: Hop) -> None:
        """Write what a hop emits to each output."""
        topics = " ".join(
            f"WHEN {number} THEN CAST({_quoted(topic + '/')} AS STRING)"
            for number, topic in enumerate(self._input_topics())
        )
        source = (
            f"CASE `src` {topics} END || CAST(`part` AS STRING) || '/' || CAST(`off` AS STRING)"
        )
        headers = [f"{_quoted(SOURCE_HEADER)}, ENCODE({source}, 'UTF-8')"]
        header = f"MAP[{headers[0]}]"
        if self.job.carry:
            headers += [
                f"{_quoted(name)}, {_unpacked(number)}"
                for number, name in enumerate(self.job.carry)
            ]
            # A header without a value is left out by the sink.
            header = f"CASE WHEN `hdr` IS NULL THEN {header} ELSE MAP[{', '.join(headers)}] END"
        for number, stream in enumerate(self.job.outputs, 1):
            table = f"{view}_output_{number}"
            topic = self.topics[stream]
            options = {
                **self._client(),
                "topic": topic,
                **delivery(self.job, hop, topic, self.settings),
            }
            self.tables.execute_sql(
                f"CREATE TABLE {table} "
                "(`k` BYTES, `v` BYTES, `headers` MAP<STRING, BYTES> METADATA) "
                f"WITH ({_options(options)})"
            )
            self._sinks.add_insert_sql(
                f"INSERT INTO {table} SELECT `k`, `v`, {header} FROM {view} WHERE `out` = {number}"
            )

    def _client(self) -> dict[str, str]:
        client = {"acks": "all", "linger.ms": "1", **self.settings.client}
        return {
            "connector": "kafka",
            "key.format": "raw",
            "key.fields": "k",
            "value.format": "raw",
            "value.fields-include": "EXCEPT_KEY",
            **{f"properties.{name}": value for name, value in client.items()},
            "properties.bootstrap.servers": self.settings.bootstrap,
        }


RECORD = "`src`, `k`, `v`, `part`, `off`, `ts`, `hdr`"
"""The columns of `record_type`."""


def _packed(carry: Sequence[str]) -> str:
    """Return SQL for the headers to carry as one text, or NULL where a record has none of them.

    As text that Python hands through unread: most records have none, and a NULL costs nothing. To
    TO_BASE64 all is text, so each value's bytes are first taken one to one for characters.
    """
    if not carry:
        return "CAST(NULL AS STRING)"
    values = [f"DECODE(`headers`[{_quoted(name)}], 'ISO-8859-1')" for name in carry]
    size = " + ".join(f"COALESCE(CHAR_LENGTH({value}), 0)" for value in values)
    text = " || ',' || ".join(f"COALESCE(TO_BASE64({value}), '{ABSENT}')" for value in values)
    none = ",".join(ABSENT for _ in values)
    return (
        "CASE WHEN CARDINALITY(`headers`) = 0 THEN CAST(NULL AS STRING) "
        f"WHEN {size} > {MAX_CARRIED} THEN CAST(NULL AS STRING) "
        f"ELSE NULLIF({text}, '{none}') END"
    )


def _unpacked(number: int) -> str:
    """Return SQL for the bytes of one of the headers that `_packed` put together, or NULL."""
    value = f"NULLIF(SPLIT_INDEX(`hdr`, ',', {number}), '{ABSENT}')"
    return f"ENCODE(FROM_BASE64({value}), 'ISO-8859-1')"


def _set_group_before(stream: Any, group: str) -> None:
    """Put all that comes before an operator into its slot sharing group; it would have another."""
    sharing = get_gateway().jvm.org.apache.flink.api.common.operators.SlotSharingGroup
    java_group = sharing.newBuilder(group).build()
    for transformation in stream._j_data_stream.getTransformation().getTransitivePredecessors():
        transformation.setSlotSharingGroup(java_group)


def _options(options: Mapping[str, str]) -> str:
    return ", ".join(f"{_quoted(name)} = {_quoted(value)}" for name, value in options.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
