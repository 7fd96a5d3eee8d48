"""A pipeline file, read: what the jobs ask of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from verdict.operators.events.schema import Schema
from verdict.operators.expressions import Expression, Kind
from verdict.operators.features.columns import LABEL, WindowedFeature, kinds
from verdict.operators.features.formulas import Formula, in_order
from verdict.operators.names import ENTITY_LABELS, EVENTS, LABELS, STATE_COMMANDS
from verdict.operators.policy.decide import SCORE
from verdict.pipelines.spec.features import AggregateFeature, ExpressionFeature, PythonFeature
from verdict.pipelines.spec.settings import output_topics
from verdict.pipelines.spec.spec import Spec
from verdict.pipelines.spec.yaml_file import SourceFile

DECODE_HOP = "decode"
"""Of a stream that does not come keyed."""
FILE_SUFFIX = {
    "avro": (".avro", ".parquet"),
    "confluent": (".avro", ".parquet"),
    "json": (".jsonl",),
}
"""Format of the events -> how the names of their files end."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that has been checked.

    It never changes, so what is asked of it again and again is made once. It pickles, and hops are
    made of it where they run (`for_hops`).

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

    Examples
    --------
    >>> from verdict import load
    >>> from verdict.pipelines.paths import resource
    >>> pipeline = load(resource("init/pipeline.yaml"))
    >>> pipeline.entities, pipeline.topics["decisions"]
    (['card'], 'decisions')
    """

    path: Path
    spec: Spec
    schema: Schema
    source: SourceFile = field(repr=False, compare=False)
    rows: Mapping[str, Schema] = field(default_factory=dict)
    label_schema: Schema | None = None

    @property
    def keyed(self) -> bool:
        """Whether events come keyed by the first entity: from a topic that the spec says is."""
        return self.spec.events.topic is not None and self.spec.events.keyed_by is not None

    @property
    def from_files(self) -> bool:
        """Whether events, labels and tables come from files."""
        return self.spec.events.topic is None

    @property
    def commanded(self) -> bool:
        """Whether the job takes commands about its state."""
        return self.spec.events.topic is not None and self.spec.topics.state_commands is not None

    @cached_property
    def labelled(self) -> Sequence[str]:
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

    @cached_property
    def for_hops(self) -> "Pipeline":
        """The same pipeline as a hop takes it along: short of what only the job's start asks.

        That is the text of the file, for errors, and where no table follows a topic the settings of
        Kafka's clients, which may hold a password. A secret that the file refers to is not read: it
        is where the clients are.
        """
        settings = self.spec.settings
        if self.from_files or not self.lookup_topics:
            settings = settings.model_copy(update={"kafka": {}})
        return replace(
            self,
            spec=self.spec.model_copy(update={"settings": settings}),
            source=SourceFile(self.path, {}, {}),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what it was made of; the rest is made anew where it is asked."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def file(self, relative: Path) -> Path:
        """Resolve a path of the pipeline file."""
        return self.path.parent / relative

    @cached_property
    def topics(self) -> Mapping[str, str]:
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
                topics[ENTITY_LABELS] = self.spec.topics.of(ENTITY_LABELS)
        return topics

    @property
    def lookup_topics(self) -> list[str]:
        """The topics that lookups follow."""
        topics = [lookup.topic for lookup in self.spec.lookups.values()]
        return list(dict.fromkeys(topic for topic in topics if topic is not None))

    @cached_property
    def entities(self) -> Sequence[str]:
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

    def windowed(self, entity: str) -> Sequence[WindowedFeature]:
        """List an entity's aggregates, in the order of the pipeline file."""
        return self._windowed.get(entity, ())

    @cached_property
    def _windowed(self) -> Mapping[str, Sequence[WindowedFeature]]:
        """Entity -> its aggregates."""
        found: dict[str, list[WindowedFeature]] = {}
        for name, feature in self.spec.features.items():
            if isinstance(feature, AggregateFeature):
                windowed = WindowedFeature(
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
                found.setdefault(feature.by, []).append(windowed)
        return found

    def _is_of_labels(self, feature: AggregateFeature) -> bool:
        return self.spec.labels is not None and feature.argument == LABEL

    def _silent_by(self, delay: int) -> bool:
        """Whether after a delay silence means negative."""
        labels = self.spec.labels
        return labels is not None and labels.maturity is not None and labels.maturity <= delay

    @cached_property
    def formulas(self) -> Sequence[Formula]:
        """The features that need no state, each after those that it reads.

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

    @cached_property
    def rule_names(self) -> Mapping[str, Kind]:
        """Every name a rule may read, and its kind."""
        names = kinds(self.schema)
        names.update(dict.fromkeys(self.spec.features, Kind.NUMBER))
        names[SCORE] = Kind.NUMBER
        return names


def wrong_suffix(file: Path, format_: str, what: str = "events") -> str:
    """Say that a file's suffix is not one of its format."""
    return f"'{file}': {what} of format {format_} lie in {' or '.join(FILE_SUFFIX[format_])} files"
