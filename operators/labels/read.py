"""Labels as others send them, and with their event's time and keys: read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import FIRST_TIME, LAST_TIME, Decode
from verdict.operators.events.event import composed
from verdict.operators.events.fields import exact_of, text_of, value_of
from verdict.operators.events.schema import Schema
from verdict.operators.labels.label import Label, Precedence
from verdict.operators.names import BadKind
from verdict.operators.records.dead_letter import present

MAX_NAME = 1_024
"""Most bytes of an event's id, of a key, and of a source, as of an event's."""


class ReadLabel:
    """From a raw record to a label.

    Parameters
    ----------
    decode
        Bytes to record.
    schema
        Of the records.
    event_id, value, known_at
        Where the event's id, the label and its time lie.
    source, event_time
        The same; None where the record has none.
    keys
        For each hop in their order, where the parts of its entity's key lie; none where the record
        does not have it. Empty where it has no keys at all.
    precedence
        Ranks of the sources.

    Examples
    --------
    >>> from verdict.operators.events.decode import json_decoder
    >>> from verdict.operators.events.schema import parse
    >>> schema = parse({"type": "record", "name": "Chargeback", "fields": [
    ...     {"name": "payment", "type": "string"}, {"name": "fraud", "type": "int"},
    ...     {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]})
    >>> read = ReadLabel(json_decoder(), schema, "payment", "fraud", "at")
    >>> read(b'{"payment": "p1", "fraud": 1, "at": 5}')
    Label(event_id='p1', event_time=None, keys=(), positive=True, known_at=5, source='', rank=0)
    >>> read(b'{"payment": "p1", "fraud": 2, "at": 5}')
    Traceback (most recent call last):
    verdict.operators.errors.BadRecord: field 'fraud' is 2: a label is true or false, 1 or 0
    """

    def __init__(
        self,
        decode: Decode,
        schema: Schema,
        event_id: str,
        value: str,
        known_at: str,
        source: str | None = None,
        event_time: str | None = None,
        keys: Sequence[Sequence[str]] = (),
        precedence: Precedence | None = None,
    ) -> None:
        leaves = schema.fields
        self._decode = decode
        self._id_path, self._value_path, self._known_path = event_id, value, known_at
        self._time_path = event_time
        self._id = text_of(leaves[event_id])
        self._value = value_of(leaves[value])
        self._known = exact_of(leaves[known_at])
        self._source = None if source is None else text_of(leaves[source])
        self._time = None if event_time is None else exact_of(leaves[event_time])
        self._keys = [[text_of(leaves[path]) for path in parts] for parts in keys]
        self._rank = precedence or Precedence([])

    def __call__(self, value: bytes | None) -> Label:
        """Read a record.

        Raises
        ------
        BadRecord
            It is no label; it says why.
        """
        record = self._decode(present(value))
        event_id = self._id(record)
        if not event_id:
            raise _missing(self._id_path)
        said = self._value(record)
        if said is None:
            raise _missing(self._value_path)
        if said not in (0, 1):
            raise BadRecord(
                BadKind.NO_LABEL,
                f"field '{self._value_path}' is {said}: a label is true or false, 1 or 0",
            )
        known_at = _time(self._known_path, self._known(record))
        time = None
        if self._time is not None:
            time = _time(self._time_path or "", self._time(record))
        source = "" if self._source is None else self._source(record) or ""
        keys = tuple([_key([read(record) for read in parts]) for parts in self._keys])
        for name in (event_id, source, *keys):
            if name is not None and len(name.encode()) > MAX_NAME:
                raise BadRecord(
                    BadKind.TOO_LARGE,
                    f"an id, a key and a source have {MAX_NAME:,} bytes at most: mend the producer",
                )
        return Label(event_id, time, keys, bool(said), known_at, source, self._rank(source))


def _key(parts: Sequence[str | None]) -> str | None:
    return composed(parts) if parts else None


def _time(path: str, time: int | None) -> int:
    if time is None:
        raise _missing(path)
    if not FIRST_TIME <= time <= LAST_TIME:
        raise BadRecord(
            BadKind.TIME_RANGE, f"field '{path}' lies outside the years 1 to 9999: {time} ms"
        )
    return time


def _missing(path: str) -> BadRecord:
    return BadRecord(BadKind.MISSING_FIELD, f"field '{path}' is missing: it says no label")


class ReadEntityLabel:
    """From a record of the stream `ENTITY_LABELS`, which the job ``labels`` writes, to a label.

    Parameters
    ----------
    decode
        Of the stream.
    entities
        All of them, in the order of the hops.
    precedence
        Ranks of the sources.
    """

    def __init__(self, decode: Decode, entities: Sequence[str], precedence: Precedence) -> None:
        self._decode = decode
        self._entities = entities
        self._rank = precedence

    def __call__(self, value: bytes | None) -> Label:
        """Read a record.

        Raises
        ------
        BadRecord
            It is none of the stream's.
        """
        record = self._decode(present(value))
        keys = {each["entity"]: each["key"] for each in record["keys"]}
        return Label(
            record["event_id"],
            record["event_time"],
            tuple([keys.get(entity) for entity in self._entities]),
            record["positive"],
            record["known_at"],
            record["source"],
            self._rank(record["source"]),
        )


def entity_label(
    label: Label, pipeline: str, time: int, keys: Iterable[tuple[str, str | None]]
) -> Mapping[str, Any]:
    """Make the record of a label whose event's time and keys are known."""
    return {
        "pipeline": pipeline,
        "event_id": label.event_id,
        "event_time": time,
        "keys": [{"entity": entity, "key": key} for entity, key in keys],
        "positive": label.positive,
        "known_at": label.known_at,
        "source": label.source,
    }


class ReadsLabel(Protocol):
    """From a raw record to a label."""

    def __call__(self, value: bytes | None) -> Label:
        """Read a record."""
        ...


def check_key(key: bytes | None, label: Label) -> None:
    """Refuse a label that lies under another key than its first entity's.

    >>> label = Label("p1", 0, ("c1",), True, 5, "bank", 0)
    >>> check_key(b"c1", label)
    >>> check_key(b"c2", label)
    Traceback (most recent call last):
    verdict.operators.errors.BadRecord: the record's key is not its label's: mend the producer
    """
    first = label.keys[0]
    if first is not None and key != first.encode():
        raise BadRecord(
            BadKind.KEY_MISMATCH,
            "the record's key is not its label's: mend the producer",
        )
