"""Tables that features are looked up in: each follows a compacted topic, or is read from files.

A process has one copy of a table, in a folder of its own, for all operators that ask it. A thread
reads the topic and puts rows and offsets into one WriteBatch; no operator starts before the table
holds all that was in the topic.
"""

import json
from hashlib import sha256
from typing import Any

from verdict.operators.events.decode import AvroDecoder, ConfluentDecoder, Decode, json_decoder
from verdict.operators.features.lookups import LookedUp, LookupReader, Lookups, RowReader
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.tables.followed import followed
from verdict.pipelines.tables.place import BOOTSTRAP, TablePlace, features_by_table
from verdict.pipelines.tables.shared import FromFiles, Shared


def lookups(pipeline: Pipeline, where: TablePlace | None) -> Lookups | None:
    """Open the tables that a pipeline's features ask, and wait until they are full.

    Raises
    ------
    VerdictError
        A topic or file cannot be read, or a table stood still while it was being filled.
    """
    if where is None:
        return None
    opened: list[LookupReader] = []
    try:
        for name in features_by_table(pipeline):
            # One that fails closes those before it.
            opened.append(_lookup(pipeline, name, where))  # noqa: PERF401
        for lookup in opened:
            assert isinstance(lookup.table, Shared)
            lookup.table.ready()
    except BaseException:
        for lookup in opened:
            lookup.table.close()
        raise
    return Lookups(opened)


def _lookup(pipeline: Pipeline, name: str, where: TablePlace) -> LookupReader:
    spec = pipeline.spec.lookups[name]
    features = features_by_table(pipeline)[name]
    fields = sorted({each.field for _, each in features if each.field is not None})
    asked = [
        LookedUp(own, None if each.field is None else fields.index(each.field), each.default)
        for own, each in features
    ]
    schema = pipeline.rows.get(name)
    decode = None
    if fields or spec.expires or where.bootstrap is None:
        decode = _decoder(pipeline, name, from_files=where.bootstrap is None)
    row_key = spec.key_of_row if where.bootstrap is None else ()
    rows = RowReader(fields, spec.expires, schema, decode, row_key)
    made_of = json.dumps(
        [
            *(where.bootstrap, spec.topic, spec.format, fields, spec.expires),
            None if schema is None or decode is None else _digest(schema.definition),
        ]
    )
    folder = where.home(pipeline.path)
    if pipeline.path != where.pipeline:
        folder = folder / pipeline.spec.pipeline
    if where.bootstrap is None:
        files = [pipeline.file(file) for file in spec.files or []]
        assert schema is not None
        table: Shared = FromFiles(name, folder / name, rows, files, schema)
    else:
        settings = pipeline.spec.settings
        kafka = {name: value for name, value in settings.kafka.items() if name not in BOOTSTRAP}
        kafka[BOOTSTRAP[0]] = where.bootstrap
        made = clients(settings.model_copy(update={"kafka": kafka}), pipeline.path.parent)
        assert spec.topic is not None
        table = followed(name, folder / name, made_of, rows, spec.topic, made)
    return LookupReader(table, rows, spec.key_of_event, spec.expires is not None, asked)


def _digest(definition: Any) -> str:
    text = json.dumps(definition, sort_keys=True, default=lambda data: data.decode("latin-1"))
    return sha256(text.encode()).hexdigest()


def _decoder(pipeline: Pipeline, name: str, from_files: bool) -> Decode:
    spec, schema = pipeline.spec.lookups[name], pipeline.rows[name]
    if spec.format == "json":
        return json_decoder()
    schemas = pipeline.spec.settings.schemas
    if spec.format == "confluent" and schemas is not None and not from_files:
        from verdict.pipelines.formats.registry import SchemaSource

        return ConfluentDecoder(schema, SchemaSource(schemas, pipeline.path.parent).writer_schema)
    return AvroDecoder(schema)
