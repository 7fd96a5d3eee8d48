"""How a pipeline's events are read."""

from collections.abc import Callable, Sequence

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import FIRST_TIME, LAST_TIME, Decode
from verdict.operators.events.event import Event
from verdict.operators.events.extract import Extract
from verdict.operators.events.fields import exact_of, text_of
from verdict.operators.events.schema import MILLIS
from verdict.operators.expressions import Expression
from verdict.operators.features.columns import reads
from verdict.operators.message import Message
from verdict.operators.score.intake import Intake, Plausible
from verdict.pipelines.jobs.parts import make_decide, record_decoder, typed
from verdict.pipelines.spec.pipeline import Pipeline


def event_times(pipeline: Pipeline) -> Callable[[Message], int | None]:
    """Make what tells the event time of a record; None of one that will be a dead letter."""
    intake = make_intake(pipeline)

    def time_of(message: Message) -> int | None:
        try:
            return intake(message).event.time
        except BadRecord:
            return None

    return time_of


def make_intake(pipeline: Pipeline) -> Intake:
    """Make what reads a record, checks it and begins its `Carry`."""
    spec, schema = pipeline.spec, pipeline.schema
    fields, units = _reads(pipeline)
    extract = Extract(
        schema,
        spec.events.id,
        spec.events.time,
        [pipeline.key(entity) for entity in pipeline.entities],
        fields,
        units,
        typed(pipeline),
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
    decode = _event_decoder(pipeline)
    return Intake(decode, extract, checks, pipeline.keyed, spec.events.max_ahead)


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
        self._decode = _event_decoder(pipeline)
        self._id, self._time = text_of(leaves[events.id]), exact_of(leaves[events.time])
        self._names = events.id, events.time
        self._plain = typed(pipeline) and not leaves[events.id].integer
        self._plain &= leaves[events.time].time == MILLIS

        def extract(keys: Sequence[Sequence[str]]) -> Extract:
            return Extract(pipeline.schema, events.id, events.time, keys, [], [], typed(pipeline))

        self._extract, self._marks = extract(keys), extract([[events.id]])

    def peek(self, message: Message) -> tuple[str | None, int | None]:
        """Return what stands for an event's id and time, be they as they must be or not."""
        try:
            record = self._decode(message.value)
        except BadRecord:
            return None, None
        if self._plain:  # most events are as they must be
            event_id, time = map(record.get, self._names)
            if type(event_id) is str and type(time) is int and FIRST_TIME <= time <= LAST_TIME:
                return event_id, time
        try:
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


def _reads(pipeline: Pipeline) -> tuple[list[str], list[str]]:
    """List the fields that the pipeline reads: by value, and as exact integers."""
    spec, schema = pipeline.spec, pipeline.schema
    aggregates = [w for entity in pipeline.entities for w in pipeline.windowed(entity)]
    fields, units = reads(aggregates, schema)
    fields += spec.events.fields
    for formula in pipeline.formulas:
        fields += formula.reads
        if formula.expression is not None:
            read = Expression(formula.expression, pipeline.rule_names).reads
            fields += [name for name in read if name in schema.fields]
    for lookup in spec.lookups.values():
        fields += lookup.key_of_event
    fields += [name for name in make_decide(pipeline).reads if name in schema.fields]
    if spec.events.amount is not None:
        units.append(spec.events.amount.field)
        if spec.events.amount.currency_field is not None:
            fields.append(spec.events.amount.currency_field)
    return list(dict.fromkeys(fields)), list(dict.fromkeys(units))


def _event_decoder(pipeline: Pipeline) -> Decode:
    return record_decoder(pipeline, pipeline.spec.events.format, pipeline.schema)
