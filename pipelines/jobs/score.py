"""The jobs of a pipeline, as values: score, shadow, watch, labels.

A hop's operator is made where it runs, from the pipeline file, by a factory that pickles.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import Decode, avro_decoder, confluent_decoder, json_decoder
from verdict.operators.events.event import Event
from verdict.operators.events.extract import Extract
from verdict.operators.events.fields import exact_of, text_of
from verdict.operators.events.schema import Schema
from verdict.operators.expressions import Expression
from verdict.operators.features.columns import reads, variables
from verdict.operators.features.formulas import Formulas
from verdict.operators.features.lookups import Lookups
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.labels.join import Join, Route
from verdict.operators.labels.label import Precedence
from verdict.operators.labels.read import ReadEntityLabel, ReadLabel, ReadsLabel
from verdict.operators.message import Message, Operator
from verdict.operators.models import bundle as bundles
from verdict.operators.models import card
from verdict.operators.names import (
    COMPARISON,
    DEAD_LETTERS,
    DECISIONS,
    DRIFT,
    ENTITY_LABELS,
    EVENTS,
    LABELS,
    ROWS,
    SHADOW_SCORES,
    STATE_ANSWERS,
    STATE_COMMANDS,
)
from verdict.operators.policy.decide import Decide, Policy, Rule
from verdict.operators.records.decision import decision_encoder
from verdict.operators.records.streams import Encode
from verdict.operators.score.commands import Obey
from verdict.operators.score.finish import Finish, Money
from verdict.operators.score.hops import DecodeHop, EntityHop
from verdict.operators.score.intake import Intake, Plausible
from verdict.operators.score.rows import FeatureRows, ScoredRows, scored_row
from verdict.operators.score.side_inputs import DecodeHopBeside, EntityHopBeside, TakeLabels, Takers
from verdict.operators.shadow import Shadow
from verdict.operators.watch.bucket import Bucket, Watched
from verdict.operators.watch.compare import Comparisons
from verdict.operators.watch.drift import Drifts
from verdict.operators.watch.merge import Merge
from verdict.operators.watch.split import SCORE, Split
from verdict.pipelines.errors import SpecError
from verdict.pipelines.formats.streams import stream_decoder, stream_encoder, stream_prefix
from verdict.pipelines.spec.features import AggregateFeature
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import DECODE_HOP, Pipeline
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.dedupe import SeenState

if TYPE_CHECKING:
    from verdict.pipelines.tables.place import Place

SCORE_JOB, SHADOW_JOB, WATCH_JOB, LABELS_JOB = "score", "shadow", "watch", "labels"
BACKFILL_JOB = "backfill"
OUTAGE = 7 * 86_400_000
"""Milliseconds that a job may stand still without losing state to the clock, which goes on."""
UNTIL_LABELLED = 30 * 86_400_000
"""Milliseconds for which the job ``labels`` remembers a decision after no label of its event can
count any more: those that come too late are counted by the job ``score``, not lost on the way."""
TRACE = ("traceparent", "tracestate")
"""Headers of W3C's Trace Context."""


def score(pipeline: Pipeline) -> Job:
    """Events -> [decode] -> a hop an entity -> decisions, or dead letters."""
    return _entity_job(pipeline, SCORE_JOB, DECISIONS)


def backfill(pipeline: Pipeline, features_only: bool) -> Job:
    """The score job, whose end leaves rows unencoded: with decisions, or short of the model."""
    return _entity_job(pipeline, BACKFILL_JOB, ROWS, not features_only)


def replay(
    pipeline: Pipeline, from_files: bool, lookups: Lookups | None
) -> tuple[Intake, list[EntityHop]]:
    """Make the score job's parts for a replay that puts events in order before each hop.

    Parameters
    ----------
    from_files
        The events come from files: without message keys, as plain Avro.
    lookups
        In the place of the tables.
    """
    hops = [
        _entity_hop(pipeline.path, index, False, DECISIONS, True, lookups, pipeline.labels_input)
        for index in range(len(pipeline.entities))
    ]
    return _intake(pipeline, pipeline.keyed and not from_files, from_files), hops


