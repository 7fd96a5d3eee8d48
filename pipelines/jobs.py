"""The jobs of a pipeline, as values: score, shadow, watch.

A hop's operator is made where it runs, from the pipeline file, by a factory that pickles.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from operators import bundle as bundles
from operators.commands import (
    STATE_ANSWERS,
    STATE_COMMANDS,
    Obey,
    ObeyingDecodeHop,
    ObeyingEntityHop,
)
from operators.compare import Comparisons
from operators.decide import Decide, Policy, Rule
from operators.decode import Decode, Extract, avro_decoder, confluent_decoder, json_decoder
from operators.drift import Drifts
from operators.errors import BadRecord
from operators.expressions import Expression
from operators.features import EntityFeatures, Formulas, reads, variables
from operators.lookups import Lookups
from operators.merge import Merge
from operators.message import Message, Operator
from operators.records import (
    COMPARISON,
    DEAD_LETTERS,
    DECISIONS,
    DRIFT,
    SHADOW_SCORES,
    Encode,
    decision_encoder,
)
from operators.score import (
    ROWS,
    DecodeHop,
    EntityHop,
    FeatureRows,
    Finish,
    Intake,
    Money,
    Plausible,
    ScoredRows,
    scored_row,
)
from operators.shadow import Shadow
from operators.watch import SCORE, Bucket, Split, Watched
from pipelines.errors import SpecError
from pipelines.job import Hop, Job
from pipelines.pipeline import DECODE_HOP, Pipeline, load
from pipelines.spec import AggregateFeature
from pipelines.streams import EVENTS, stream_decoder, stream_encoder, stream_prefix
from state.seen import SeenState

if TYPE_CHECKING:
    from pipelines.lookups import Place

SCORE_JOB, SHADOW_JOB, WATCH_JOB = "score", "shadow", "watch"
BACKFILL_JOB = "backfill"
OUTAGE = 7 * 86_400_000
"""Milliseconds that a job may stand still without losing state to the clock, which goes on."""
TRACE = ("traceparent", "tracestate")
"""Headers of W3C's Trace Context."""


def score(pipeline: Pipeline) -> Job:
    """Events -> [decode] -> a hop an entity -> decisions, or dead letters."""
    return _entity_job(pipeline, SCORE_JOB, DECISIONS)


def backfill(pipeline: Pipeline, features_only: bool) -> Job:
    """The score job, whose end leaves rows unencoded: with decisions, or short of the model."""
    return _entity_job(pipeline, BACKFILL_JOB, ROWS, not features_only)


def _entity_job(pipeline: Pipeline, name: str, output: str, scored: bool = True) -> Job:
    # It brings Kafka's client along, which jobs without lookups can do without.
    tables = _place(pipeline) if pipeline.spec.lookups else None
    hops = [
        Hop(
            entity,
            True,
            partial(_entity_hop, pipeline.path, index, pipeline.keyed, output, scored, tables),
            _keeps(pipeline, index),
        )
        for index, entity in enumerate(pipeline.entities)
    ]
    if not pipeline.keyed:
        from_files = pipeline.spec.events.files is not None
        hops.insert(0, Hop(DECODE_HOP, False, partial(_decode_hop, pipeline.path, from_files)))
    inputs: tuple[str, ...] = (EVENTS,)
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


JOBS: Mapping[str, Callable[[Pipeline], Job]] = {
    SCORE_JOB: score,
    SHADOW_JOB: shadow,
    WATCH_JOB: watch,
}
"""Every job by its name."""


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


def _decode_hop(path: Path, from_files: bool) -> Operator:
    pipeline = load(path)
    intake = _intake(pipeline, keyed=False, from_files=from_files)
    encode_dead = _encoder(pipeline, DEAD_LETTERS)
    if not pipeline.commanded:
        return DecodeHop(pipeline.spec.pipeline, intake, encode_dead)
    hop = ObeyingDecodeHop(pipeline.spec.pipeline, intake, encode_dead)
    hop.obey = _obey(pipeline, -1, None)
    return hop


def _place(pipeline: Pipeline) -> "Place | None":
    from pipelines.lookups import place

    return place(pipeline)


def _opened(pipeline: Pipeline, tables: "Place | None") -> Lookups | None:
    """Open the tables and fill them: the last that is done before the first event."""
    if tables is None:
        return None
    from pipelines.lookups import lookups

    return lookups(pipeline, tables)


def _entity_hop(
    path: Path, index: int, keyed: bool, output: str, scored: bool, tables: "Place | None" = None
) -> Operator:
    pipeline = load(path)
    entities = pipeline.entities
    finish: Finish | FeatureRows | None = None
    if index == len(entities) - 1:
        if scored:
            finish = _finish(pipeline, output, tables)
        else:
            finish = FeatureRows(_formulas(pipeline), _opened(pipeline, tables))
    features = _features(pipeline, index)
    hop = (ObeyingEntityHop if pipeline.commanded else EntityHop)(
        pipeline.spec.pipeline,
        entities,
        index,
        features,
        _intake(pipeline, keyed=True) if keyed and index == 0 else None,
        finish,
        _encoder(pipeline, DEAD_LETTERS),
        SeenState(pipeline.spec.events.dedupe)
        if index == 0 and pipeline.spec.events.dedupe
        else None,
        output == ROWS,
    )
    if isinstance(hop, ObeyingEntityHop):
        hop.obey = _obey(pipeline, index, features)
    return hop


def _obey(pipeline: Pipeline, index: int, features: EntityFeatures | None) -> Obey:
    encode = _encoder(pipeline, STATE_ANSWERS)
    return Obey(pipeline.spec.pipeline, pipeline.entities, index, features, encode)


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
    baseline = bundles.read_card(pipeline.models[0]).baseline
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
    if pipeline.spec.events.format == "json":
        return json_decoder()
    schemas = pipeline.spec.settings.schemas
    if pipeline.spec.events.format == "confluent" and schemas is not None and not from_files:
        from pipelines.schema_registry import SchemaSource

        return confluent_decoder(
            pipeline.schema, SchemaSource(schemas, pipeline.path.parent).writer_schema
        )
    return avro_decoder(pipeline.schema)


def _finish(pipeline: Pipeline, output: str, tables: "Place | None") -> Finish:
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
        from pipelines.lookups import names

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
