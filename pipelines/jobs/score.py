"""The job `score`: events, hop by hop, to decisions; and its twin that a backfill runs.

A hop's operator is made where it runs, by a `HopPlan`.
"""

from functools import partial
from typing import TYPE_CHECKING

from verdict.operators.features.columns import variables
from verdict.operators.features.lookups import Lookups
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.labels.label import Precedence
from verdict.operators.labels.read import ReadEntityLabel, ReadsLabel
from verdict.operators.message import Operator
from verdict.operators.models import bundle as bundles
from verdict.operators.names import (
    BACKFILL_JOB,
    DEAD_LETTERS,
    DECISIONS,
    ENTITY_LABELS,
    EVENTS,
    ROWS,
    SCORE_JOB,
    STATE_ANSWERS,
    STATE_COMMANDS,
)
from verdict.operators.records.decision import decision_encoder
from verdict.operators.score.commands import Obey
from verdict.operators.score.finish import Finish, Money
from verdict.operators.score.hops import DecodeHop, EntityHop, Takers
from verdict.operators.score.intake import Intake
from verdict.operators.score.rows import FeatureRows, ScoredRows, scored_row
from verdict.operators.score.side_inputs import TakeLabels
from verdict.pipelines.jobs.events import make_intake
from verdict.pipelines.jobs.parts import (
    decoder,
    encoder,
    known,
    label_reader,
    make_decide,
    make_features,
    make_formulas,
    prefix,
    state_ttl,
    typed,
)
from verdict.pipelines.jobs.plan import HopPlan
from verdict.pipelines.spec.pipeline import DECODE_HOP, Pipeline
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.dedupe import SeenState

if TYPE_CHECKING:
    from verdict.pipelines.tables.place import TablePlace


def score(pipeline: Pipeline) -> Job:
    """Events -> [decode] -> a hop an entity -> decisions, or dead letters."""
    return _entity_job(pipeline, SCORE_JOB, DECISIONS)


def backfill(pipeline: Pipeline, features_only: bool) -> Job:
    """The score job, whose end leaves rows unencoded: with decisions, or short of the model."""
    return _entity_job(pipeline, BACKFILL_JOB, ROWS, not features_only)


def replay(pipeline: Pipeline, lookups: Lookups | None) -> tuple[Intake, list[EntityHop]]:
    """Make the score job's parts for a replay that puts events in order before each hop.

    Parameters
    ----------
    lookups
        In the place of the tables.
    """
    hops = [
        _entity_hop(pipeline, index=index, tables=lookups, intake=False)
        for index in range(len(pipeline.entities))
    ]
    return make_intake(pipeline), hops


def _entity_job(pipeline: Pipeline, name: str, output: str, scored: bool = True) -> Job:
    # It brings Kafka's client along, which jobs without lookups can do without.
    tables = _place(pipeline) if pipeline.spec.lookups else None
    for_hops = pipeline.for_hops
    hops = []
    if not pipeline.keyed:
        hops.append(Hop(DECODE_HOP, False, HopPlan(_decode_hop, for_hops)))
    for index, entity in enumerate(pipeline.entities):
        make = partial(_entity_hop, index=index, tables=tables, output=output, scored=scored)
        ttl = state_ttl(_remembered(pipeline, index))
        hops.append(Hop(entity, True, HopPlan(make, for_hops), ttl))
    labels = pipeline.labels_input
    inputs: tuple[str, ...] = (EVENTS,) if labels is None else (EVENTS, labels)
    outputs: tuple[str, ...] = (output, DEAD_LETTERS)
    if pipeline.commanded:
        inputs, outputs = (*inputs, STATE_COMMANDS), (*outputs, STATE_ANSWERS)
    carry = tuple(pipeline.spec.events.carry)
    first = () if labels is None else (labels,)
    return Job(name, pipeline.spec.pipeline, inputs, tuple(hops), outputs, carry, first)


def _remembered(pipeline: Pipeline, index: int) -> int:
    """Return how far an entity's hop looks back: milliseconds of event time."""
    dedupe = pipeline.spec.events.dedupe if index == 0 else None
    return max(make_features(pipeline, pipeline.entities[index]).horizon, dedupe or 0)


