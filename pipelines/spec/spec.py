"""The pipeline file: what a pipeline reads, remembers, computes and decides.

The reference page, ``docs/spec.md``, is made from the docstrings of these models.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)

from verdict.pipelines.spec.yaml_file import Fault, Model
from verdict.state.windows.plan import DECAYED, DELAYED, OPS

UNITS_MS: Mapping[str, int] = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")


def milliseconds(text: Any) -> int:
    """Read a duration: a whole number and its unit.

    >>> milliseconds("7d"), milliseconds("90s")
    (604800000, 90000)
    """
    match = DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError(f"'{text}' is no duration; write a whole number and ms, s, m, h or d: 7d")
    return int(match[1]) * UNITS_MS[match[2]]


Duration = Annotated[int, BeforeValidator(milliseconds)]
"""Milliseconds, written as a whole number and a unit: ``90s``, ``30m``, ``7d``."""


def _fits(pattern: str, says: str) -> AfterValidator:
    """Make a validator of text whose error says in words what is wanted."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"'{text}' will not do; write {says}")
        return text

    return AfterValidator(check)


Name = Annotated[
    str, _fits(r"[a-z][a-z0-9_-]*", "lower-case letters, digits, '-' and '_', a letter first")
]
"""Lower-case letters, digits, ``-`` and ``_``."""

