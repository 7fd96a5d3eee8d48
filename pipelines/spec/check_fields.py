"""What may be wrong with fields: of events, entities, lookups, labels."""

from collections.abc import Sequence

from verdict.operators.events.schema import Field, Schema
from verdict.operators.expressions import Kind
from verdict.operators.records.decision import AMOUNT_SCALE
from verdict.pipelines.spec.checks import Faults, check_field, is_key_type, kind_of, meant
from verdict.pipelines.spec.events import FieldCheck
from verdict.pipelines.spec.pipeline import DECODE_HOP, FILE_SUFFIX, Pipeline, wrong_suffix
from verdict.pipelines.spec.yaml_file import SourceFile


def check_entities(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check that each entity's key is made of fields that can be one."""
    for entity in pipeline.spec.entities:
        place = ("entities", entity)
        for path in pipeline.key(entity):
            yield from check_field(source, place, path, pipeline.schema)
            leaf = pipeline.schema.fields.get(path)
            if leaf is not None and not is_key_type(leaf):
                yield source.error(
                    place, f"'{path}' is a {kind_of(leaf)}; a key is a string or an integer"
                )
        if entity == DECODE_HOP:
            yield source.error(place, f"'{DECODE_HOP}' is the first hop's name; call it otherwise")


def check_lookups(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check each table's keys, its rows' times and its files."""
    for name, lookup in pipeline.spec.lookups.items():
        place: tuple[str, ...] = ("lookups", name)
        for path in lookup.key_of_event:
            yield from _key_part(source, (*place, "key"), path, pipeline.schema)
        rows = pipeline.rows.get(name)
        if rows is not None and lookup.files:
            key = "key" if lookup.row_key is None else "row_key"
            for path in lookup.key_of_row:
                yield from _key_part(source, (*place, key), path, rows, "the rows' schema")
        if rows is not None and lookup.expires is not None:
            where = (*place, "expires")
            yield from check_field(source, where, lookup.expires, rows, "the rows' schema")
            until = rows.fields.get(lookup.expires)
            if until is not None and not (until.integer and not until.is_decimal):
                yield source.error(where, f"'{lookup.expires}' is no long: a time is one")
        for index, file in enumerate(lookup.files or []):
            if file.suffix != FILE_SUFFIX[lookup.format][0]:
                message = f"'{file}': rows of format {lookup.format} lie in "
                yield source.error(
                    (*place, "files", index), f"{message}{FILE_SUFFIX[lookup.format][0]} files"
                )
        if lookup.format == "confluent" and pipeline.spec.settings.schemas is None:
            yield source.error((*place, "format"), "confluent wants settings.schemas")
    yield from sources(pipeline, source, pipeline.spec.events.files is not None)


def check_labels(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check that the fields of labels exist and are of the right type."""
    labels, schema = pipeline.spec.labels, pipeline.label_schema
    if labels is None or schema is None:
        return
    whose = "the labels' schema"
    yield from _key_part(source, ("labels", "event_id"), labels.event_id, schema, whose)
    place: tuple[str, ...] = ("labels", "value")
    yield from check_field(source, place, labels.value, schema, whose)
    leaf = schema.fields.get(labels.value)
    if leaf is not None and (
        leaf.is_decimal or leaf.time or not (leaf.kind is Kind.BOOLEAN or leaf.integer)
    ):
        yield source.error(
            place, f"'{labels.value}' is a {kind_of(leaf)}; a label is a boolean, or 1 or 0"
        )
    for name, path in (("known_at", labels.known_at), ("event_time", labels.event_time)):
        if path is None:
            continue
        yield from check_field(source, ("labels", name), path, schema, whose)
        leaf = schema.fields.get(path)
        if leaf is not None and not (leaf.integer and not leaf.is_decimal):
            yield source.error(("labels", name), f"'{path}' is no long: a time is one")
    if labels.source is not None:
        yield from _key_part(source, ("labels", "source"), labels.source, schema, whose)
    yield from _label_keys(pipeline, source, schema, whose)
    for index, file in enumerate(labels.files or []):
        if file.suffix not in FILE_SUFFIX[labels.format]:
            message = wrong_suffix(file, labels.format, "labels")
            yield source.error(("labels", "files", index), message)
    if labels.format == "confluent" and pipeline.spec.settings.schemas is None:
        yield source.error(("labels", "format"), "confluent wants settings.schemas")
    if pipeline.labelled and pipeline.spec.events.files is not None and not labels.files:
        yield source.error(
            ("labels",), "events come from files, and labels name none: add 'files' with them"
        )
    if pipeline.labelled and pipeline.spec.events.topic is not None and labels.topic is None:
        yield source.error(("labels",), "events come from a topic, and labels name none")


def _label_keys(pipeline: Pipeline, source: SourceFile, schema: Schema, whose: str) -> Faults:
    labels = pipeline.spec.labels
    assert labels is not None
    for entity in labels.keys:
        place = ("labels", "keys", entity)
        if entity not in pipeline.entities:
            hint = meant(entity, pipeline.entities)
            yield source.error(place, f"'{entity}' is no entity that features go by.{hint}")
            continue
        parts, wanted = labels.key(entity), pipeline.key(entity)
        if len(parts) != len(wanted):
            yield source.error(
                place,
                f"the key of '{entity}' has {len(wanted)} parts in an event and {len(parts)} here: "
                f"name the label's fields for {', '.join(wanted)}",
            )
        for path in parts:
            yield from _key_part(source, place, path, schema, whose)
    missing = [entity for entity in pipeline.labelled if entity not in labels.keys]
    if labels.keys and missing:
        yield source.error(
            ("labels", "keys"),
            f"features over labels go by '{missing[0]}', whose key is not here: add it, or leave "
            "out 'keys' and 'event_time', for the job 'labels' to take them from decisions",
        )


def sources(pipeline: Pipeline, source: SourceFile, from_files: bool) -> Faults:
    """Yield the lookups that have no rows where the events come from."""
    for name, lookup in pipeline.spec.lookups.items():
        if from_files and not lookup.files:
            yield source.error(
                ("lookups", name),
                f"events come from files, and lookup '{name}' names none: a topic says what is "
                "true now, not what was then; add 'files' with its rows",
            )
        if not from_files and lookup.topic is None:
            yield source.error(
                ("lookups", name), f"events come from a topic, and lookup '{name}' names none"
            )


def _key_part(
    source: SourceFile,
    place: Sequence[str | int],
    path: str,
    schema: Schema,
    whose: str = "the schema",
) -> Faults:
    yield from check_field(source, place, path, schema, whose)
    leaf = schema.fields.get(path)
    if leaf is not None and (not is_key_type(leaf) or leaf.time):
        kind = "time" if leaf.time else kind_of(leaf)
        yield source.error(place, f"'{path}' is a {kind}; a key is a string or an integer")


def check_events(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check the events' id, time and plausible values."""
    events, fields = pipeline.spec.events, pipeline.schema.fields
    yield from check_field(source, ("events", "id"), events.id, pipeline.schema)
    yield from check_field(source, ("events", "time"), events.time, pipeline.schema)
    time = fields.get(events.time)
    if time is not None and not (time.integer and not time.is_decimal):
        yield source.error(("events", "time"), f"'{events.time}' is no long: a time is one")
    id_ = fields.get(events.id)
    if id_ is not None and not is_key_type(id_):
        yield source.error(
            ("events", "id"), f"'{events.id}' is a {kind_of(id_)}; an id is a string or an integer"
        )
    for path, check in events.fields.items():
        place: tuple[str, ...] = ("events", "fields", path)
        yield from check_field(source, place, path, pipeline.schema)
        if path in fields:
            yield from _plausible(source, place, fields[path], check)


def check_amount(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check that the amount is money, and its currency a code."""
    events, fields = pipeline.spec.events, pipeline.schema.fields
    if events.amount is not None:
        place = ("events", "amount", "field")
        yield from check_field(source, place, events.amount.field, pipeline.schema)
        amount = fields.get(events.amount.field)
        if amount is not None and (not amount.integer or amount.time):
            yield source.error(place, f"'{amount.path}' is no decimal: money is, so sums are exact")
        elif amount is not None and amount.scale > AMOUNT_SCALE:
            yield source.error(
                place, f"'{amount.path}' has {amount.scale} decimal places; {AMOUNT_SCALE} at most"
            )
        code = events.amount.currency_field
        if code is not None:
            place = ("events", "amount", "currency_field")
            yield from check_field(source, place, code, pipeline.schema)
            if code in fields and fields[code].kind is not Kind.STRING:
                yield source.error(
                    place, f"'{code}' is a {kind_of(fields[code])}, no currency's code"
                )


def check_source(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check where events come from: their files, format and registry."""
    events = pipeline.spec.events
    for index, file in enumerate(events.files or []):
        if file in (events.files or [])[:index]:
            yield source.error(("events", "files", index), f"the file {file} stands twice")
        if file.suffix not in FILE_SUFFIX[events.format]:
            yield source.error(("events", "files", index), wrong_suffix(file, events.format))
    if events.format == "confluent" and events.files is not None:
        yield source.error(
            ("events", "format"), "Confluent's format is of topics; files hold plain Avro: avro"
        )
    elif events.format == "confluent" and pipeline.spec.settings.schemas is None:
        yield source.error(("events", "format"), "confluent wants settings.schemas")
    if pipeline.spec.settings.output_format == "confluent" and not pipeline.spec.settings.schemas:
        yield source.error(("settings", "output_format"), "confluent wants settings.schemas")


def _plausible(source: SourceFile, place: Sequence[str], leaf: Field, check: FieldCheck) -> Faults:
    """Yield what of a check could never hold, or could not even be compared."""
    if (check.min is not None or check.max is not None) and leaf.kind is not Kind.NUMBER:
        yield source.error(place, f"'{leaf.path}' is a {leaf.kind}: it has no 'min' and 'max'")
    wanted = {Kind.STRING: str, Kind.BOOLEAN: bool, Kind.NUMBER: int}[leaf.kind]
    for value in check.allowed or []:
        if type(value) is not wanted:
            quote = f"; write '{value}' in quotes" if leaf.kind is Kind.STRING else ""
            yield source.error(
                (*place, "allowed"), f"'{leaf.path}' is a {leaf.kind}, {value!r} is none{quote}"
            )
