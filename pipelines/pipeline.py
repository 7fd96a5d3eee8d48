"""A pipeline file, read and checked against its schema and its bundles."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from operators import bundle as bundles
from operators import schema as schemas
from operators.decide import SCORE
from operators.errors import BundleError, ExpressionError, FunctionError, SchemaError
from operators.expressions import Expression, Kind
from operators.features import kinds, load_function
from operators.records import AMOUNT_SCALE
from operators.schema import Schema
from pipelines import yaml_file
from pipelines.errors import SpecError
from pipelines.spec import (
    AggregateFeature,
    ExpressionFeature,
    PythonFeature,
    Spec,
)
from pipelines.streams import EVENTS, output_topics
from pipelines.yaml_file import Source

LONGEST_WINDOW = 365 * 86_400_000


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that has been checked.

    Attributes
    ----------
    path
        Of its file, absolute; the paths in the file are relative to its folder.
    spec
        What it says.
    schema
        Of its events.
    """

    path: Path
    spec: Spec
    schema: Schema

    @property
    def keyed(self) -> bool:
        """Whether events come keyed by the first entity: from a topic that the spec says is."""
        return self.spec.events.topic is not None and self.spec.events.keyed_by is not None

    def over(self, files: Sequence[Path]) -> "Pipeline":
        """The same pipeline over files instead of what its file names."""
        events = self.spec.events.model_copy(
            update={"topic": None, "files": [file.resolve() for file in files]}
        )
        return replace(self, spec=self.spec.model_copy(update={"events": events}))

    def file(self, relative: Path) -> Path:
        """Resolve a path of the pipeline file."""
        return self.path.parent / relative

    @property
    def topics(self) -> dict[str, str]:
        """Stream -> topic; without ``events`` where they come from files."""
        topics = output_topics(self.spec.topics)
        if self.spec.events.topic is not None:
            topics[EVENTS] = self.spec.events.topic
        return topics

    @property
    def entities(self) -> list[str]:
        """The entities, in the order of the hops."""
        return list(self.spec.entities)

    @property
    def models(self) -> list[Path]:
        """The bundle folders: the champion's, then the challengers'."""
        model = self.spec.model
        return [self.file(folder) for folder in (model.champion, *model.challengers)]

    def rule_names(self) -> dict[str, Kind]:
        """Every name a rule may read, and its kind."""
        names = kinds(self.schema)
        names.update(dict.fromkeys(self.spec.features, Kind.NUMBER))
        names[SCORE] = Kind.NUMBER
        return names


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
    pipeline = Pipeline(absolute, spec, schema)
    faults = [fault for check in CHECKS for fault in check(pipeline, source)]
    if faults:
        messages = [message for fault in faults for message in fault.messages]
        raise SpecError(sorted(messages, key=_line))
    return pipeline


def check_models(pipeline: Pipeline) -> list[bundles.Bundle]:
    """Load and verify every bundle of a pipeline, the champion first.

    Raises
    ------
    SpecError
        A bundle is refused, or asks for a feature that the pipeline does not compute.
    """
    source = yaml_file.read(pipeline.path)
    loaded = []
    for index, folder in enumerate(pipeline.models):
        place = ("model", "champion") if index == 0 else ("model", "challengers", index - 1)
        try:
            bundle = bundles.load(folder)
        except BundleError as error:
            raise source.error(place, str(error)) from None
        for name in bundle.card.features:
            if name not in pipeline.spec.features:
                hint = _meant(name, pipeline.spec.features)
                message = f"model {bundle.card.name} asks for feature '{name}', which the pipeline"
                raise source.error(place, f"{message} does not compute.{hint}")
        loaded.append(bundle)
    return loaded


Faults = Iterable[SpecError]