def _decode_hop(pipeline: Pipeline) -> Operator:
    intake = make_intake(pipeline)
    encode_dead = encoder(pipeline, DEAD_LETTERS)
    hop = DecodeHop(pipeline.spec.pipeline, intake, encode_dead)
    hop.takers = _takers(pipeline, hop, -1, None)
    return hop


def _place(pipeline: Pipeline) -> "TablePlace | None":
    from verdict.pipelines.tables.place import place

    return place(pipeline)


def _opened(pipeline: Pipeline, tables: "TablePlace | Lookups | None") -> Lookups | None:
    """Open the tables and fill them: the last that is done before the first event."""
    if tables is None or isinstance(tables, Lookups):
        return tables
    from verdict.pipelines.tables.open import lookups

    return lookups(pipeline, tables)


def _entity_hop(
    pipeline: Pipeline,
    *,
    index: int,
    tables: "TablePlace | Lookups | None",
    output: str = DECISIONS,
    scored: bool = True,
    intake: bool = True,
) -> EntityHop:
    """Make the hop of an entity.

    Parameters
    ----------
    output, scored
        Of the last hop: what it puts out, and whether a model is asked.
    intake
        Of the first hop of a keyed topic: it gets raw records, not events.
    """
    entities = pipeline.entities
    finish: Finish | FeatureRows | None = None
    if index == len(entities) - 1:
        if scored:
            finish = _finish(pipeline, output, tables)
        else:
            finish = FeatureRows(make_formulas(pipeline), _opened(pipeline, tables))
    features = make_features(pipeline, entities[index])
    hop = EntityHop(
        pipeline.spec.pipeline,
        entities,
        index,
        features,
        make_intake(pipeline) if intake and pipeline.keyed and index == 0 else None,
        finish,
        encoder(pipeline, DEAD_LETTERS),
        _seen(pipeline, index),
        output == ROWS,
    )
    hop.takers = _takers(pipeline, hop, index, features)
    return hop


def _seen(pipeline: Pipeline, index: int) -> SeenState | None:
    dedupe = pipeline.spec.events.dedupe
    return SeenState(dedupe) if index == 0 and dedupe is not None else None


def _takers(
    pipeline: Pipeline,
    hop: DecodeHop | EntityHop,
    index: int,
    features: EntityFeatures | None,
) -> Takers:
    """Make what takes the records that come beside the events; ``index`` is -1 before all hops."""
    takers: dict[str, Obey | TakeLabels] = {}
    entities = pipeline.entities
    if pipeline.commanded:
        encode = encoder(pipeline, STATE_ANSWERS)
        takers[STATE_COMMANDS] = Obey(pipeline.spec.pipeline, entities, index, features, encode)
    labels = pipeline.labels_input
    if labels is not None:
        wanted = pipeline.labelled
        takers[labels] = TakeLabels(
            input_label_reader(pipeline, labels),
            [entity in wanted for entity in entities],
            index,
            entities[index],
            features,
            hop.meter.counts,
            keyed=index == 0 and pipeline.keyed,
            seen=_seen(pipeline, index),
        )
    return takers


def input_label_reader(pipeline: Pipeline, stream: str) -> ReadsLabel:
    """Make what reads the labels that the score job takes, from either stream."""
    assert pipeline.spec.labels is not None
    if stream == ENTITY_LABELS:
        decode = decoder(pipeline, ENTITY_LABELS)
        precedence = Precedence(pipeline.spec.labels.precedence)
        return ReadEntityLabel(decode, pipeline.entities, precedence)
    return label_reader(pipeline)


def _finish(pipeline: Pipeline, output: str, tables: "TablePlace | Lookups | None") -> Finish:
    spec, schema = pipeline.spec, pipeline.schema
    money = None
    if spec.events.amount is not None:
        amount = spec.events.amount
        scale = schema.fields[amount.field].scale
        money = Money(amount.field, scale, amount.currency, amount.currency_field)
    decide = make_decide(pipeline)
    bundle = bundles.load(pipeline.models[0])
    features = list(spec.features)
    fields = [name for name in decide.reads if name in schema.fields and name not in features]
    model = bundle.card.model_dump(include={"name", "version", "sha256"})
    names = known(pipeline)
    variable = variables(schema, typed(pipeline))
    formulas = make_formulas(pipeline)
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
        prefix(pipeline, DECISIONS),
    )
    opened = _opened(pipeline, tables)
    return Finish(formulas, bundle, decide, money, encode, names, features, variable, opened)
