"""A pipeline file, read and checked against its schema and its bundles."""

import difflib
import keyword
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from verdict.operators.errors import BundleError, ExpressionError, FunctionError, SchemaError
from verdict.operators.events import schema as schemas
from verdict.operators.events.schema import Field, Schema
from verdict.operators.expressions import Expression, Kind
from verdict.operators.features.columns import LABEL, WindowedFeature, kinds
from verdict.operators.features.formulas import Formula, in_order
from verdict.operators.features.functions import load_function
from verdict.operators.models import bundle as bundles
from verdict.operators.names import ENTITY_LABELS, EVENTS, LABELS, STATE_COMMANDS
from verdict.operators.policy.decide import SCORE
from verdict.operators.records.decision import AMOUNT_SCALE
from verdict.pipelines.errors import SpecError
from verdict.pipelines.formats.streams import output_topics
from verdict.pipelines.spec import yaml_file
from verdict.pipelines.spec.spec import (
    AggregateFeature,
    ExpressionFeature,
    FieldCheck,
    LookupFeature,
    PythonFeature,
    Spec,
)
from verdict.pipelines.spec.yaml_file import Source
from verdict.state.windows.plan import LABELLED

DECODE_HOP = "decode"
"""Of a stream that does not come keyed."""
LONGEST_WINDOW = 365 * 86_400_000
FILE_SUFFIX = {
    "avro": (".avro", ".parquet"),
    "confluent": (".avro", ".parquet"),
    "json": (".jsonl",),
}
"""Format of the events -> how the names of their files end."""


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
    source
        The file as it was read, for errors.
    rows
        Lookup -> schema of its rows, where it has one.
    label_schema
        Of the label records, where there are any.
    """

    path: Path
    spec: Spec
    schema: Schema
    source: Source = field(repr=False, compare=False)
    rows: Mapping[str, Schema] = field(default_factory=dict)
    label_schema: Schema | None = None

    @property
    def keyed(self) -> bool:
        """Whether events come keyed by the first entity: from a topic that the spec says is."""
        return self.spec.events.topic is not None and self.spec.events.keyed_by is not None

    @property
    def commanded(self) -> bool:
        """Whether the job takes commands about its state."""
        return self.spec.events.topic is not None and self.spec.topics.state_commands is not None

    @property
    def labelled(self) -> list[str]:
        """The entities that have features over labels, in the order of the hops."""
        return [
            entity
            for entity in self.entities
            if any(feature.labelled for feature in self.windowed(entity))
        ]

    @property
    def labels_input(self) -> str | None:
        """The stream that the job ``score`` has labels from; None where it has none.

        Files of labels are read even if no feature asks: what is no label shall be a dead letter.
        """
        labels = self.spec.labels
        if labels is None:
            return None
        if self.spec.events.topic is None:
            return LABELS if labels.files else None
        if not self.labelled:
            return None
        return LABELS if labels.keys else ENTITY_LABELS

    def over(self, files: Sequence[Path], labels: Sequence[Path] | None = None) -> "Pipeline":
        """The same pipeline over files instead of what its file names.

        Parameters
        ----------
        files
            Of events.
        labels
            Of labels; None for those that the pipeline file names, if it does.

        Raises
        ------
        SpecError
            A file's name does not end as its format wants.
        """
        format_ = self.spec.events.format
        for file in files:
            if file.suffix not in FILE_SUFFIX[format_]:
                raise SpecError([_wrong_suffix(file, format_)])
        faults = list(_sources(self, self.source, from_files=True))
        if faults:
            raise _all(faults)
        events = self.spec.events.model_copy(
            update={"topic": None, "files": [file.resolve() for file in files]}
        )
        over = replace(self, spec=self.spec.model_copy(update={"events": events}))
        return over if labels is None else over._labelled_by(labels)

    def _labelled_by(self, files: Sequence[Path]) -> "Pipeline":
        given = self.spec.labels
        if given is None:
            raise SpecError(
                [
                    f"{self.path}: there is no 'labels' section, which says how label files are to "
                    "be read"
                ]
            )
        for file in files:
            if file.suffix not in FILE_SUFFIX[given.format]:
                raise SpecError([_wrong_suffix(file, given.format, "labels")])
        labels = given.model_copy(update={"files": [file.resolve() for file in files]})
        return replace(self, spec=self.spec.model_copy(update={"labels": labels}))

    def label_files(self) -> list[Path]:
        """The files of labels, where events come from files.

        Raises
        ------
        SpecError
            There are features over labels, and no files of labels.
        """
        labels = self.spec.labels
        found = [self.file(file) for file in (labels.files if labels is not None else None) or []]
        if self.labelled and not found:
            raise self.source.error(
                ("labels",),
                "events come from files, and there are features over labels: name the files of "
                "the labels, too (labels.files; verdict backfill --labels FILE)",
            )
        return found

    def keeping(self, folder: Path) -> "Pipeline":
        """The same pipeline with its state in another folder."""
        settings = self.spec.settings.model_copy(update={"state": folder.absolute()})
        return replace(self, spec=self.spec.model_copy(update={"settings": settings}))

    def file(self, relative: Path) -> Path:
        """Resolve a path of the pipeline file."""
        return self.path.parent / relative

    @property
    def topics(self) -> dict[str, str]:
        """Stream -> topic; without ``events`` where they come from files."""
        topics = output_topics(self.spec.topics)
        if self.spec.events.topic is not None:
            topics[EVENTS] = self.spec.events.topic
        if self.commanded:
            topics[STATE_COMMANDS] = self.spec.topics.state_commands or ""
        if self.spec.labels is not None and self.spec.events.topic is not None and self.labelled:
            if self.spec.labels.topic is not None:
                topics[LABELS] = self.spec.labels.topic
            if not self.spec.labels.keys:
                topics[ENTITY_LABELS] = self.spec.topics.entity_labels
        return topics

    @property
    def lookup_topics(self) -> list[str]:
        """The topics that lookups follow."""
        topics = [lookup.topic for lookup in self.spec.lookups.values()]
        return list(dict.fromkeys(topic for topic in topics if topic is not None))

    @property
    def entities(self) -> list[str]:
        """The entities that have a hop, in the order of the hops.

        The one that events are keyed by comes first, else the first one; then those that features
        go by.
        """
        known = self.spec.entities
        first = self.spec.events.keyed_by or next(iter(known))
        used = {
            feature.by
            for feature in self.spec.features.values()
            if isinstance(feature, AggregateFeature)
        }
        return [first, *(entity for entity in known if entity in used and entity != first)]

    def key(self, entity: str) -> list[str]:
        """The paths of the parts of an entity's key."""
        paths = self.spec.entities[entity]
        return [paths] if isinstance(paths, str) else paths

    @property
    def models(self) -> list[Path]:
        """The bundle folders: the champion's, then the challengers'."""
        model = self.spec.model
        return [self.file(folder) for folder in (model.champion, *model.challengers)]

    def windowed(self, entity: str) -> list[WindowedFeature]:
        """List an entity's aggregates, in the order of the pipeline file."""
        return [
            WindowedFeature(
                name,
                feature.op,
                feature.argument,
                feature.over or feature.half_life or 0,
                feature.default,
                feature.where,
                feature.delay or 0,
                feature.current,
                feature.half_life is not None,
                self._is_of_labels(feature),
                self._silent_by(feature.delay or 0),
            )
            for name, feature in self.spec.features.items()
            if isinstance(feature, AggregateFeature) and feature.by == entity
        ]

    def _is_of_labels(self, feature: AggregateFeature) -> bool:
        return self.spec.labels is not None and feature.argument == LABEL

    def _silent_by(self, delay: int) -> bool:
        """Whether after a delay silence means negative."""
        labels = self.spec.labels
        return labels is not None and labels.maturity is not None and labels.maturity <= delay

    def formulas(self) -> list[Formula]:
        """List the features that need no state, each after those that it reads.

        Raises
        ------
        ValueError
            Some read each other in a circle.
        """
        found, reads = [], {}
        names = {**dict.fromkeys(self.spec.features, Kind.NUMBER), **kinds(self.schema)}
        for name, feature in self.spec.features.items():
            match feature:
                case ExpressionFeature():
                    found.append(Formula(name, feature.default, expression=feature.expr))
                    reads[name] = Expression(feature.expr, names).reads
                case PythonFeature():
                    function = str(self.path.parent / feature.python)
                    found.append(
                        Formula(
                            name, feature.default, function=function, reads=tuple(feature.reads)
                        )
                    )
                    reads[name] = ()
        return in_order(found, reads)

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
                hint = _meant(name, pipeline.spec.features)
                message = f"model {bundle.card.name} asks for feature '{name}', which the pipeline"
                faults.append(source.error(place, f"{message} does not compute.{hint}"))
        loaded.append(bundle)
    if faults:
        raise _all(faults)
    return loaded