def _entity_job(pipeline: Pipeline, name: str, output: str, scored: bool = True) -> Job:
    # It brings Kafka's client along, which jobs without lookups can do without.
    tables = _place(pipeline) if pipeline.spec.lookups else None
    labels = pipeline.labels_input
    hops = [
        Hop(
            entity,
            True,
            partial(
                _entity_hop, pipeline.path, index, pipeline.keyed, output, scored, tables, labels
            ),
            _keeps(pipeline, index),
        )
        for index, entity in enumerate(pipeline.entities)
    ]
    if not pipeline.keyed:
        from_files = pipeline.spec.events.files is not None
        decode = partial(_decode_hop, pipeline.path, from_files, labels)
        hops.insert(0, Hop(DECODE_HOP, False, decode))
    inputs: tuple[str, ...] = (EVENTS,) if labels is None else (EVENTS, labels)
    outputs: tuple[str, ...] = (output, DEAD_LETTERS)
    if pipeline.commanded:
        inputs, outputs = (*inputs, STATE_COMMANDS), (*outputs, STATE_ANSWERS)
    carry = tuple(pipeline.spec.events.carry)
    return Job(name, pipeline.spec.pipeline, inputs, tuple(hops), outputs, carry)


def _keeps(pipeline: Pipeline, index: int) -> int:
    """Return how long Flink has to keep what of a key is not written any more."""
    dedupe = pipeline.spec.events.dedupe if index == 0 else None
    features = _features(pipeline, index)
    return 2 * max(features.horizon, dedupe or 0) + OUTAGE


def _features(pipeline: Pipeline, index: int) -> EntityFeatures:
    return EntityFeatures(
        pipeline.windowed(pipeline.entities[index]),
        pipeline.schema,
        pipeline.spec.events.allowed_lateness,
        _typed(pipeline),
    )


def shadow(pipeline: Pipeline) -> Job:
    """Decisions -> every challenger -> shadow scores."""
    hop = Hop("challengers", False, partial(_shadow_hop, pipeline.path))
    # A shadow score is of the event's trace, but no answer to whoever asked for the decision.
    carry = tuple(name for name in pipeline.spec.events.carry if name in TRACE)
    outputs = (SHADOW_SCORES, DEAD_LETTERS)
    return Job(SHADOW_JOB, pipeline.spec.pipeline, (DECISIONS,), (hop,), outputs, carry)


def watch(pipeline: Pipeline) -> Job:
    """Decisions and shadow scores -> windows in buckets -> drift, comparison."""
    hops = (
        Hop("split", False, partial(_split_hop, pipeline.path)),
        Hop("bucket", True, partial(_bucket_hop, pipeline.path)),
        Hop("merge", True, partial(_merge_hop, pipeline.path)),
    )
    return Job(
        WATCH_JOB,
        pipeline.spec.pipeline,
        (DECISIONS, SHADOW_SCORES),
        hops,
        (DRIFT, COMPARISON, DEAD_LETTERS),
    )


def labels(pipeline: Pipeline) -> Job:
    """Decisions and labels -> at the event's id -> labels with its time and keys.

    Raises
    ------
    SpecError
        The pipeline has no labels that need it.
    """
    if pipeline.labels_input != ENTITY_LABELS:
        raise SpecError(
            [
                f"{pipeline.path}: there is nothing to do for the job {LABELS_JOB}: it is for "
                "labels from a topic, without 'keys', that features go by"
            ]
        )
    keeps = remembered(pipeline)
    hops = (
        Hop("label-route", False, partial(_route_hop, pipeline.path)),
        Hop("label-join", True, partial(_join_hop, pipeline.path, keeps), 2 * keeps + OUTAGE),
    )
    outputs = (ENTITY_LABELS, DEAD_LETTERS)
    return Job(LABELS_JOB, pipeline.spec.pipeline, (DECISIONS, LABELS), hops, outputs)


