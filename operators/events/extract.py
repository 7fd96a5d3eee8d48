"""From a decoded record to an event: its id, time, keys and the fields that are read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import FIRST_TIME, LAST_TIME
from verdict.operators.events.event import Event, composed
from verdict.operators.events.fields import as_exact, as_text, as_value, reader
from verdict.operators.events.quick import EventLines, EventPaths, by_name
from verdict.operators.events.schema import Schema
from verdict.operators.names import BadKind
from verdict.state.codegen import define


class Extract:
    """Takes out of a decoded record what the pipeline reads, checked.

    Parameters
    ----------
    schema
        Of the events.
    id_path, time_path
        Where the event's id and time lie.
    keys
        Where the parts of each hop's key lie, in their order; the first key is mandatory.
    fields
        The paths that expressions read.
    units
        The paths whose exact integers are aggregated.
    typed
        Values are of the schema's types, as those decoded from Avro are; JSON's may not be. Then a
        record in which nothing is wrong or missing takes a quicker way to the same event.

    Examples
    --------
    >>> from verdict.operators.events.schema import parse
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "id", "type": "string"},
    ...     {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ...     {"name": "card", "type": "string"}, {"name": "amount", "type": "double"}]})
    >>> extract = Extract(schema, "id", "at", [["card"]], ["amount"], [])
    >>> extract({"id": "e1", "at": 5, "card": "c", "amount": 1.5})
    Event(id='e1', time=5, keys=('c',), fields={'amount': 1.5}, units={})
    >>> extract({"id": "e1", "at": 5, "card": None, "amount": 1.5})
    Traceback (most recent call last):
    verdict.operators.errors.BadRecord: field 'card' is missing, the event cannot go on without it
    """

    def __init__(
        self,
        schema: Schema,
        id_path: str,
        time_path: str,
        keys: Sequence[Sequence[str]],
        fields: Sequence[str],
        units: Sequence[str],
        typed: bool = False,
    ) -> None:
        leaves = schema.fields
        self.quick: EventLines | None = None
        """The quick way's lines; it is there for typed records alone."""
        self._take: Callable[[Mapping[str, Any]], Event | None] = _no_event
        if typed:
            paths = EventPaths(id_path, time_path, keys, fields, units)
            self.quick = lines = EventLines(leaves, paths)
            body = lines.after(by_name(lines.raws))
            self._take = define("take", "record", body, lines.scope, "event")
        self._id = reader(leaves[id_path], as_text)
        self._time = reader(leaves[time_path], as_exact)
        self._keys = [[reader(leaves[path], as_text) for path in parts] for parts in keys]
        self._fields = [(path, reader(leaves[path], as_value)) for path in fields]
        self._units = [(path, reader(leaves[path], as_exact)) for path in units]
        self._id_path, self._time_path, self._key_paths = id_path, time_path, keys[0]

    def __call__(self, record: Mapping[str, Any]) -> Event:
        """Take an event out of a decoded record.

        Raises
        ------
        BadRecord
            A value is missing, or is none of its field's.
        """
        event = self._take(record)
        return self.carefully(record) if event is None else event

    def carefully(self, record: Mapping[str, Any]) -> Event:
        """Do the same the careful way, which says what is wrong."""
        event_id = self._id(record)
        if not event_id:
            raise _missing(self._id_path)
        time = self._time(record)
        if time is None:
            raise _missing(self._time_path)
        if not FIRST_TIME <= time <= LAST_TIME:
            raise BadRecord(
                BadKind.TIME_RANGE,
                f"field '{self._time_path}' lies outside the years 1 to 9999: {time} ms",
            )
        keys = tuple([composed([read(record) for read in parts]) for parts in self._keys])
        if keys[0] is None:
            first = zip(self._key_paths, self._keys[0], strict=True)
            raise _missing(next(path for path, read in first if not read(record)))
        fields = {path: read(record) for path, read in self._fields}
        units = {path: read(record) for path, read in self._units}
        return Event(event_id, time, keys, fields, units)


def _no_event(_record: Mapping[str, Any]) -> Event | None:
    """Stand for the quick way where there is none."""
    return None


def _missing(path: str) -> BadRecord:
    return BadRecord(
        BadKind.MISSING_FIELD,
        f"field '{path}' is missing, the event cannot go on without it",
    )