Faults = Iterable[SpecError]


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
            yield source.error(("events", "files", index), _wrong_suffix(file, events.format))
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


def _names(leaf: Field) -> bool:
    """Whether a field can be an id or a key: what `Extract` makes text of."""
    return leaf.kind is Kind.STRING or (leaf.integer and not leaf.is_decimal)


def _kind(leaf: Field) -> str:
    return "decimal" if leaf.is_decimal else str(leaf.kind)


def _wrong_suffix(file: Path, format_: str, what: str = "events") -> str:
    return f"'{file}': {what} of format {format_} lie in {' or '.join(FILE_SUFFIX[format_])} files"


def _check_entities(pipeline: Pipeline, source: Source) -> Faults:
    for entity in pipeline.spec.entities:
        place = ("entities", entity)
        for path in pipeline.key(entity):
            yield from _field(source, place, path, pipeline.schema)
            leaf = pipeline.schema.fields.get(path)
            if leaf is not None and not _names(leaf):
                yield source.error(
                    place, f"'{path}' is a {_kind(leaf)}; a key is a string or an integer"
                )
        if entity == DECODE_HOP:
            yield source.error(place, f"'{DECODE_HOP}' is the first hop's name; call it otherwise")


def _check_lookups(pipeline: Pipeline, source: Source) -> Faults:
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
            yield from _field(source, where, lookup.expires, rows, "the rows' schema")
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
    yield from _sources(pipeline, source, pipeline.spec.events.files is not None)


