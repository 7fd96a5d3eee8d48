"""Parts that several jobs' hops are made of."""

from collections.abc import Callable

from verdict.operators.events.decode import AvroDecoder, ConfluentDecoder, Decode, json_decoder
from verdict.operators.events.schema import Schema
from verdict.operators.features.formulas import Formulas
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.labels.label import Precedence
from verdict.operators.labels.read import ReadLabel
from verdict.operators.policy.decide import Decide, Policy, Rule
from verdict.operators.records.streams import Encode
from verdict.pipelines.formats.streams import stream_decoder, stream_encoder, stream_prefix
from verdict.pipelines.spec.pipeline import Pipeline

OUTAGE = 7 * 86_400_000
"""Milliseconds that a job may stand still without losing state to the clock, which goes on."""


def state_ttl(remembered: int) -> int:
    """Return for how long of its clock Flink keeps what of a key is not written any more.

    Parameters
    ----------
    remembered
        Milliseconds of event time that the operator looks back; it deletes after twice that.
    """
    return 2 * remembered + OUTAGE


def make_features(pipeline: Pipeline, entity: str) -> EntityFeatures:
    """Make what computes an entity's aggregates."""
    return EntityFeatures(
        pipeline.windowed(entity),
        pipeline.schema,
        pipeline.spec.events.allowed_lateness,
        typed(pipeline),
        entity,
    )


def label_reader(pipeline: Pipeline) -> ReadLabel:
    """Make what reads a pipeline's label records as others send them."""
    labels, schema = pipeline.spec.labels, pipeline.label_schema
    assert labels is not None and schema is not None
    keys = [labels.key(entity) for entity in pipeline.entities] if labels.keys else []
    return ReadLabel(
        record_decoder(pipeline, labels.format, schema),
        schema,
        labels.event_id,
        labels.value,
        labels.known_at,
        labels.source,
        labels.event_time,
        keys,
        Precedence(labels.precedence),
    )


def typed(pipeline: Pipeline) -> bool:
    """Whether decoded events have the schema's types."""
    return pipeline.spec.events.format != "json"


def record_decoder(pipeline: Pipeline, format_: str, schema: Schema) -> Decode:
    """Make what decodes events or labels; in files they lie without Confluent's header."""
    if format_ == "json":
        return json_decoder()
    schemas = pipeline.spec.settings.schemas
    if format_ == "confluent" and schemas is not None and not pipeline.from_files:
        from verdict.pipelines.formats.registry import SchemaSource

        return ConfluentDecoder(schema, SchemaSource(schemas, pipeline.path.parent).writer_schema)
    return AvroDecoder(schema)


def known(pipeline: Pipeline) -> list[str]:
    """List every feature in the order in which it becomes known."""
    return _kept(pipeline) + [formula.name for formula in pipeline.formulas]


def _kept(pipeline: Pipeline) -> list[str]:
    """List the features of state and tables, in the order in which they become known."""
    found = [each.name for entity in pipeline.entities for each in pipeline.windowed(entity)]
    if pipeline.spec.lookups:
        from verdict.pipelines.tables.place import names

        found += names(pipeline)
    return found


def make_formulas(pipeline: Pipeline) -> Formulas:
    """Make what computes a pipeline's features that are formulas."""
    return Formulas(pipeline.formulas, pipeline.schema, typed(pipeline), _kept(pipeline))


def make_decide(pipeline: Pipeline) -> Decide:
    """Make what a pipeline decides by."""
    decide = pipeline.spec.decide
    policy = Policy(
        tuple(Rule(rule.name, rule.when, rule.action) for rule in decide.rules),
        tuple((threshold.at, threshold.action) for threshold in decide.thresholds),
        decide.otherwise,
        decide.missing,
    )
    return Decide(policy, pipeline.rule_names)


def encoder(pipeline: Pipeline, stream: str) -> Encode:
    """Make the encoder of one of a pipeline's streams, as its topic wants it."""
    return stream_encoder(stream, prefix(pipeline, stream))


def prefix(pipeline: Pipeline, stream: str) -> bytes:
    """Return what stands before each record in a stream's topic."""
    topic = pipeline.topics[stream]
    return stream_prefix(stream, pipeline.spec.settings, topic, pipeline.path.parent)


def decoder(pipeline: Pipeline, stream: str) -> Callable[[bytes], dict[str, object]]:
    """Make the decoder of one of a pipeline's streams."""
    return stream_decoder(stream, pipeline.spec.settings)