def remembered(pipeline: Pipeline) -> int:
    """Return how long the job ``labels`` remembers a decision: milliseconds of event time."""
    delays = [
        feature.delay
        for entity in pipeline.labelled
        for feature in pipeline.windowed(entity)
        if feature.labelled
    ]
    maturity = pipeline.spec.labels.maturity if pipeline.spec.labels is not None else None
    return max(*delays, maturity or 0) + UNTIL_LABELLED


JOBS: Mapping[str, Callable[[Pipeline], Job]] = {
    SCORE_JOB: score,
    SHADOW_JOB: shadow,
    WATCH_JOB: watch,
    LABELS_JOB: labels,
}
"""Every job by its name."""


def names(pipeline: Pipeline) -> list[str]:
    """List the jobs that a pipeline has: all but ``labels``, which not every one needs."""
    needed = pipeline.labels_input == ENTITY_LABELS
    return [name for name in JOBS if name != LABELS_JOB or needed]


def job(pipeline: Pipeline, name: str) -> Job:
    """Make one of a pipeline's jobs.

    Raises
    ------
    SpecError
        There is no such job.
    """
    if name not in JOBS:
        raise SpecError([f"there is no job '{name}'; there are {', '.join(JOBS)}"])
    return JOBS[name](pipeline)


def _decode_hop(path: Path, from_files: bool, labels: str | None = None) -> Operator:
    pipeline = load(path)
    intake = _intake(pipeline, keyed=False, from_files=from_files)
    encode_dead = _encoder(pipeline, DEAD_LETTERS)
    if not pipeline.commanded and labels is None:
        return DecodeHop(pipeline.spec.pipeline, intake, encode_dead)
    hop = DecodeHopBeside(pipeline.spec.pipeline, intake, encode_dead)
    hop.takers = _takers(pipeline, hop, -1, None, labels, from_files)
    return hop


def _place(pipeline: Pipeline) -> "Place | None":
    from verdict.pipelines.tables.place import place

    return place(pipeline)


def _opened(pipeline: Pipeline, tables: "Place | Lookups | None") -> Lookups | None:
    """Open the tables and fill them: the last that is done before the first event."""
    if tables is None or isinstance(tables, Lookups):
        return tables
    from verdict.pipelines.tables.open import lookups

    return lookups(pipeline, tables)


def _entity_hop(
    path: Path,
    index: int,
    keyed: bool,
    output: str,
    scored: bool,
    tables: "Place | Lookups | None" = None,
    labels: str | None = None,
) -> EntityHop:
    pipeline = load(path)
    beside = pipeline.commanded or labels is not None
    entities = pipeline.entities
    finish: Finish | FeatureRows | None = None
    if index == len(entities) - 1:
        if scored:
            finish = _finish(pipeline, output, tables)
        else:
            finish = FeatureRows(_formulas(pipeline), _opened(pipeline, tables))
    features = _features(pipeline, index)
    hop = (EntityHopBeside if beside else EntityHop)(
        pipeline.spec.pipeline,
        entities,
        index,
        features,
        _intake(pipeline, keyed=True) if keyed and index == 0 else None,
        finish,
        _encoder(pipeline, DEAD_LETTERS),
        _seen(pipeline, index),
        output == ROWS,
    )
    if isinstance(hop, EntityHopBeside):
        from_files = pipeline.spec.events.topic is None
        hop.takers = _takers(pipeline, hop, index, features, labels, from_files)
    return hop


def _seen(pipeline: Pipeline, index: int) -> SeenState | None:
    dedupe = pipeline.spec.events.dedupe
    return SeenState(dedupe) if index == 0 and dedupe is not None else None