def _check_labels(pipeline: Pipeline, source: Source) -> Faults:
    labels, schema = pipeline.spec.labels, pipeline.label_schema
    if labels is None or schema is None:
        return
    whose = "the labels' schema"
    yield from _key_part(source, ("labels", "event_id"), labels.event_id, schema, whose)
    place: tuple[str, ...] = ("labels", "value")
    yield from _field(source, place, labels.value, schema, whose)
    leaf = schema.fields.get(labels.value)
    if leaf is not None and (
        leaf.is_decimal or leaf.time or not (leaf.kind is Kind.BOOLEAN or leaf.integer)
    ):
        yield source.error(
            place, f"'{labels.value}' is a {_kind(leaf)}; a label is a boolean, or 1 or 0"
        )
    for name, path in (("known_at", labels.known_at), ("event_time", labels.event_time)):
        if path is None:
            continue
        yield from _field(source, ("labels", name), path, schema, whose)
        leaf = schema.fields.get(path)
        if leaf is not None and not (leaf.integer and not leaf.is_decimal):
            yield source.error(("labels", name), f"'{path}' is no long: a time is one")
    if labels.source is not None:
        yield from _key_part(source, ("labels", "source"), labels.source, schema, whose)
    yield from _label_keys(pipeline, source, schema, whose)
    for index, file in enumerate(labels.files or []):
        if file.suffix not in FILE_SUFFIX[labels.format]:
            message = _wrong_suffix(file, labels.format, "labels")
            yield source.error(("labels", "files", index), message)
    if labels.format == "confluent" and pipeline.spec.settings.schemas is None:
        yield source.error(("labels", "format"), "confluent wants settings.schemas")
    if pipeline.labelled and pipeline.spec.events.files is not None and not labels.files:
        yield source.error(
            ("labels",), "events come from files, and labels name none: add 'files' with them"
        )
    if pipeline.labelled and pipeline.spec.events.topic is not None and labels.topic is None:
        yield source.error(("labels",), "events come from a topic, and labels name none")


