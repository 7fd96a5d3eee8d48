"""From a record's bytes to an event: Avro, Confluent's wire format or JSON, and the fields read.

Whatever is wrong with a record is a `BadRecord`, which says what; never another exception.
"""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

import fastavro

from verdict.operators.errors import BadRecord
from verdict.operators.events.schema import MICROS, Field, Schema, mismatch, unbounded
from verdict.operators.expressions import Kind
from verdict.state.codegen import define
from verdict.state.windows.values import NULL

CONFLUENT_MAGIC = 0
CONFLUENT_HEADER = 5  # the magic byte, then the schema's id as a big-endian 32-bit integer

FIRST_TIME, LAST_TIME = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, in milliseconds: what readers of Avro's timestamps can hold."""

DIGITS = Context(prec=40, traps=[InvalidOperation])
"""More digits than 64 bits and a decimal's places have; a number with more is refused unseen, for
a record can say ``1e999999999``, whose integer would take hours to make."""

Decode = Callable[[bytes], Mapping[str, Any]]
WriterSchema = Callable[[int], Any]
"""Schema id -> the writer's parsed schema; raises KeyError for an id that does not exist."""


class Decoded(bytes):
    """A record's Avro body, of the pipeline's schema, that has been decoded on the way.

    A file has to be decoded to find where its records end; there is no need to do it twice.
    """

    record: Any

    @classmethod
    def of(cls, body: bytes, record: Any) -> "Decoded":
        """Keep a record with its body.

        >>> Decoded.of(b"x", {"id": 1}).record
        {'id': 1}
        """
        made = cls(body)
        made.record = record
        return made


class Event(NamedTuple):
    """One decoded event, cut down to what the pipeline reads.

    Attributes
    ----------
    id
        The event's id.
    time
        Event time in milliseconds since the epoch.
    keys
        One a hop, in the order of the hops; None where the entity is missing.
    fields
        Path -> value for expressions: number, string or boolean; None where null.
    units
        Path -> exact integer of the decimal and integer fields that are aggregated.
    """

    id: str
    time: int
    keys: tuple[str | None, ...]
    fields: dict[str, Any]
    units: dict[str, int | None]


def avro_decoder(schema: Schema) -> Decode:
    """Decode plain Avro bodies, as ``fastavro.schemaless_writer`` writes them."""
    reader = _avro_reader(schema.raw, None)

    def decode(value: bytes) -> Mapping[str, Any]:
        if type(value) is Decoded:
            record: Mapping[str, Any] = value.record
            return record
        return reader(value, 0)

    return decode


def confluent_decoder(schema: Schema, writer_schema: WriterSchema) -> Decode:
    """Decode Confluent's wire format: a zero byte, the writer schema's id, an Avro body.

    Fields resolve from the writer's schema to the pipeline's own by Avro's rules.

    Source: Confluent, "Schema Registry: wire format".
    """
    readers: dict[int, Callable[[bytes, int], Mapping[str, Any]]] = {}

    def decode(value: bytes) -> Mapping[str, Any]:
        if len(value) < CONFLUENT_HEADER or value[0] != CONFLUENT_MAGIC:
            raise BadRecord(
                "decode",
                "wire-format",
                "not Confluent's wire format: a zero byte, the schema's id in four, then the body",
            )
        schema_id = int.from_bytes(value[1:CONFLUENT_HEADER], "big")
        reader = readers.get(schema_id)
        if reader is None:
            try:
                writer = writer_schema(schema_id)
            except KeyError:
                raise BadRecord(
                    "decode", "unknown-schema", f"unknown schema id {schema_id}"
                ) from None
            wrong = mismatch(writer, schema) or unbounded(writer)
            if wrong is not None:
                raise BadRecord("decode", "schema-mismatch", f"schema id {schema_id}: {wrong}")
            reader = readers[schema_id] = _avro_reader(writer, schema.raw)
        return reader(value, CONFLUENT_HEADER)

    return decode


def _avro_reader(writer: Any, reader: Any) -> Callable[[bytes, int], Mapping[str, Any]]:
    def read(value: bytes, offset: int) -> Mapping[str, Any]:
        body = io.BytesIO(value)
        if offset:
            body.seek(offset)
        try:
            record = fastavro.schemaless_reader(body, writer, reader)
        except Exception as error:  # fastavro raises a dozen kinds for bytes that do not fit
            cause = str(error) or "the bytes end early"
            raise BadRecord(
                "decode", "not-avro", f"not Avro of the schema: {type(error).__name__}: {cause}"
            ) from None
        if body.tell() != len(value):
            surplus = len(value) - body.tell()
            raise BadRecord(
                "decode", "surplus-bytes", f"{surplus} bytes are left over after the Avro body"
            )
        if not isinstance(record, Mapping):
            raise BadRecord("decode", "not-a-record", "the Avro body is no record")
        return record

    return read


