"""How large a Flink cluster a pipeline needs: slots, memory, state, Kafka's share.

State is measured by running the pipeline's own windows over made-up events, records by encoding
made-up ones. What cannot be had so is a constant below, with where it comes from.
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import fastavro

from verdict.operators.events.schema import without_logical_types
from verdict.operators.names import DECISIONS
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.jobs import score
from verdict.pipelines.jobs.state_trial import longest, retention, written
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.cache import CAPACITY, PAGES

MB = 2**20
HOUR_MS = 3_600_000
SLOT_EVENTS_S = 12_000
"""Events a second for one slot: half of what `load-tests/bench.py` measures, 21,700 to 28,300 with
the broker on the same two cores, so that a job catches up after a stop."""
PYTHON_MB = 120
"""CPython with numpy, ONNX Runtime, PyFlink and verdict's operators: 112 MB resident, read from
``/proc/self/status`` with all of them imported."""
MODEL_FACTOR = 8
"""Memory of a model's session by the size of its file: 20 sessions of card-fraud's champion, 0.2 MB
of trees each, took 1.5 MB each, 7 times the file."""
DISK_FACTOR = 1.0
"""Space on disk by the bytes of state. RocksDB compresses: 60,000 events of card-fraud made 1.8 MB
of state and 0.87 MB of checkpoint, half; the other half is for what compaction has not reached."""
KEY_BYTES = 32
"""Of a state's key in RocksDB: key group, the entity's key with its length, the chunk's number."""
SEEN_BYTES = 24
"""Of one remembered event id, where ``events.dedupe`` is set: what `pipelines.spec.spec` says of
it."""
RECORD_BYTES = 130
"""Of a Kafka record beside key and value: a batch's header (61), for with ``linger.ms: 0`` most
batches are of one record, the record's own (some 10), the ``source`` header (some 40)."""
HEAP_MB, NETWORK_MB, FRAMEWORK_MB, METASPACE_MB, OVERHEAD_MB = 256, 64, 256, 256, 192
"""Parts of a TaskManager that do not depend on the pipeline: as in ``deploy/flink/config.yaml``."""
MANAGED_MB = (128, 2048)
"""Least and most of RocksDB's memory in a slot. Less than its write buffers need makes it write
without end; beyond the most, the operating system's page cache does as well."""
BATCH_MB = 4
"""Of the batch at hand, in Python: 1 MB of values and the record that is one too many, which Kafka
takes up to 1 MB, and what comes of them; `pipelines.engines.flink.operator`."""
CACHE_MB = (CAPACITY + PAGES) / MB
"""Most of the heads in memory before RocksDB, a hop."""
SAMPLE = 2048
"""Events that an entity's state is measured with; more are extrapolated."""
TEXT = 12
"""Characters of a made-up string: an id, a key."""