def _takers(
    pipeline: Pipeline,
    hop: DecodeHop | EntityHop,
    index: int,
    features: EntityFeatures | None,
    labels: str | None,
    from_files: bool,
) -> Takers:
    """Make what takes the records that come beside the events; ``index`` is -1 before all hops."""
    takers: dict[str, Obey | TakeLabels] = {}
    entities = pipeline.entities
    if pipeline.commanded:
        encode = _encoder(pipeline, STATE_ANSWERS)
        takers[STATE_COMMANDS] = Obey(pipeline.spec.pipeline, entities, index, features, encode)
    if labels is not None:
        wanted = pipeline.labelled
        takers[labels] = TakeLabels(
            input_label_reader(pipeline, labels, from_files),
            [entity in wanted for entity in entities],
            index,
            entities[index],
            features,
            hop.meter.counts,
            keyed=index == 0 and pipeline.keyed,
            seen=_seen(pipeline, index),
        )
    return takers


def input_label_reader(pipeline: Pipeline, stream: str, from_files: bool = False) -> ReadsLabel:
    """Make what reads the labels that the score job takes, from either stream."""
    assert pipeline.spec.labels is not None
    if stream == ENTITY_LABELS:
        decode = _decoder(pipeline, ENTITY_LABELS)
        precedence = Precedence(pipeline.spec.labels.precedence)
        return ReadEntityLabel(decode, pipeline.entities, precedence)
    return label_reader(pipeline, from_files)


def label_reader(pipeline: Pipeline, from_files: bool) -> ReadLabel:
    """Make what reads a pipeline's label records as others send them."""
    labels, schema = pipeline.spec.labels, pipeline.label_schema
    assert labels is not None and schema is not None
    keys = [labels.key(entity) for entity in pipeline.entities] if labels.keys else []
    return ReadLabel(
        _record_decoder(pipeline, labels.format, schema, from_files),
        schema,
        labels.event_id,
        labels.value,
        labels.known_at,
        labels.source,
        labels.event_time,
        keys,
        Precedence(labels.precedence),
    )


def _route_hop(path: Path) -> Operator:
    pipeline = load(path)
    return Route(
        pipeline.spec.pipeline,
        _decoder(pipeline, DECISIONS),
        label_reader(pipeline, from_files=False),
        _encoder(pipeline, DEAD_LETTERS),
    )


def _join_hop(path: Path, keeps: int) -> Operator:
    pipeline = load(path)
    encode, encode_dead = _encoder(pipeline, ENTITY_LABELS), _encoder(pipeline, DEAD_LETTERS)
    return Join(pipeline.spec.pipeline, keeps, encode, encode_dead)


def _shadow_hop(path: Path) -> Operator:
    pipeline = load(path)
    return Shadow(
        pipeline.spec.pipeline,
        [bundles.load(folder) for folder in pipeline.models[1:]],
        _decide(pipeline),
        _decoder(pipeline, DECISIONS),
        _encoder(pipeline, SHADOW_SCORES),
        _encoder(pipeline, DEAD_LETTERS),
    )


def _split_hop(path: Path) -> Operator:
    pipeline = load(path)
    return Split(
        pipeline.spec.pipeline,
        [item.name for item in watched(pipeline)],
        _decoder(pipeline, DECISIONS),
        _decoder(pipeline, SHADOW_SCORES),
        _encoder(pipeline, DEAD_LETTERS),
    )


def _bucket_hop(path: Path) -> Operator:
    pipeline = load(path)
    return Bucket(watched(pipeline), pipeline.spec.watch.window)


def _merge_hop(path: Path) -> Operator:
    pipeline = load(path)
    spec = pipeline.spec
    drifts = Drifts(
        spec.pipeline,
        watched(pipeline),
        spec.watch.window,
        spec.watch.psi_alarm,
        spec.watch.adwin_delta,
        spec.watch.min_events,
        _encoder(pipeline, DRIFT),
    )
    encode = _encoder(pipeline, COMPARISON)
    return Merge(drifts, Comparisons(spec.pipeline, spec.watch.window, encode))