def _label_keys(pipeline: Pipeline, source: Source, schema: Schema, whose: str) -> Faults:
    labels = pipeline.spec.labels
    assert labels is not None
    for entity in labels.keys:
        place = ("labels", "keys", entity)
        if entity not in pipeline.entities:
            hint = _meant(entity, pipeline.entities)
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


def _sources(pipeline: Pipeline, source: Source, from_files: bool) -> Faults:
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
    source: Source, place: Sequence[str | int], path: str, schema: Schema, whose: str = "the schema"
) -> Faults:
    yield from _field(source, place, path, schema, whose)
    leaf = schema.fields.get(path)
    if leaf is not None and (not _names(leaf) or leaf.time):
        kind = "time" if leaf.time else _kind(leaf)
        yield source.error(place, f"'{path}' is a {kind}; a key is a string or an integer")


def _looked_up(pipeline: Pipeline, source: Source, name: str, feature: LookupFeature) -> Faults:
    place = ("features", name)
    if feature.table not in pipeline.spec.lookups:
        hint = _meant(feature.table, pipeline.spec.lookups)
        yield source.error(
            place, f"feature '{name}' looks into '{feature.table}', which is no lookup.{hint}"
        )
        return
    if feature.field is None:
        return
    rows = pipeline.rows.get(feature.table)
    if rows is None:
        yield source.error(
            ("lookups", feature.table),
            f"feature '{name}' reads '{feature.field}' of a row: say the 'schema' of the rows",
        )
        return
    yield from _field(source, (*place, "field"), feature.field, rows, "the rows' schema")
    leaf = rows.fields.get(feature.field)
    if leaf is not None and leaf.kind not in (Kind.NUMBER, Kind.BOOLEAN):
        yield source.error(
            (*place, "field"), f"feature '{name}': '{feature.field}' is a {leaf.kind}, no number"
        )


def _check_features(pipeline: Pipeline, source: Source) -> Faults:
    names = kinds(pipeline.schema)
    for name, feature in pipeline.spec.features.items():
        place = ("features", name)
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")):
            yield source.error(
                place,
                f"feature '{name}' has no name that a rule can read; letters, digits and '_' do",
            )
        if name == SCORE:
            yield source.error(place, f"'{SCORE}' is the model's score; call the feature otherwise")
        plain = isinstance(feature, ExpressionFeature) and feature.expr == name
        if name in names and not plain:
            yield source.error(
                place, f"'{name}' is a field of the event too; call the feature otherwise"
            )
        match feature:
            case ExpressionFeature():
                others = dict.fromkeys(pipeline.spec.features, Kind.NUMBER)
                del others[name]
                yield from _expression(source, place, name, feature.expr, {**others, **names})
            case AggregateFeature():
                yield from _aggregate(pipeline, source, name, feature)
            case LookupFeature():
                yield from _looked_up(pipeline, source, name, feature)
            case PythonFeature():
                for path in feature.reads:
                    yield from _field(source, (*place, "reads"), path, pipeline.schema)
                try:
                    load_function(str(pipeline.path.parent / feature.python))
                except FunctionError as error:
                    yield source.error((*place, "python"), f"feature '{name}': {error}")