@dataclass(frozen=True)
class ClusterSize:
    """What a job needs; bytes and megabytes (2^20), before Kafka's replication.

    Attributes
    ----------
    parallelism, slots, task_managers
        Subtasks of each hop; slots, one a hop and subtask; TaskManagers of one slot each.
    entities
        Entity -> keys, events in a key's log, bytes of a key's state.
    task_heap_mb, task_off_heap_mb, managed_mb, network_mb
        Of each TaskManager, as Flink's configuration names them.
    process_mb
        Of each TaskManager in all, which a container has to allow.
    state_mb
        Of the whole job on disk, and so of a full checkpoint.
    checkpoint_mb
        Of an incremental checkpoint.
    in_bytes_s, out_bytes_s
        Read from, and written to, Kafka each second.
    """

    parallelism: int
    slots: int
    task_managers: int
    entities: dict[str, dict[str, float]]
    task_heap_mb: int
    task_off_heap_mb: int
    managed_mb: int
    network_mb: int
    process_mb: int
    state_mb: float
    checkpoint_mb: float
    in_bytes_s: float
    out_bytes_s: float

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Say it in lines: what, and how much."""
        logs = [
            (
                f"a key of {entity}",
                f"{found['bytes']:,.0f} bytes: {found['events']:,.0f} events in its log; "
                f"{found['keys']:,.0f} keys",
            )
            for entity, found in self.entities.items()
        ]
        return [
            ("slots", f"{self.slots}: a TaskManager each, settings.parallelism {self.parallelism}"),
            ("task.heap", f"{self.task_heap_mb} MB"),
            (
                "task.off-heap",
                f"{self.task_off_heap_mb} MB: CPython, ONNX Runtime, the model, heads, a batch",
            ),
            ("managed", f"{self.managed_mb} MB: RocksDB"),
            ("network", f"{self.network_mb} MB"),
            ("a TaskManager in all", f"{self.process_mb:,} MB"),
            *logs,
            ("state on disk", f"{self.state_mb:,.0f} MB, as a full checkpoint"),
            ("a checkpoint", f"{self.checkpoint_mb:,.0f} MB, incremental"),
            ("from Kafka", f"{self.in_bytes_s / 1000:,.0f} kB/s"),
            ("to Kafka", f"{self.out_bytes_s / 1000:,.0f} kB/s, before replication"),
        ]


def plan(
    pipeline: Pipeline,
    rate: float,
    entities: Mapping[str, int],
    events_per_entity: float | None = None,
) -> ClusterSize:
    """Size a pipeline's ``score`` job.

    Parameters
    ----------
    pipeline
        The pipeline.
    rate
        Events a second, at the busiest time.
    entities
        Entity -> how many keys it has.
    events_per_entity
        Events in the log of each key; by default what the rate makes in the longest window and the
        allowed lateness, spread evenly.
    """
    job, spec = score.score(pipeline), pipeline.spec
    parallelism = max(spec.settings.parallelism, math.ceil(rate / SLOT_EVENTS_S))
    slots = len(job.hops) * parallelism
    found: dict[str, dict[str, float]] = {}
    total, touched = 0.0, 0.0
    interval_s = spec.settings.checkpoint_interval / 1000
    for entity in pipeline.entities:
        keys = entities[entity]
        kept_s = retention(pipeline, entity) / 1000 if longest(pipeline, entity) else 0.0
        events = rate * kept_s / keys if events_per_entity is None else events_per_entity
        size = state_bytes(pipeline, entity, events)
        found[entity] = {"keys": keys, "events": round(events, 1), "bytes": round(size)}
        total += keys * size
        # An event rewrites its key's head, and now and then a chunk.
        touched += min(rate * interval_s, keys) * min(size, state_bytes(pipeline, entity, 128))
    dedupe = spec.events.dedupe
    if dedupe is not None:
        total += rate * dedupe / 1000 * SEEN_BYTES
        touched += rate * interval_s * SEEN_BYTES
    total, touched = total * DISK_FACTOR, min(touched, total) * DISK_FACTOR
    per_slot_mb = total / MB / parallelism / max(len(pipeline.entities), 1)
    managed = round(min(max(per_slot_mb, MANAGED_MB[0]), MANAGED_MB[1]))
    model = (pipeline.models[0] / "model.onnx").stat().st_size / MB
    off_heap = math.ceil(PYTHON_MB + CACHE_MB + BATCH_MB + MODEL_FACTOR * model)
    parts = HEAP_MB + off_heap + managed + NETWORK_MB + FRAMEWORK_MB + METASPACE_MB + OVERHEAD_MB
    return ClusterSize(
        parallelism=parallelism,
        slots=slots,
        task_managers=slots,
        entities=found,
        task_heap_mb=HEAP_MB,
        task_off_heap_mb=off_heap,
        managed_mb=managed,
        network_mb=NETWORK_MB,
        process_mb=parts,
        state_mb=round(total / MB, 1),
        checkpoint_mb=round(touched / MB, 1),
        in_bytes_s=round(rate * (event_bytes(pipeline) + RECORD_BYTES)),
        out_bytes_s=round(rate * (decision_bytes(pipeline) + RECORD_BYTES)),
    )


def state_bytes(pipeline: Pipeline, entity: str, events: float) -> float:
    """Measure the state of one key of an entity with some events in its log, keys included."""
    size = _measured(pipeline, entity, min(round(events), SAMPLE))
    if events > SAMPLE:
        half = _measured(pipeline, entity, SAMPLE // 2)
        size += (events - SAMPLE) * (size - half) / (SAMPLE - SAMPLE // 2)
    return size


def _measured(pipeline: Pipeline, entity: str, events: int) -> float:
    state = written(pipeline, entity, max(events, 1))
    parts = [*filter(None, [state.head]), *state.chunks.values()]
    return sum(len(part) + KEY_BYTES for part in parts)


def event_bytes(pipeline: Pipeline) -> int:
    """Return the size of a made-up event."""
    if pipeline.spec.events.format == "json":
        event = _made_up(without_logical_types(pipeline.schema.raw), {}, {})
        return len(json.dumps(event, default=str))
    return _size(pipeline.schema.raw, {})


def decision_bytes(pipeline: Pipeline) -> int:
    """Return the size of a made-up decision: every feature and every field that rules read."""
    features = dict.fromkeys(pipeline.spec.features, 1.0)
    return _size(definition(DECISIONS), {"features": features, "hops": len(pipeline.entities)})


def _size(schema: Any, known: Mapping[str, Any]) -> int:
    """Encode a made-up record of a schema; ``known``: values of some of its fields."""
    parsed = fastavro.parse_schema(without_logical_types(schema))
    packed = io.BytesIO()
    fastavro.schemaless_writer(packed, parsed, _made_up(parsed, known, {}))
    return len(packed.getvalue())


def _made_up(schema: Any, known: Mapping[str, Any], named: dict[str, Any]) -> Any:
    """Make up a value: of a union the last branch, of a list as many items as ``known`` says."""
    if isinstance(schema, list):
        return _made_up(schema[-1], known, named)
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = schema
    match kind:
        case "record":
            found = {}
            for field in schema["fields"]:
                value = known.get(field["name"])
                if isinstance(value, int):
                    items = field["type"]["items"]
                    value = [_made_up(items, {}, named) for _ in range(value)]
                elif value is None:
                    value = _made_up(field["type"], {}, named)
                found[field["name"]] = value
            return found
        case "enum":
            return schema["symbols"][0]
        case "array":
            return []
        case "map":
            return {}
        case "fixed":
            return bytes(schema["size"])
        case "bytes":
            return bytes(4)
        case "string":
            return "x" * TEXT
        case "int" | "long":
            return 1_700_000_000_000 if kind == "long" else 1_000
        case "float" | "double":
            return 1.0
        case "boolean":
            return True
        case "null":
            return None
        case _:  # a type in a type
            return _made_up(kind, known, named)