def watched(pipeline: Pipeline) -> list[Watched]:
    """List what the watch job watches: every feature but the ignored, and the score last."""
    baseline = card.read_card(pipeline.models[0]).baseline
    features = {
        name: feature
        for name, feature in pipeline.spec.features.items()
        if name not in pipeline.spec.watch.ignore
    }
    warm_ups = {
        name: feature.reach if isinstance(feature, AggregateFeature) else 0
        for name, feature in features.items()
    }
    warm_ups[SCORE] = max(warm_ups.values(), default=0)
    found = []
    for name in (*features, SCORE):
        known = baseline.get(name)
        found.append(
            Watched(
                name,
                tuple(known.edges) if known else (),
                tuple(known.counts) if known else (),
                known.mean if known else 0.0,
                known.std if known else 0.0,
                warm_ups[name],
            )
        )
    return found


def event_times(pipeline: Pipeline, from_files: bool) -> Callable[[Message], int | None]:
    """Make what tells the event time of a record; None of one that will be a dead letter."""
    intake = _intake(pipeline, pipeline.keyed, from_files)

    def time_of(message: Message) -> int | None:
        try:
            return intake(message).event.time
        except BadRecord:
            return None

    return time_of


def _intake(pipeline: Pipeline, keyed: bool, from_files: bool = False) -> Intake:
    spec, schema = pipeline.spec, pipeline.schema
    fields, units = _reads(pipeline)
    extract = Extract(
        schema,
        spec.events.id,
        spec.events.time,
        [pipeline.key(entity) for entity in pipeline.entities],
        fields,
        units,
        _typed(pipeline),
    )
    checks = [
        Plausible(
            path,
            check.min,
            check.max,
            None if check.allowed is None else frozenset(check.allowed),
            check.outside == "dead-letter",
        )
        for path, check in spec.events.fields.items()
    ]
    decode = _event_decoder(pipeline, from_files)
    return Intake(decode, extract, checks, keyed, spec.events.max_ahead)


class EventReader:
    """Reads records of events from files without running them.

    Parameters
    ----------
    pipeline
        Over files.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        events, leaves = pipeline.spec.events, pipeline.schema.fields
        keys = [pipeline.key(entity) for entity in pipeline.entities]
        self._decode = _event_decoder(pipeline, from_files=True)
        self._id, self._time = text_of(leaves[events.id]), exact_of(leaves[events.time])

        def extract(keys: Sequence[Sequence[str]]) -> Extract:
            return Extract(pipeline.schema, events.id, events.time, keys, [], [], _typed(pipeline))

        self._extract, self._marks = extract(keys), extract([[events.id]])

    def peek(self, message: Message) -> tuple[str | None, int | None]:
        """Return what stands for an event's id and time, be they as they must be or not."""
        try:
            record = self._decode(message.value)
        except BadRecord:
            return None, None
        try:  # most events are as they must be
            return self._marks(record)[:2]
        except BadRecord:
            pass
        try:
            return self._id(record), self._time(record)
        except BadRecord:
            return None, None

    def __call__(self, message: Message) -> Event | None:
        """Return its id, time and keys; None where it will be a dead letter."""
        try:
            return self._extract(self._decode(message.value))
        except BadRecord:
            return None


def _typed(pipeline: Pipeline) -> bool:
    """Whether decoded events have the schema's types."""
    return pipeline.spec.events.format != "json"


def _reads(pipeline: Pipeline) -> tuple[list[str], list[str]]:
    """List the fields that the pipeline reads: by value, and as exact integers."""
    spec, schema = pipeline.spec, pipeline.schema
    aggregates = [w for entity in pipeline.entities for w in pipeline.windowed(entity)]
    fields, units = reads(aggregates, schema)
    fields += spec.events.fields
    for formula in pipeline.formulas():
        fields += formula.reads
        if formula.expression is not None:
            read = Expression(formula.expression, pipeline.rule_names()).reads
            fields += [name for name in read if name in schema.fields]
    for lookup in spec.lookups.values():
        fields += lookup.key_of_event
    fields += [name for name in _decide(pipeline).reads if name in schema.fields]
    if spec.events.amount is not None:
        units.append(spec.events.amount.field)
        if spec.events.amount.currency_field is not None:
            fields.append(spec.events.amount.currency_field)
    return list(dict.fromkeys(fields)), list(dict.fromkeys(units))


