"""The section `lookups`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from verdict.pipelines.spec.values import Topic
from verdict.pipelines.spec.yaml_file import Model


class LookupSpec(Model):
    """A table of rows by key that features are looked up in.

    Merchants' risk, limits, lists of the blocked. Each process that decides has a copy on disk and
    follows the topic; the first event is not decided before all is in it that was in the topic.

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
    def _some_source(self) -> "LookupSpec":
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