def json_decoder() -> Decode:
    """Decode JSON objects; `Extract` holds them against the Avro schema that describes them.

    Numbers stay exact (a decimal may be a number or a string), a time may be a number in the
    schema's unit or ISO 8601 with its zone, a field that is absent is null.
    """

    def decode(value: bytes) -> Mapping[str, Any]:
        try:
            record = json.loads(value, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BadRecord("decode", "not-json", f"not JSON: {error}") from None
        except ArithmeticError:  # of a Decimal
            raise BadRecord(
                "decode", "not-json", "not JSON: a number has an exponent of too many digits"
            ) from None
        if not isinstance(record, dict):
            raise BadRecord(
                "decode", "not-a-record", f"a JSON object is wanted, not {type(record).__name__}"
            )
        return record

    return decode


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not of JSON")


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
        self._id = _reader(leaves[id_path], _text)
        self._time = _reader(leaves[time_path], _exact)
        self._keys = [[_reader(leaves[path], _text) for path in parts] for parts in keys]
        self._fields = [(path, _reader(leaves[path], _value)) for path in fields]
        self._units = [(path, _reader(leaves[path], _exact)) for path in units]
        self._id_path, self._time_path, self._key_paths = id_path, time_path, keys[0]

    def __call__(self, record: Mapping[str, Any]) -> Event:
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
                "validate",
                "time-range",
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
        self._take = define("take", "record", self._lines, self._scope)

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
            self._scope["micros"] = _exact(field)
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


def composed(parts: Sequence[str | None]) -> str | None:
    """Make one key of its parts; None where one of them is missing or empty.

    >>> composed(["c1"]), composed(["c1", "a|b"]), composed(["c1", None])
    ('c1', 'c1|a\\\\|b', None)
    """
    if len(parts) == 1:
        return parts[0] or None
    if not all(parts):
        return None
    return "|".join([(part or "").replace("\\", "\\\\").replace("|", "\\|") for part in parts])


def _missing(path: str) -> BadRecord:
    return BadRecord(
        "validate",
        "missing-field",
        f"field '{path}' is missing, the event cannot go on without it",
    )


Read = Callable[[Mapping[str, Any]], Any]


def _reader(field: Field, convert: Callable[[Field], Callable[[Any], Any]]) -> Read:
    """Compose a field's getter and its conversion; what fails is a `BadRecord` of that field."""
    get, conversion = field.getter(), convert(field)

    def read(record: Mapping[str, Any]) -> Any:
        try:
            raw = get(record)
        except KeyError:  # JSON leaves out what is null
            return None
        except (TypeError, AttributeError):
            raise BadRecord(
                "validate", "wrong-type", f"field '{field.path}' lies in what is no record"
            ) from None
        if raw is None:
            return None
        try:
            return conversion(raw)
        except (TypeError, ValueError, ArithmeticError, InvalidOperation):
            shown = _shown(raw)
            raise BadRecord(
                "validate",
                "wrong-type",
                f"field '{field.path}' has the wrong type: {shown} is no {field.kind}",
            ) from None

    return read


def _shown(raw: Any) -> str:
    try:
        return repr(raw)[:60]
    except RecursionError:  # of JSON that is nested as deep as can be read
        return type(raw).__name__


def _text(field: Field) -> Callable[[Any], str]:
    """Ids and keys: strings as they are, integers by their digits."""

    def convert(raw: Any) -> str:
        if isinstance(raw, str):
            raw.encode()  # a lone surrogate, which JSON can hold, has no bytes
            return raw
        if field.integer and isinstance(raw, int) and not isinstance(raw, bool):
            return str(raw)
        raise TypeError

    return convert


def _exact(field: Field) -> Callable[[Any], int]:
    """Exact 64-bit integers: times in milliseconds, decimals unscaled."""

    def convert(raw: Any) -> int:
        if isinstance(raw, str):
            value = _from_text(field, raw)
        elif isinstance(raw, bool):
            raise TypeError
        elif field.is_decimal and not isinstance(raw, bytes):
            if not isinstance(raw, int | Decimal):
                raise TypeError
            value = _unscaled(Decimal(raw), field.scale)
        else:
            if isinstance(raw, float) and raw != int(raw):
                raise ValueError
            value = field.exact(_unscaled(raw, 0) if isinstance(raw, Decimal) else raw)
        if not -(1 << 63) < value < 1 << 63:
            raise ValueError
        return value

    return convert


def _from_text(field: Field, raw: str) -> int:
    if field.is_decimal:
        return _unscaled(Decimal(raw), field.scale)
    if field.time is None:
        raise TypeError
    moment = datetime.fromisoformat(raw)
    if moment.tzinfo is None:
        raise ValueError
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def _unscaled(value: Decimal, scale: int) -> int:
    fixed = value.quantize(Decimal((0, (1,), -scale)), context=DIGITS)
    if fixed != value:
        raise ValueError
    return int(fixed.scaleb(scale, context=DIGITS))


def _value(field: Field) -> Callable[[Any], Any]:
    """What an expression sees: float for decimals, milliseconds for times, else as it is."""
    exact = _exact(field)
    if field.is_decimal:
        unit = 10**field.scale
        return lambda raw: exact(raw) / unit
    if field.time is not None:
        return exact
    if field.kind is Kind.STRING:
        return _text(field)
    if field.kind is Kind.BOOLEAN:
        return _boolean
    return exact if field.integer else _float


def _boolean(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise TypeError
    return raw


def _float(raw: Any) -> float:
    if isinstance(raw, bool | str):
        raise TypeError
    value = float(raw)
    if not math.isfinite(value):
        raise ValueError
    return value


def value_of(field: Field) -> Read:
    """Return what takes a field out of a decoded record, as expressions see it."""
    return _reader(field, _value)


def exact_of(field: Field) -> Read:
    """Return what takes a field out as an exact integer: times in milliseconds."""
    return _reader(field, _exact)


def text_of(field: Field) -> Read:
    """Return what takes a field out as the text that ids and keys are."""
    return _reader(field, _text)
