"""An Avro schema, read for its fields: what a dotted path leads to and how to take it out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from verdict.operators.errors import SchemaError
from verdict.operators.events.bounds import unbounded
from verdict.operators.expressions import Kind

MAX_DECIMAL_PRECISION = 18
"""Unscaled decimals of up to 18 digits fit a signed 64-bit integer."""
KINDS: Mapping[str, Kind] = {
    "int": Kind.NUMBER,
    "long": Kind.NUMBER,
    "float": Kind.NUMBER,
    "double": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
    "string": Kind.STRING,
    "enum": Kind.STRING,
}
MICROS, MILLIS = "micros", "millis"
LOGICAL, WAS = "logicalType", "verdict.logicalType"


@dataclass(frozen=True)
class Field:
    """One leaf of an event.

    Attributes
    ----------
    path
        Dotted, from the record's root: ``terminal.id``.
    kind
        What it is in an expression. A decimal is a number there; a time is one of milliseconds.
    integer
        Its exact value is an integer: int, long, time, or a decimal's unscaled value.
    scale
        Decimal places of a decimal, else 0.
    nullable
        It, or a record above it, may be null.
    time
        ``millis`` or ``micros`` for a timestamp, else None.
    is_decimal
        Avro's decimal.
    """

    path: str
    kind: Kind
    integer: bool
    nullable: bool
    scale: int = 0
    time: str | None = None
    is_decimal: bool = False

    def getter(self) -> Callable[[Mapping[str, Any]], Any]:
        """Compile a function that takes the leaf's raw value out of a decoded record, or None."""
        first, *rest = self.path.split(".")
        if not rest:
            return lambda record: record[first]
        steps = tuple(rest)

        def walk(record: Mapping[str, Any]) -> Any:
            value = record[first]
            for step in steps:
                if value is None:
                    return None
                value = value[step]
            return value

        return walk

    def exact(self, raw: Any) -> int:
        """Return the exact integer behind a raw value: a decimal's unscaled one, a time's ms."""
        if isinstance(raw, bytes):
            return int.from_bytes(raw, "big", signed=True)
        if self.time == MICROS:
            return int(raw) // 1000
        return int(raw)


@dataclass(frozen=True)
class Schema:
    """A record schema and its leaves, by path.

    Attributes
    ----------
    definition
        Its JSON form.
    raw
        Parsed, without logical types: what decimals and times are on the wire.
    fields
        Its leaves.

    Examples
    --------
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "id", "type": "string"},
    ...     {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal",
    ...                                 "precision": 9, "scale": 2}},
    ...     {"name": "terminal", "type": ["null", {"type": "record", "name": "Terminal",
    ...         "fields": [{"name": "id", "type": "string"}]}]},
    ... ]})
    >>> schema.fields["terminal.id"].nullable, schema.fields["amount"].scale
    (True, 2)
    """

    definition: Any
    raw: Any
    fields: Mapping[str, Field]


