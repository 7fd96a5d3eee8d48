"""A pipeline file, read and checked against its schema and its bundles."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from verdict.operators.errors import BundleError, ExpressionError, SchemaError
from verdict.operators.events import schema as schemas
from verdict.operators.events.schema import Field
from verdict.operators.expressions import Expression, Kind
from verdict.operators.models import bundle as bundles
from verdict.operators.records.decision import AMOUNT_SCALE
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec import yaml_file
from verdict.pipelines.spec.check_features import check_circles, check_features
from verdict.pipelines.spec.check_fields import check_entities, check_labels, check_lookups
from verdict.pipelines.spec.checks import Faults, _field, _kind, _names, meant
from verdict.pipelines.spec.events import FieldCheck
from verdict.pipelines.spec.pipeline import FILE_SUFFIX, Pipeline, wrong_suffix
from verdict.pipelines.spec.spec import Spec
from verdict.pipelines.spec.yaml_file import Source


def load(path: Path) -> Pipeline:
    """Read a pipeline file and check all of it but the models.

    Raises
    ------
    SpecError
        One line a fault: file, line, what is wrong, what to write instead.
    """
    source = yaml_file.read(path)
    spec = yaml_file.parse(source, Spec)
    absolute = path.resolve()
    try:
        schema = schemas.load(absolute.parent / spec.events.schema_file)
    except SchemaError as error:
        raise source.error(("events", "schema"), str(error)) from None
    rows = {}
    for name, lookup in spec.lookups.items():
        if lookup.schema_file is not None:
            try:
                rows[name] = schemas.load(absolute.parent / lookup.schema_file)
            except SchemaError as error:
                raise source.error(("lookups", name, "schema"), str(error)) from None
    label_schema = None
    if spec.labels is not None:
        try:
            label_schema = schemas.load(absolute.parent / spec.labels.schema_file)
        except SchemaError as error:
            raise source.error(("labels", "schema"), str(error)) from None
    pipeline = Pipeline(absolute, spec, schema, source, rows, label_schema)
    faults = [fault for check in CHECKS for fault in check(pipeline, source)]
    if faults:
        raise _all(faults)
    return pipeline


def check_models(pipeline: Pipeline) -> list[bundles.Bundle]:
    """Load and verify every bundle of a pipeline, the champion first.

    Raises
    ------
    SpecError
        A bundle is refused, or asks for a feature that the pipeline does not compute.
    """
    source = pipeline.source
    loaded: list[bundles.Bundle] = []
    challengers: list[str] = []
    faults: list[SpecError] = []
    for index, folder in enumerate(pipeline.models):
        place = ("model", "champion") if index == 0 else ("model", "challengers", index - 1)
        try:
            bundle = bundles.load(folder)
        except BundleError as error:
            faults.append(source.error(place, str(error)))
            continue
        if index > 0:
            challengers.append(f"{bundle.card.name}:{bundle.card.version}")
            if challengers[-1] in challengers[:-1]:
                faults.append(source.error(place, f"two challengers are called {challengers[-1]}"))
        for name in bundle.card.features:
            if name not in pipeline.spec.features:
                hint = meant(name, pipeline.spec.features)
                message = f"model {bundle.card.name} asks for feature '{name}', which the pipeline"
                faults.append(source.error(place, f"{message} does not compute.{hint}"))
        loaded.append(bundle)
    if faults:
        raise _all(faults)
    return loaded


def _check_events(pipeline: Pipeline, source: Source) -> Faults:
    events, fields = pipeline.spec.events, pipeline.schema.fields
    yield from _field(source, ("events", "id"), events.id, pipeline.schema)
    yield from _field(source, ("events", "time"), events.time, pipeline.schema)
    time = fields.get(events.time)
    if time is not None and not (time.integer and not time.is_decimal):
        yield source.error(("events", "time"), f"'{events.time}' is no long: a time is one")
    id_ = fields.get(events.id)
    if id_ is not None and not _names(id_):
        yield source.error(
            ("events", "id"), f"'{events.id}' is a {_kind(id_)}; an id is a string or an integer"
        )
    for path, check in events.fields.items():
        place: tuple[str, ...] = ("events", "fields", path)
        yield from _field(source, place, path, pipeline.schema)
        if path in fields:
            yield from _plausible(source, place, fields[path], check)


def _check_amount(pipeline: Pipeline, source: Source) -> Faults:
    events, fields = pipeline.spec.events, pipeline.schema.fields
    if events.amount is not None:
        place = ("events", "amount", "field")
        yield from _field(source, place, events.amount.field, pipeline.schema)
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
            yield from _field(source, place, code, pipeline.schema)
            if code in fields and fields[code].kind is not Kind.STRING:
                yield source.error(
                    place, f"'{code}' is a {_kind(fields[code])}, no currency's code"
                )


def _check_source(pipeline: Pipeline, source: Source) -> Faults:
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


def _plausible(source: Source, place: Sequence[str], leaf: Field, check: FieldCheck) -> Faults:
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


def _check_decide(pipeline: Pipeline, source: Source) -> Faults:
    names = pipeline.rule_names()
    for index, rule in enumerate(pipeline.spec.decide.rules):
        place = ("decide", "rules", index, "when")
        try:
            expression = Expression(rule.when, names)
        except ExpressionError as error:
            yield source.error(place, f"rule '{rule.name}': {error}")
            continue
        if expression.kind is not Kind.BOOLEAN:
            yield source.error(
                place, f"rule '{rule.name}': '{rule.when}' is a {expression.kind}, no condition"
            )


def _check_watch(pipeline: Pipeline, source: Source) -> Faults:
    for index, name in enumerate(pipeline.spec.watch.ignore):
        if name not in pipeline.spec.features:
            hint = meant(name, pipeline.spec.features)
            yield source.error(("watch", "ignore", index), f"there is no feature '{name}'.{hint}")


CHECKS = (
    _check_events,
    _check_amount,
    _check_source,
    check_entities,
    check_lookups,
    check_labels,
    check_features,
    check_circles,
    _check_decide,
    _check_watch,
)


def _all(faults: Iterable[SpecError]) -> SpecError:
    """Put the errors of one file together, in the order of its lines."""
    return SpecError(sorted((text for fault in faults for text in fault.messages), key=_line))


def _line(message: str) -> int:
    parts = message.split(":", 2)
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else 0
