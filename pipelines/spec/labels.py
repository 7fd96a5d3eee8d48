"""The section `labels`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from verdict.pipelines.spec.values import Duration, Name, Topic
from verdict.pipelines.spec.yaml_file import Fault, Model


class Labels(Model):
    """What came of events, as somebody says later: a customer, a bank, an analyst.

    Features are over labels by ``rate``, ``count``, ``sum`` or ``mean`` of ``label``, each after a
    ``delay``.

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