def _check_events(pipeline: Pipeline, source: Source) -> Faults:
    events, fields = pipeline.spec.events, pipeline.schema.fields
    yield from _field(source, ("events", "id"), events.id, pipeline.schema)
    yield from _field(source, ("events", "time"), events.time, pipeline.schema)
    time = fields.get(events.time)
    if time is not None and not (time.integer and not time.is_decimal):
        yield source.error(("events", "time"), f"'{events.time}' is no long: a time is one")
    for path in events.fields:
        yield from _field(source, ("events", "fields", path), path, pipeline.schema)
    if events.amount is not None:
        place = ("events", "amount")
        yield from _field(source, place, events.amount.field, pipeline.schema)
        amount = fields.get(events.amount.field)
        if amount is not None and (not amount.integer or amount.time):
            yield source.error(place, f"'{amount.path}' is no decimal: money is, so sums are exact")
        elif amount is not None and amount.scale > AMOUNT_SCALE:
            yield source.error(
                place, f"'{amount.path}' has {amount.scale} decimal places; {AMOUNT_SCALE} at most"
            )
        if events.amount.currency_field is not None:
            yield from _field(source, place, events.amount.currency_field, pipeline.schema)
    if events.files is not None:
        wanted = ".jsonl" if events.format == "json" else ".avro"
        for index, file in enumerate(events.files):
            if file.suffix != wanted:
                yield source.error(
                    ("events", "files", index),
                    f"'{file}': events of format {events.format} lie in {wanted} files",
                )
    if events.format == "confluent" and pipeline.spec.settings.schemas is None:
        yield source.error(("events", "format"), "confluent wants settings.schemas")
    if pipeline.spec.settings.output_format == "confluent" and not pipeline.spec.settings.schemas:
        yield source.error(("settings", "output_format"), "confluent wants settings.schemas")


def _check_entities(pipeline: Pipeline, source: Source) -> Faults:
    for entity, path in pipeline.spec.entities.items():
        place = ("entities", entity)
        yield from _field(source, place, path, pipeline.schema)
        field = pipeline.schema.fields.get(path)
        if field is not None and not (field.kind is Kind.STRING or field.integer):
            yield source.error(
                place, f"'{path}' is a {field.kind}; a key is a string or an integer"
            )


def _check_features(pipeline: Pipeline, source: Source) -> Faults:
    names = kinds(pipeline.schema)
    for name, feature in pipeline.spec.features.items():
        place = ("features", name)
        if name == SCORE:
            yield source.error(place, f"'{SCORE}' is the model's score; call the feature otherwise")
        plain = isinstance(feature, ExpressionFeature) and feature.expr == name
        if name in names and not plain:
            yield source.error(
                place, f"'{name}' is a field of the event too; call the feature otherwise"
            )
        match feature:
            case ExpressionFeature():
                yield from _expression(source, place, name, feature.expr, names)
            case AggregateFeature():
                yield from _aggregate(pipeline, source, name, feature)
            case PythonFeature():
                for path in feature.reads:
                    yield from _field(source, (*place, "reads"), path, pipeline.schema)
                try:
                    load_function(str(pipeline.path.parent / feature.python))
                except FunctionError as error:
                    yield source.error((*place, "python"), f"feature '{name}': {error}")


def _aggregate(pipeline: Pipeline, source: Source, name: str, feature: AggregateFeature) -> Faults:
    place = ("features", name)
    entities = pipeline.entities
    if feature.by not in entities:
        yield source.error(
            place,
            f"feature '{name}' goes by '{feature.by}', which is no entity."
            + _meant(feature.by, entities),
        )
    elif feature.by != entities[0] and feature.default is None:
        yield source.error(
            place,
            f"feature '{name}' has no default: an event without a {feature.by} needs one, "
            "such as 'default: 0'",
        )
    if feature.over > LONGEST_WINDOW:
        yield source.error((*place, "over"), f"feature '{name}': a window is 365d at most")
    if feature.argument is not None:
        text = f"{feature.op}({feature.argument})"
        yield from _expression(
            source, place, name, feature.argument, kinds(pipeline.schema), f"asks for {text}: "
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
            hint = _meant(name, pipeline.spec.features)
            yield source.error(("watch", "ignore", index), f"there is no feature '{name}'.{hint}")


CHECKS = (_check_events, _check_entities, _check_features, _check_decide, _check_watch)


def _expression(
    source: Source,
    place: Sequence[str | int],
    name: str,
    text: str,
    names: dict[str, Kind],
    what: str = "",
) -> Faults:
    try:
        expression = Expression(text, names)
    except ExpressionError as error:
        yield source.error(place, f"feature '{name}' {what}{error}")
        return
    if expression.kind not in (Kind.NUMBER, Kind.BOOLEAN):
        yield source.error(place, f"feature '{name}': '{text}' is a {expression.kind}, no number")


def _field(source: Source, place: Sequence[str | int], path: str, schema: Schema) -> Faults:
    if path not in schema.fields:
        yield source.error(place, f"the schema has no field '{path}'.{_meant(path, schema.fields)}")


def _meant(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There are: {', '.join(known)}." if known else ""


def _line(message: str) -> int:
    parts = message.split(":", 2)
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else 0
