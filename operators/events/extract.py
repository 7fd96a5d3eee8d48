"""From a decoded record to an event: its id, time, keys and the fields that are read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import FIRST_TIME, LAST_TIME
from verdict.operators.events.event import Event, composed
from verdict.operators.events.fields import as_exact, as_text, as_value, reader
from verdict.operators.events.schema import MICROS, Field, Schema
from verdict.operators.expressions import Kind
from verdict.operators.names import BadKind
from verdict.state.codegen import define
from verdict.state.windows.values import NULL


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
        self._quick = _Quick(leaves, id_path, time_path, keys, fields, units) if typed else None
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
        if self._quick is not None:
            event = self._quick(record)
            if event is not None:
                return event
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


class _Quick:
    """Takes an event out of a record by a function written for the paths that are read."""

    def __init__(
        self,
        leaves: Mapping[str, Field],
        id_path: str,
        time_path: str,
        keys: Sequence[Sequence[str]],
        fields: Sequence[str],
        units: Sequence[str],
    ) -> None:
        self._leaves = leaves
        self._lines: list[str] = []
        self._scope: dict[str, Any] = {
            "Event": Event,
            "new": tuple.__new__,
            "from_bytes": int.from_bytes,
            "isfinite": math.isfinite,
            "str": str,
            "len": len,
            "composed": composed,
        }
        self._known: dict[tuple[str, str], str] = {}
        event_id, time = self._text(id_path), self._exact(time_path)
        names = [[self._text(path) for path in parts] for parts in keys]
        for i, parts in enumerate(names):
            if len(parts) > 1:
                self._lines.append(f"key_{i} = composed(({', '.join(parts)}))")
                names[i] = [f"key_{i}"]
        made = [name for parts in names for name in parts]
        by_name = ", ".join(f"{path!r}: {self._value(path)}" for path in fields)
        exact = ", ".join(f"{path!r}: {self._exact(path)}" for path in units)
        self._lines += [
            f"if not {event_id} or {time} is None or {made[0]} is None: return None",
            f"if not {FIRST_TIME} <= {time} <= {LAST_TIME}: return None",
            *(f"if {key} == '': return None" for key in made),
            f"return new(Event, ({event_id}, {time}, ({', '.join(made)},), "
            f"{{{by_name}}}, {{{exact}}}))",
        ]
        self._take = define("take", "record", self._lines, self._scope, "event")

    def __call__(self, record: Mapping[str, Any]) -> Event | None:
        """Return the event, or None where something is wrong with it or missing."""
        try:
            event: Event | None = self._take(record)
        except (TypeError, ValueError, ArithmeticError, KeyError):
            return None
        return event

    def _once(self, path: str, kind: str, raw: str, *lines: str, value: str) -> str:
        """Write how a value comes from another, unless that is null; return its variable."""
        name = self._known.get((path, kind))
        if name is None:
            name = self._known[path, kind] = f"{kind}_{len(self._known)}"
            if self._leaves[path].nullable:
                self._lines += [
                    f"if {raw} is None: {name} = None",
                    "else:",
                    *(f"    {line}" for line in (*lines, f"{name} = {value}")),
                ]
            else:
                self._lines += [*lines, f"{name} = {value}"]
        return name

    def _raw(self, path: str) -> str:
        name = self._known.get((path, "raw"))
        if name is None:
            name = self._known[path, "raw"] = f"raw_{len(self._known)}"
            first, *rest = path.split(".")
            self._lines.append(f"{name} = record[{first!r}]")
            for step in rest:
                self._lines.append(f"if {name} is not None: {name} = {name}[{step!r}]")
        return name

    def _text(self, path: str) -> str:
        raw = self._raw(path)
        if not self._leaves[path].integer:
            return raw
        return self._once(path, "text", raw, value=f"str({raw})")

    def _exact(self, path: str) -> str:
        field, raw = self._leaves[path], self._raw(path)
        if field.is_decimal:  # of more bytes perhaps beyond 64 bits: the long way finds out
            return self._once(
                path,
                "exact",
                raw,
                f"if len({raw}) > 7: return None",
                value=f"from_bytes({raw}, 'big', signed=True)",
            )
        if field.time == MICROS:
            self._scope["micros"] = as_exact(field)
            return self._once(path, "exact", raw, value=f"micros({raw})")
        return self._once(path, "exact", raw, f"if {raw} == {NULL}: return None", value=raw)

    def _value(self, path: str) -> str:
        field, raw = self._leaves[path], self._raw(path)
        if field.is_decimal:
            exact = self._exact(path)
            return self._once(path, "value", exact, value=f"{exact} / {10**field.scale}")
        if field.time is not None:
            return self._exact(path)
        if field.kind is Kind.NUMBER and not field.integer:
            return self._once(path, "value", raw, f"if not isfinite({raw}): return None", value=raw)
        return raw


def _missing(path: str) -> BadRecord:
    return BadRecord(
        BadKind.MISSING_FIELD,
        f"field '{path}' is missing, the event cannot go on without it",
    )