def load(path: Path) -> Schema:
    """Read an ``.avsc`` file.

    Raises
    ------
    SchemaError
        The file is missing, is no JSON, or no Avro record schema.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SchemaError(f"cannot read the schema {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path}: not JSON: {error}") from None
    try:
        definition = json.loads(text)
    except json.JSONDecodeError as error:
        raise SchemaError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except RecursionError as error:
        raise SchemaError(f"{path}: nested too deeply: {error}") from None
    try:
        return parse(definition)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None


def parse(definition: Any) -> Schema:
    """Read a schema from its JSON form.

    Raises
    ------
    SchemaError
        It is no record, or holds a type that verdict cannot take a field from.
    """
    try:
        fastavro.parse_schema(definition)
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"not an Avro schema: {error}") from None
    if not isinstance(definition, dict) or definition.get("type") != "record":
        raise SchemaError("an event's schema is a record")
    fields: dict[str, Field] = {}
    try:
        _collect(definition, "", False, fields)
    except (KeyError, TypeError) as error:  # fastavro lets some parts be missing
        raise SchemaError(f"not an Avro schema: {error}") from None
    raw = fastavro.parse_schema(without_logical_types(definition))
    try:
        endless = unbounded(raw)
    except (KeyError, TypeError) as error:
        raise SchemaError(f"not an Avro schema: {error}") from None
    if endless is not None:
        raise SchemaError(f"{endless}: a few bytes of it could take the process down")
    _bytes_defaults(raw)
    return Schema(definition, raw, fields)


def mismatch(writer: Any, schema: Schema) -> str | None:
    """Say which field a writer's schema gives another decimal scale or unit of time.

    Avro's resolution lets such bytes through, and 1.5000 would be read as 150.00.

    >>> field = {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal",
    ...                                     "precision": 9, "scale": 2}}
    >>> record = {"type": "record", "name": "T", "fields": [field]}
    >>> writer = json.loads(json.dumps(record).replace('"scale": 2', '"scale": 4'))
    >>> mismatch(writer, parse(record))
    "field 'amount' has scale 4 there, and 2 in the pipeline's schema"
    """
    found: dict[str, Field] = {}
    if isinstance(writer, dict) and writer.get("type") == "record":
        _collect(writer, "", False, found)
    for path, theirs in found.items():
        ours = schema.fields.get(path)
        if ours is None:
            continue
        if theirs.scale != ours.scale or theirs.is_decimal != ours.is_decimal:
            return (
                f"field '{path}' has scale {theirs.scale} there, "
                f"and {ours.scale} in the pipeline's schema"
            )
        if (theirs.time == MICROS) != (ours.time == MICROS):  # a plain long is of milliseconds
            unit = MICROS if theirs.time == MICROS else MILLIS
            return f"field '{path}' is in {unit} there, and not so in the pipeline's schema"
    return None


def _bytes_defaults(node: Any) -> None:
    """Turn the defaults of bytes, which JSON has as text of U+0000 to U+00FF, into bytes.

    fastavro hands a default over as it stands: a decimal that came later would be text.
    """
    if isinstance(node, list):
        for item in node:
            _bytes_defaults(item)
    elif isinstance(node, dict):
        for field in node.get("fields", ()):
            kind = field["type"]
            if isinstance(kind, list):  # a default is of a union's first branch
                kind = kind[0] if kind else None
            name = kind.get("type") if isinstance(kind, dict) else kind
            if name in ("bytes", "fixed") and isinstance(field.get("default"), str):
                field["default"] = field["default"].encode("latin-1")
            _bytes_defaults(field["type"])
        _bytes_defaults(node.get("items", node.get("values")))


def _collect(
    record: Mapping[str, Any], prefix: str, nullable: bool, into: dict[str, Field]
) -> None:
    for field in record["fields"]:
        path = prefix + field["name"]
        kind, optional = _optional(field["type"])
        optional = optional or nullable
        if isinstance(kind, dict) and kind.get("type") == "record":
            _collect(kind, path + ".", optional, into)
            continue
        leaf = _leaf(path, kind, optional)
        if leaf is not None:
            into[path] = leaf


def _optional(kind: Any) -> tuple[Any, bool]:
    if isinstance(kind, list):
        rest = [branch for branch in kind if branch != "null"]
        return (rest[0] if len(rest) == 1 else rest), "null" in kind
    return kind, False


def _leaf(path: str, kind: Any, nullable: bool) -> Field | None:
    if isinstance(kind, list):  # a union of several types has no one kind
        return None
    details: Mapping[str, Any] = kind if isinstance(kind, dict) else {"type": kind}
    name, logical = details["type"], details.get(LOGICAL, details.get(WAS))
    if logical == "decimal" and name in ("bytes", "fixed"):
        if details["precision"] > MAX_DECIMAL_PRECISION:
            raise SchemaError(
                f"field '{path}': decimal precision {details['precision']} does not fit 64 bits; "
                f"use {MAX_DECIMAL_PRECISION} digits at most"
            )
        return Field(path, Kind.NUMBER, True, nullable, details.get("scale", 0), is_decimal=True)
    if name not in KINDS:  # arrays, maps, plain bytes: carried by the event, not read
        return None
    time = None
    if logical in ("timestamp-millis", "timestamp-micros"):
        time = MILLIS if logical == "timestamp-millis" else MICROS
    return Field(path, KINDS[name], name in ("int", "long"), nullable, time=time)


def without_logical_types(node: Any) -> Any:
    """Copy a schema so that decimals stay bytes and times integers: faster, and exact.

    What they were stays in it under a name that Avro's readers do not know, for `mismatch`.
    """
    if isinstance(node, dict):
        return {
            WAS if key == LOGICAL else key: without_logical_types(value)
            for key, value in node.items()
            if not key.startswith("__")
        }
    if isinstance(node, list):
        return [without_logical_types(item) for item in node]
    return node