def _event_decoder(pipeline: Pipeline, from_files: bool) -> Decode:
    return _record_decoder(pipeline, pipeline.spec.events.format, pipeline.schema, from_files)


def _record_decoder(pipeline: Pipeline, format_: str, schema: Schema, from_files: bool) -> Decode:
    if format_ == "json":
        return json_decoder()
    schemas = pipeline.spec.settings.schemas
    if format_ == "confluent" and schemas is not None and not from_files:
        from verdict.pipelines.formats.registry import SchemaSource

        return confluent_decoder(schema, SchemaSource(schemas, pipeline.path.parent).writer_schema)
    return avro_decoder(schema)


def _finish(pipeline: Pipeline, output: str, tables: "Place | Lookups | None") -> Finish:
    spec, schema = pipeline.spec, pipeline.schema
    money = None
    if spec.events.amount is not None:
        amount = spec.events.amount
        scale = schema.fields[amount.field].scale
        money = Money(amount.field, scale, amount.currency, amount.currency_field)
    decide = _decide(pipeline)
    bundle = bundles.load(pipeline.models[0])
    features = list(spec.features)
    fields = [name for name in decide.reads if name in schema.fields and name not in features]
    model = bundle.card.model_dump(include={"name", "version", "sha256"})
    names = known(pipeline)
    variable = variables(schema, _typed(pipeline))
    formulas = _formulas(pipeline)
    if output == ROWS:
        opened = _opened(pipeline, tables)
        return ScoredRows(
            formulas, bundle, decide, None, scored_row, names, features, variable, opened
        )
    encode = decision_encoder(
        spec.pipeline,
        model,
        len(pipeline.entities),
        features,
        names,
        fields,
        _prefix(pipeline, DECISIONS),
    )
    opened = _opened(pipeline, tables)
    return Finish(formulas, bundle, decide, money, encode, names, features, variable, opened)


def known(pipeline: Pipeline) -> list[str]:
    """List every feature in the order in which it becomes known."""
    return _kept(pipeline) + [formula.name for formula in pipeline.formulas()]


def _kept(pipeline: Pipeline) -> list[str]:
    """List the features of state and tables, in the order in which they become known."""
    found = [each.name for entity in pipeline.entities for each in pipeline.windowed(entity)]
    if pipeline.spec.lookups:
        from verdict.pipelines.tables.place import names

        found += names(pipeline)
    return found


def _formulas(pipeline: Pipeline) -> Formulas:
    return Formulas(pipeline.formulas(), pipeline.schema, _typed(pipeline), _kept(pipeline))


def _decide(pipeline: Pipeline) -> Decide:
    decide = pipeline.spec.decide
    policy = Policy(
        tuple(Rule(rule.name, rule.when, rule.action) for rule in decide.rules),
        tuple((threshold.at, threshold.action) for threshold in decide.thresholds),
        decide.otherwise,
        decide.missing,
    )
    return Decide(policy, pipeline.rule_names())


def _encoder(pipeline: Pipeline, stream: str) -> Encode:
    return stream_encoder(stream, _prefix(pipeline, stream))


def _prefix(pipeline: Pipeline, stream: str) -> bytes:
    topic = pipeline.topics[stream]
    return stream_prefix(stream, pipeline.spec.settings, topic, pipeline.path.parent)


def _decoder(pipeline: Pipeline, stream: str) -> Callable[[bytes], dict[str, object]]:
    return stream_decoder(stream, pipeline.spec.settings)
