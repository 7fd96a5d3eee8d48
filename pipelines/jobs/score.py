"""The jobs of a pipeline, as values: score, shadow, watch, labels.

A hop's operator is made where it runs, from the pipeline file, by a factory that pickles.
"""

from functools import partial
from pathlib import Path
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
    OUTAGE,
    decoder,
    encoder,
    known,
    label_reader,
    make_decide,
    make_features,
    make_formulas,
    prefix,
    typed,
)
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import DECODE_HOP, Pipeline
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.dedupe import SeenState

if TYPE_CHECKING:
    from verdict.pipelines.tables.place import Place


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
    return make_intake(pipeline, pipeline.keyed and not from_files, from_files), hops


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
    first = () if labels is None else (labels,)
    return Job(name, pipeline.spec.pipeline, inputs, tuple(hops), outputs, carry, first)


def _keeps(pipeline: Pipeline, index: int) -> int:
    """Return how long Flink has to keep what of a key is not written any more."""
    dedupe = pipeline.spec.events.dedupe if index == 0 else None
    features = make_features(pipeline, index)
    return 2 * max(features.horizon, dedupe or 0) + OUTAGE


def _decode_hop(path: Path, from_files: bool, labels: str | None = None) -> Operator:
    pipeline = load(path)
    intake = make_intake(pipeline, keyed=False, from_files=from_files)
    encode_dead = encoder(pipeline, DEAD_LETTERS)
    hop = DecodeHop(pipeline.spec.pipeline, intake, encode_dead)
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
    entities = pipeline.entities
    finish: Finish | FeatureRows | None = None
    if index == len(entities) - 1:
        if scored:
            finish = _finish(pipeline, output, tables)
        else:
            finish = FeatureRows(make_formulas(pipeline), _opened(pipeline, tables))
    features = make_features(pipeline, index)
    hop = EntityHop(
        pipeline.spec.pipeline,
        entities,
        index,
        features,
        make_intake(pipeline, keyed=True) if keyed and index == 0 else None,
        finish,
        encoder(pipeline, DEAD_LETTERS),
        _seen(pipeline, index),
        output == ROWS,
    )
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
        encode = encoder(pipeline, STATE_ANSWERS)
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
        decode = decoder(pipeline, ENTITY_LABELS)
        precedence = Precedence(pipeline.spec.labels.precedence)
        return ReadEntityLabel(decode, pipeline.entities, precedence)
    return label_reader(pipeline, from_files)


def _finish(pipeline: Pipeline, output: str, tables: "Place | Lookups | None") -> Finish:
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