def _aggregate(pipeline: Pipeline, source: Source, name: str, feature: AggregateFeature) -> Faults:
    place = ("features", name)
    entities, names = list(pipeline.spec.entities), kinds(pipeline.schema)
    if feature.by not in entities:
        yield source.error(
            place,
            f"feature '{name}' goes by '{feature.by}', which is no entity."
            + _meant(feature.by, entities),
        )
    elif feature.by != pipeline.entities[0] and feature.default is None:
        yield source.error(
            place,
            f"feature '{name}' has no default: an event without a {feature.by} needs one, "
            "such as 'default: 0'",
        )
    for key in ("over", "half_life", "delay"):
        if (getattr(feature, key) or 0) > LONGEST_WINDOW:
            yield source.error((*place, key), f"feature '{name}': {key} is 365d at most")
    if feature.op == "rate" and pipeline.spec.labels is None:
        yield source.error(
            place,
            f"feature '{name}' is of labels: add a 'labels' section, which says where they are",
        )
    elif feature.argument == LABEL and pipeline.spec.labels is not None:
        if LABEL in names:
            yield source.error(
                place,
                f"feature '{name}' asks for '{LABEL}', which is a field of the event, too: where "
                "there are labels, call the field otherwise",
            )
        if feature.op not in LABELLED or feature.delay is None:
            yield source.error(
                place,
                f"feature '{name}': of labels there are {', '.join(LABELLED)}, each with a "
                "'delay' to wait for them",
            )
    elif feature.argument is not None:
        text = f"asks for {feature.op}({feature.argument}): "
        kind = (Kind.STRING,) if feature.op == "distinct" else ()
        yield from _expression(source, place, name, feature.argument, names, text, kind)
    if feature.where is not None:
        try:
            where = Expression(feature.where, names)
        except ExpressionError as error:
            yield source.error((*place, "where"), f"feature '{name}': {error}")
            return
        if where.kind is not Kind.BOOLEAN:
            yield source.error(
                (*place, "where"),
                f"feature '{name}': '{feature.where}' is a {where.kind}, no condition",
            )


def _check_circles(pipeline: Pipeline, source: Source) -> Faults:
    try:
        pipeline.formulas()
    except ExpressionError:
        return  # said already
    except ValueError as error:
        circle = str(error).split(" <- ")
        yield source.error(
            ("features", circle[0]), f"features read each other in a circle: {error}"
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


CHECKS = (
    _check_events,
    _check_amount,
    _check_source,
    _check_entities,
    _check_lookups,
    _check_labels,
    _check_features,
    _check_circles,
    _check_decide,
    _check_watch,
)


def _expression(
    source: Source,
    place: Sequence[str | int],
    name: str,
    text: str,
    names: dict[str, Kind],
    what: str = "",
    kinds: Sequence[Kind] = (),
) -> Faults:
    try:
        expression = Expression(text, names)
    except ExpressionError as error:
        yield source.error(place, f"feature '{name}' {what}{error}")
        return
    if expression.kind not in (Kind.NUMBER, Kind.BOOLEAN, *kinds):
        yield source.error(place, f"feature '{name}': '{text}' is a {expression.kind}, no number")


def _field(
    source: Source, place: Sequence[str | int], path: str, schema: Schema, whose: str = "the schema"
) -> Faults:
    if path not in schema.fields:
        hint = _meant(path, schema.fields)
        yield source.error(place, f"{whose} has no field '{path}'.{hint}")


def _meant(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There are: {', '.join(known)}." if known else ""


def _all(faults: Iterable[SpecError]) -> SpecError:
    """Put the errors of one file together, in the order of its lines."""
    return SpecError(sorted((text for fault in faults for text in fault.messages), key=_line))


def _line(message: str) -> int:
    parts = message.split(":", 2)
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else 0