Topic = Annotated[
    str, _fits(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", "at most 249 letters, digits, '.', '_', '-'")
]
"""What Kafka takes as a topic's name."""

HeaderName = Annotated[
    str, _fits(r"(?!source$)[!-~]{1,100}", "at most 100 letters, digits and signs; not 'source'")
]
"""Name of a Kafka header."""


def _ports(value: Any) -> Any:
    """Read one port, or the first and last of several."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", str(value))
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last < 65_536:
        raise ValueError(f"'{value}' is no range of ports; write the first and last: 9400-9409")
    return str(value)


Ports = Annotated[str, BeforeValidator(_ports)]
"""A port, or a range: ``9400-9409``."""

Function = Annotated[str, _fits(r"[^:]+\.py:[A-Za-z_]\w*", "file.py:function")]
"""A function in a Python file."""

Currency = Annotated[str, _fits("[A-Z]{3}", "three capital letters, such as EUR")]
"""ISO 4217."""

Default = Annotated[float | None, Field(allow_inf_nan=True)]
"""What a feature is where it has no value; ``.nan`` for a model that knows what is missing."""


class FieldCheck(Model):
    """What values of a field are plausible, and what becomes of an event with another one.

    Example: ``amount: {min: 0, max: 100000, outside: dead-letter}``
    """

    min: float | None = None
    """Smallest plausible value."""
    max: float | None = None
    """Largest plausible value."""
    allowed: list[str | int | bool] | None = None
    """The plausible values, where they can be listed."""
    outside: Literal["review", "dead-letter"] = "review"
    """``review``: the event is decided with the action ``review``, whatever the rules say.
    ``dead-letter``: it goes to the dead letters."""

    @model_validator(mode="after")
    def _says_something(self) -> "FieldCheck":
        if self.min is None and self.max is None and self.allowed is None:
            raise ValueError("say 'min', 'max' or 'allowed'")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("'min' is above 'max', so no value is plausible")
        return self


class Money(Model):
    """The amount an event is about, so that decisions can be counted in money.

    Example: ``{field: amount, currency: EUR}``
    """

    field: str
    """Path of a decimal field."""
    currency: Currency | None = None
    """ISO 4217 code, the same for every event."""
    currency_field: str | None = None
    """Path of the field that holds the code, where events differ."""

    @model_validator(mode="after")
    def _one_currency(self) -> "Money":
        if (self.currency is None) == (self.currency_field is None):
            raise ValueError("say either 'currency' or 'currency_field'")
        return self


class Events(Model):
    """The stream of events: where it is, how it is encoded, where its id, time and key lie."""

    topic: Topic | None = None
    """Kafka topic."""
    files: list[Path] | None = None
    """Files instead of a topic, for the embedded engine: Avro containers (``.avro``), Parquet
    (``.parquet``) or, of the format ``json``, JSON lines (``.jsonl``). Each is one partition."""
    format: Literal["avro", "confluent", "json"] = "avro"
    """``avro``: plain Avro bodies. ``confluent``: Avro behind Confluent's five-byte header, with
    schemas from ``settings.schemas``. ``json``: JSON objects."""
    schema_file: Path = Field(alias="schema")
    """An Avro schema (``.avsc``) of the events. JSON events are described by one too."""
    id: str
    """Path of the event's id: a string or an integer, unique."""
    time: str
    """Path of the event's time: a long, with a logical type ``timestamp-millis`` or
    ``timestamp-micros``; milliseconds without one."""
    keyed_by: str | None = None
    """The entity whose key is the topic's message key; of several parts, joined by ``|``. Its hop
    is the first. Then no operator runs before the stream is keyed. Without it, events are decoded
    first and sent to their key."""
    allowed_lateness: Duration = 3_600_000
    """How much older than its entity's newest an event may be and still see each of its windows
    whole. The log keeps the longest window and this; an event older than both is not logged."""
    max_ahead: Duration = 86_400_000
    """How much later than its Kafka timestamp an event's time may be. One from further ahead is a
    dead letter: every later event of its entity would be late. Files have no such timestamps."""
    dedupe: Duration | None = None
    """For how long, of event time, the first entity's hop remembers an event's id. A producer's
    retry within it changes no state, and its decision is flagged ``repeated``; the same id with
    another body is a dead letter. It costs 24 bytes of state an event of that time."""
    carry: list[HeaderName] = ["traceparent", "tracestate", "correlation-id", "reply-topic"]
    """Names of Kafka headers that go from the event to its decision or dead letter, as they are.
    The last of several with one name counts. Where their values have more than 8,192 bytes
    together, none is carried."""
    fields: dict[str, FieldCheck] = {}
    """Path -> what is plausible."""
    amount: Money | None = None
    """The amount an event is about."""

    @model_validator(mode="after")
    def _each_header_once(self) -> "Events":
        for index, name in enumerate(self.carry):
            if name in self.carry[:index]:
                raise Fault(("carry", index), f"the header '{name}' stands twice")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> "Events":
        if (self.topic is None) == (self.files is None):
            raise ValueError("say either 'topic' or 'files'")
        if self.files is not None and not self.files:
            raise Fault(("files",), "events.files is an empty list")
        if self.files is not None and self.keyed_by is not None:
            raise Fault(
                ("keyed_by",),
                "events.keyed_by is about a topic's message keys; files have none: leave it out",
            )
        return self


class ExpressionFeature(Model):
    """A feature computed from the event's fields, and from other features.

    Example: ``night: {expr: "hour(event_time) < 6", default: 0}``; without a default,
    ``night: hour(event_time) < 6`` will do.
    """

    expr: str
    """An expression over the event's fields and the other features: ``amount / (mean_30d + 1)``."""
    default: Default = None
    """Its value where the expression has none (a field is null, a division by zero)."""


class AggregateFeature(Model):
    """An aggregate of an entity's events over the exact sliding window (t - over, t].

    Example: ``spent_7d: {sum: amount, over: 7d, by: customer, where: "channel == 'online'"}``
    """

    count: str | None = None
    """``"*"`` counts events; an expression counts those in which it has a value."""
    sum: str | None = None
    """Expression to add up."""
    mean: str | None = None
    """Expression to average."""
    std: str | None = None
    """Expression whose standard deviation to take, that of a sample: of less than two values there
    is none."""
    min: str | None = None
    """Expression to take the smallest of."""
    max: str | None = None
    """Expression to take the largest of."""
    first: str | None = None
    """Expression to take the first value of in the window."""
    last: str | None = None
    """Expression to take the last value of."""
    distinct: str | None = None
    """Expression whose distinct values to count; it may be text."""
    time_since_last: str | None = None
    """Seconds since the event before this one in the window: ``"*"`` for any, or an expression that
    has a value there."""
    rate: Literal["label"] | None = None
    """``label``: the share of the window's events whose label is positive, of all its events. With
    a ``delay``; ``count``, ``sum`` and ``mean`` of ``label`` are of the events with a label alone.
    See ``labels``."""
    over: Duration | None = None
    """The window's length."""
    half_life: Duration | None = None
    """Instead of a window: an event's weight halves in this time. Of ``count``, ``sum`` and
    ``mean``."""
    by: Name
    """The entity."""
    where: str | None = None
    """A condition over the event's fields: only events on which it holds count."""
    delay: Duration | None = None
    """The window ends so much before the event: (t - delay - over, t - delay]. Of ``count``,
    ``sum``, ``mean``, ``std``, ``rate``."""
    current: bool = True
    """Whether the event itself counts; with ``false``, only those that came before."""
    default: Default = None
    """Its value where there is none: the event lacks the entity, or the mean of nothing."""

    @model_validator(mode="after")
    def _one_op(self) -> "AggregateFeature":
        if sum(getattr(self, op) is not None for op in OPS) != 1:
            raise ValueError(f"say exactly one of {', '.join(OPS)}")
        if (self.over is None) == (self.half_life is None):
            raise ValueError("say either 'over', a window's length, or 'half_life'")
        if self.op == "rate" and self.delay is None:
            raise ValueError("'rate' is of labels, which come late: say a 'delay' to wait for them")
        if self.half_life is not None and self.op not in DECAYED:
            raise Fault(("half_life",), f"'half_life' goes with {', '.join(DECAYED)}")
        if self.delay is not None and (self.op not in DELAYED or self.half_life is not None):
            raise Fault(("delay",), f"'delay' goes with {', '.join(DELAYED)} over a window")
        if self.delay is not None and not self.current:
            raise Fault(("current",), "a window with a 'delay' never holds the event itself")
        if not self.current and self.op == "time_since_last":
            raise Fault(("current",), "'time_since_last' never looks at the event itself")
        return self

    @property
    def op(self) -> str:
        """The aggregate's name."""
        return next(op for op in OPS if getattr(self, op) is not None)

    @property
    def argument(self) -> str | None:
        """The expression it aggregates; None where it is about events."""
        argument: str = getattr(self, self.op)
        return None if self.op in ("count", "time_since_last") and argument == "*" else argument

    @property
    def reach(self) -> int:
        """Milliseconds that its window reaches back; 0 with a half-life."""
        return (self.over or 0) + (self.delay or 0)


class PythonFeature(Model):
    """A feature computed by a function of your own, which takes the event's fields (a mapping of
    dotted paths) and returns a number, or None where it has no value.

    Example: ``distance: {python: "my_features.py:distance", reads: [lat, lon], default: -1}``
    """

    python: Function
    """``file.py:function``, the file relative to the pipeline file."""
    reads: list[str]
    """Paths of the fields that the function takes."""
    default: Default = None
    """Its value where the function returns None."""


class LookupFeature(Model):
    """A feature that stands in a table of ``lookups``: a number of the row that has the event's
    key, or whether there is one. Its value is in the decision.

    Example: ``merchant_risk: {lookup: merchants, field: risk, default: 0}``;
    ``blocked: {listed_in: blocked_cards}`` is 1 or 0.
    """

    lookup: Name | None = None
    """The table."""
    field: str | None = None
    """Path of the number in its row; true is 1."""
    listed_in: Name | None = None
    """Instead of these two: 1 where this table has a row for the event that has not expired, else
    0."""
    default: Default = None
    """Its value where there is no row, it has expired, or the field is null."""

    @model_validator(mode="after")
    def _one_way(self) -> "LookupFeature":
        if (self.lookup is None) == (self.listed_in is None):
            raise ValueError("say either 'lookup' and 'field', or 'listed_in'")
        if self.lookup is not None and self.field is None:
            raise ValueError("say which 'field' of the row; 'listed_in' asks whether there is one")
        if self.listed_in is not None and self.field is not None:
            raise Fault(("field",), "'listed_in' looks at no field; with one it is 'lookup'")
        if self.listed_in is not None and self.default is not None:
            raise Fault(("default",), "'listed_in' is 1 or 0 and never needs a default")
        return self

    @property
    def table(self) -> str:
        """The table's name."""
        return self.lookup or self.listed_in or ""


def _feature_kind(value: Any) -> str:
    if isinstance(value, Model):
        return type(value).__name__
    if not isinstance(value, Mapping) or "expr" in value:
        return "ExpressionFeature"
    if "lookup" in value or "listed_in" in value:
        return "LookupFeature"
    return "PythonFeature" if "python" in value else "AggregateFeature"


def _shorthand(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return {"expr": str(value)}
    if not isinstance(value, Mapping | Model):
        raise ValueError("write an expression, or an aggregate: {sum: amount, over: 7d, by: card}")
    return value


Feature = Annotated[
    Annotated[ExpressionFeature, BeforeValidator(_shorthand), Tag("ExpressionFeature")]
    | Annotated[AggregateFeature, Tag("AggregateFeature")]
    | Annotated[PythonFeature, Tag("PythonFeature")]
    | Annotated[LookupFeature, Tag("LookupFeature")],
    Discriminator(_feature_kind),
]


class Lookup(Model):
    """A table of rows by key that features are looked up in: merchants' risk, limits, lists of the
    blocked. Each process that decides has a copy on disk and follows the topic; the first event is
    not decided before all is in it that was in the topic.

    Example: ``merchants: {topic: merchant-risk, schema: merchant.avsc, key: merchant_id}``
    """

    topic: Topic | None = None
    """A compacted topic: the last record of a key is its row, one without value deletes it. The
    message key is the text that ``key`` finds in the event."""
    files: list[Path] | None = None
    """Where events come from files, so do rows: Avro containers or JSON lines, read whole before
    the first event; of a key's rows the last counts."""
    format: Literal["avro", "confluent", "json"] = "avro"
    """Of the rows, as of events."""
    schema_file: Path | None = Field(default=None, alias="schema")
    """An Avro schema (``.avsc``) of the rows. A list whose rows say nothing can do without."""
    key: str | list[str]
    """Path of the key in the event, or paths of its parts, as of an entity. Where it is null, there
    is no row."""
    row_key: str | list[str] | None = None
    """The same in the rows of files, which have no message key; by default it is called as in the
    event."""
    expires: str | None = None
    """Path of a time in the row: it counts for events before that time. Null: for ever."""

    @model_validator(mode="after")
    def _some_source(self) -> "Lookup":
        if self.topic is None and not self.files:
            raise ValueError("say 'topic', or 'files' where events come from files")
        if self.schema_file is None and (self.files or self.expires):
            raise ValueError("say the 'schema' of the rows")
        return self

    @property
    def key_of_event(self) -> list[str]:
        """The paths of the key's parts in the event."""
        return [self.key] if isinstance(self.key, str) else self.key

    @property
    def key_of_row(self) -> list[str]:
        """The same in a row of a file."""
        key = self.key if self.row_key is None else self.row_key
        return [key] if isinstance(key, str) else key


class Labels(Model):
    """What came of events, as somebody says later: a customer, a bank, an analyst. Features are
    over labels by ``rate``, ``count``, ``sum`` or ``mean`` of ``label``, each after a ``delay``.

    Example: ``labels: {topic: chargebacks, schema: chargeback.avsc, event_id: payment_id,
    value: fraud, known_at: reported_at}``
    """

    topic: Topic | None = None
    """Kafka topic. A record without ``keys`` is joined to its decision by the job ``labels``."""
    files: list[Path] | None = None
    """Where events come from files (`verdict bootstrap --events` too), so do labels: Avro
    containers, Parquet or JSON lines, read whole before the first event. Each label is fed before
    the first event whose time is not before its ``known_at``."""
    format: Literal["avro", "confluent", "json"] = "avro"
    """As of events."""
    schema_file: Path = Field(alias="schema")
    """An Avro schema (``.avsc``) of the label records."""
    event_id: str
    """Path of the id of the event that the label is of."""
    value: str
    """Path of the label: a boolean, or an integer that is 1 (positive, as fraud is) or 0."""
    known_at: str
    """Path of the time at which the source knew it, as ``events.time`` is one."""
    source: str | None = None
    """Path of the name of whoever says so."""
    precedence: list[str] = []
    """Sources, from the one to be believed before all others; one that is not listed ranks behind
    all that are. Among labels of one rank the one known last counts."""
    event_time: str | None = None
    """Path of the event's time, where the record has it."""
    keys: dict[Name, str | list[str]] = {}
    """Entity -> path of its key in the record, or paths of its parts, where it has them: those of
    all entities that features over labels go by, and ``event_time``, or none of them. Where events
    are ``keyed_by`` an entity and its key is named, that is the topic's message key, too."""
    maturity: Duration | None = None
    """After this time an event without label counts as negative. Without it nothing is known of
    such an event, however old."""

    @model_validator(mode="after")
    def _whole(self) -> "Labels":
        if self.topic is None and not self.files:
            raise ValueError("say 'topic', or 'files' where events come from files")
        if bool(self.keys) != (self.event_time is not None):
            raise ValueError(
                "say both 'event_time' and 'keys' where the record has them, else neither: then "
                "the job 'labels' takes them from the event's decision"
            )
        if self.precedence and self.source is None:
            raise Fault(("precedence",), "'precedence' is of sources: say where the 'source' lies")
        for index, name in enumerate(self.precedence):
            if name in self.precedence[:index]:
                raise Fault(("precedence", index), f"the source '{name}' stands twice")
        return self

    def key(self, entity: str) -> list[str]:
        """The paths of the parts of an entity's key in the record; none where it has none."""
        paths = self.keys.get(entity, [])
        return [paths] if isinstance(paths, str) else paths


class Models(Model):
    """The model that decides, and those that only watch.

    Example: ``model: {champion: models/a, challengers: [models/b]}``; ``model: models/a`` will do.
    """

    champion: Path
    """Bundle folder of the model that decides."""
    challengers: list[Path] = []
    """Bundle folders of the models that the ``shadow`` job scores beside it."""

    @model_validator(mode="after")
    def _each_once(self) -> "Models":
        for index, folder in enumerate(self.challengers):
            if folder in self.challengers[:index]:
                raise Fault(("challengers", index), f"the challenger {folder} stands twice")
        return self


def _champion_alone(value: Any) -> Any:
    return {"champion": value} if isinstance(value, str | Path) else value


class Rule(Model):
    """A condition of your own on event, features and score.

    Example: ``{name: huge, when: amount > 5000, action: review}``
    """

    name: Name
    """Stands in the decision when the rule fired."""
    when: str
    """An expression over the event's fields, the features and ``score``. Where it has no value
    (a field is null), the rule does not fire."""
    action: Name | None = None
    """The first rule that fired and has an action decides. Without one it is only recorded."""


class Threshold(Model):
    """From this score on, this action.

    Example: ``{at: 0.9, action: decline}``
    """

    at: float
    """The smallest score it takes."""
    action: Name
    """The action."""


class Decide(Model):
    """How a score becomes an action: rules first, then thresholds, then ``otherwise``."""

    rules: list[Rule] = []
    """In order. Every rule that fired is recorded; the first of them with an action decides."""
    thresholds: list[Threshold] = []
    """From the highest to the lowest; the first that the score reaches decides."""
    otherwise: Name = "approve"
    """The action where nothing else decided."""
    missing: Name | None = None
    """The action where a feature has neither value nor default, so that no model can score the
    event. Without it such an event is a dead letter."""

    @model_validator(mode="after")
    def _ordered(self) -> "Decide":
        for index, threshold in enumerate(self.thresholds[1:], 1):
            if threshold.at >= self.thresholds[index - 1].at:
                raise Fault(
                    ("thresholds", index),
                    f"threshold {threshold.at:g} comes after {self.thresholds[index - 1].at:g}: "
                    "they go from the highest to the lowest, each but once",
                )
        names = [rule.name for rule in self.rules]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise Fault(("rules", index), f"two rules are called '{name}'")
        return self


class Watch(Model):
    """How the ``watch`` job looks for drift. Its windows are of event time, and do not overlap."""

    window: Duration = 3_600_000
    """Length of a window."""
    psi_alarm: float = Field(default=0.25, gt=0)
    """PSI against the bundle's baseline from which a window raises an alarm. 0.1 to 0.25 is usually
    read as a moderate shift, above as a large one (Siddiqi, *Credit Risk Scorecards*, 2006)."""
    adwin_delta: float = Field(default=0.002, gt=0, lt=1)
    """ADWIN's confidence: the smaller, the fewer false alarms (Bifet and Gavaldà, 2007)."""
    min_events: int = Field(default=100, ge=1)
    """A window with fewer events is shown, but raises no alarm."""
    ignore: list[str] = []
    """Features that are not watched: those that follow the calendar more slowly than the window
    does, such as ``weekend`` in windows of a day."""


class Topics(Model):
    """Names of the output topics, and of the files where events come from files."""

    decisions: Topic = "decisions"
    """One decision an event."""
    dead_letters: Topic = Field(default="dead-letters", alias="dead-letters")
    """What could not be decoded, validated or scored."""
    shadow_scores: Topic = Field(default="shadow-scores", alias="shadow-scores")
    """Each challenger's score and action beside the champion's."""
    drift: Topic = "drift"
    """The state of each window of each feature, with its alarms."""
    comparison: Topic = "comparison"
    """Running totals of champion against challenger."""
    state_commands: Topic | None = Field(default=None, alias="state-commands")
    """An input: commands of `verdict state`, which looks at what is remembered of an entity, or
    erases it. Without it the job takes none."""
    state_answers: Topic = Field(default="state-answers", alias="state-answers")
    """What became of the commands: the record of every erasure."""
    entity_labels: Topic = Field(default="entity-labels", alias="entity-labels")
    """Labels with their events' times and keys, from the job ``labels`` to the job ``score``."""

    @model_validator(mode="after")
    def _each_its_own(self) -> "Topics":
        taken: list[str] = []
        for name, field in type(self).model_fields.items():
            topic = getattr(self, name)
            if topic is None:
                continue
            if topic in taken:
                raise Fault((field.alias or name,), f"two of the topics are called '{topic}'")
            taken.append(topic)
        return self


class FromEnvironment(Model):
    """A secret in an environment variable: ``{env: KAFKA_PASSWORD}``."""

    env: str
    """The variable's name."""

    def value(self) -> SecretStr:
        """Read it."""
        if self.env not in os.environ:
            raise ValueError(f"the environment variable {self.env} is not set")
        return SecretStr(os.environ[self.env])


class FromFile(Model):
    """A secret in a file: ``{file: /run/secrets/kafka}``."""

    file: Path
    """The file; white space around the secret is dropped."""

    def value(self) -> SecretStr:
        """Read it."""
        try:
            return SecretStr(self.file.read_text("utf-8").strip())
        except OSError as error:
            raise ValueError(f"cannot read the secret {self.file}: {error.strerror}") from None


class Schemas(Model):
    """Where schemas of Confluent's wire format are.

    Example: ``{registry: "http://127.0.0.1:8081"}`` or ``{folder: schemas}``
    """

    registry: str | None = None
    """Address of a Schema Registry."""
    folder: Path | None = None
    """A folder of ``ID.avsc`` files instead."""

    @model_validator(mode="after")
    def _one_place(self) -> "Schemas":
        if (self.registry is None) == (self.folder is None):
            raise ValueError("say either 'registry' or 'folder'")
        return self


def _secret_kind(value: Any) -> str:
    if isinstance(value, Model):
        return type(value).__name__
    if isinstance(value, Mapping):
        return "FromFile" if "file" in value else "FromEnvironment"
    return "plain"


ClientSetting = Annotated[
    Annotated[FromEnvironment, Tag("FromEnvironment")]
    | Annotated[FromFile, Tag("FromFile")]
    | Annotated[str | int | float | bool, Tag("plain")],
    Discriminator(_secret_kind),
]


class Metrics(Model):
    """Where the processes of a job show what they count and time, for Prometheus to ask: at
    ``http://HOST:PORT/metrics``.

    Example: ``metrics: {ports: 9400-9409}``; ``metrics: {}`` is the same.
    """

    host: str = "127.0.0.1"
    """Address to listen at; ``0.0.0.0`` for every one of the machine."""
    ports: Ports = "9400-9409"
    """A process takes the first of them that is free."""
    flink_ports: Ports | None = None
    """Of Flink's own metrics, on a mini cluster. Flink listens at every address of the machine, and
    can not be told otherwise. A standalone cluster has them in its configuration."""


class Settings(Model):
    """Where the pipeline runs."""

    kafka: dict[str, ClientSetting] = {}
    """Client settings under librdkafka's names; those listed below are taken, another is refused by
    name. Without ``bootstrap.servers`` it is ``$VERDICT_BOOTSTRAP``, else the broker that
    ``verdict up`` started in this folder, else ``127.0.0.1:9092``."""
    schemas: Schemas | None = None
    """Where schemas of Confluent's wire format are."""
    output_format: Literal["avro", "confluent"] = "avro"
    """Encoding of every output topic: plain Avro bodies of ``avro/*.avsc``, or Confluent's wire
    format with schema ids from the registry."""
    state: Path = Path(".verdict")
    """Folder of the embedded engine's state and of Flink's checkpoints, relative to the pipeline
    file."""
    checkpoint_interval: Duration = 10_000
    """How often Flink takes a checkpoint. With ``exactly-once`` a consumer that reads committed
    waits as long for a record at most."""
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    """Of Flink's outputs. ``exactly-once``: in transactions, which a checkpoint commits. A consumer
    with ``isolation.level: read_committed`` sees each record once, up to a checkpoint interval
    later; one with ``read_uncommitted`` sees it in milliseconds, and after a crash some again.
    ``at-least-once``: no transactions; after a crash every consumer sees some again. The embedded
    engine always delivers at least once."""
    metrics: Metrics | None = None
    """Where metrics are shown. Without it no port is opened, and nothing is counted or timed."""
    parallelism: int = Field(default=1, ge=1, le=128)
    """Flink subtasks of each hop. On a standalone cluster a job needs a slot for each subtask of
    each hop; more than the input topic has partitions are of use to later hops alone."""


class Spec(Model):
    """A pipeline, as its YAML file says it."""

    pipeline: Name
    """The pipeline's name. It is part of every decision's id."""
    events: Events
    """What it reads."""
    entities: dict[Name, str | list[str]]
    """Entity -> path of its key, or the paths of its parts: ``[customer_id, merchant]``. Each that
    features go by is a hop. The key of the first one, or of ``events.keyed_by``, is mandatory in
    every event, and its hop is the first; another may be null, then its features take their
    defaults."""
    lookups: dict[Name, Lookup] = {}
    """Tables that features are looked up in, by name."""
    labels: Labels | None = None
    """What came of events, for features over labels."""
    features: dict[str, Feature]
    """What the models see, by name; the model's bundle says the order."""
    model: Annotated[Models, BeforeValidator(_champion_alone)]
    """The model bundles."""
    decide: Decide = Decide()
    """From score to action."""
    watch: Watch = Watch()
    """Drift."""
    topics: Topics = Topics()
    """Names of the outputs."""
    settings: Settings = Settings()
    """Where it runs."""

    @model_validator(mode="after")
    def _entities(self) -> "Spec":
        if not self.entities:
            raise Fault(
                ("entities",),
                "'entities' is empty; name the one that events belong to: card: card_id",
            )
        for entity, paths in self.entities.items():
            if isinstance(paths, list) and len(dict.fromkeys(paths)) < max(len(paths), 2):
                raise Fault(
                    ("entities", entity), "a key of several parts has two at least, each once"
                )
        if self.events.keyed_by is not None and self.events.keyed_by not in self.entities:
            raise Fault(
                ("events", "keyed_by"),
                f"events.keyed_by is '{self.events.keyed_by}', which is no entity; there are "
                f"{', '.join(self.entities)}",
            )
        outputs = dict(self.topics)
        if self.events.topic is not None and self.events.topic in outputs.values():
            raise Fault(
                ("events", "topic"),
                f"'{self.events.topic}' is the topic of an output, too; call one of them otherwise",
            )
        for name, lookup in self.lookups.items():
            if lookup.topic is not None and lookup.topic in (*outputs.values(), self.events.topic):
                raise Fault(
                    ("lookups", name, "topic"),
                    f"'{lookup.topic}' is the topic of events or of an output, too; a lookup's is "
                    "its own",
                )
        if self.labels is not None and self.labels.topic is not None:
            others = (*outputs.values(), self.events.topic)
            others += tuple(lookup.topic for lookup in self.lookups.values())
            if self.labels.topic in others:
                raise Fault(
                    ("labels", "topic"),
                    f"'{self.labels.topic}' is the topic of something else, too; labels have one "
                    "of their own",
                )
        return self
