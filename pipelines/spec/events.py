"""The section `events`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from verdict.pipelines.spec.values import Currency, Duration, HeaderName, Topic
from verdict.pipelines.spec.yaml_file import Fault, Model


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


class AmountSpec(Model):
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
    def _one_currency(self) -> "AmountSpec":
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
    amount: AmountSpec | None = None
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
