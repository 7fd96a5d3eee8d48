"""Events of a file of tests: written as JSON, encoded as a producer of the pipeline's would."""

import difflib
import io
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import Any

import fastavro
import yaml

from verdict.operators.events.schema import MICROS, MILLIS, WAS, Schema
from verdict.pipelines.spec.yaml_file import Fault, Place

NUMBER = r"-?(?:0|[1-9][0-9]*)"
LIMITS = {"int": 31, "long": 63}
"""Bits of a value, without its sign."""
UNITS = {f"timestamp-{MILLIS}": timedelta(milliseconds=1)}
UNITS[f"timestamp-{MICROS}"] = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Written(float):
    """A number with a fraction, and the text that it was written as: 1.10 is exact only there."""

    text: str


class JsonLoader(yaml.SafeLoader):
    """Reads YAML whose plain words mean what they mean in JSON.

    YAML 1.1 would take the country ``NO`` for false, ``0742`` for octal, ``10:30`` for a number of
    base 60, and a time for an object. Here all of these are text.

    Examples
    --------
    >>> yaml.load("{country: NO, category: 0742, at: 2026-03-01T10:00:00Z, n: 3}", JsonLoader)
    {'country': 'NO', 'category': '0742', 'at': '2026-03-01T10:00:00Z', 'n': 3}
    """

    yaml_implicit_resolvers: Any = {}


def _plain(kind: str, pattern: str, first: str) -> None:
    tag = f"tag:yaml.org,2002:{kind}"
    JsonLoader.add_implicit_resolver(tag, re.compile(f"^(?:{pattern})$"), list(first))


_plain("null", "null|~|", "n~")
JsonLoader.yaml_implicit_resolvers[""] = JsonLoader.yaml_implicit_resolvers["n"]
_plain("bool", "true|false", "tf")
_plain("int", NUMBER, "-0123456789")
_plain("float", rf"{NUMBER}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|-?\.inf|\.nan", "-.0123456789")
_plain("merge", "<<", "<")


def _written(loader: JsonLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    number = Written(text.replace(".inf", "inf").replace(".nan", "nan"))
    number.text = text
    return number


JsonLoader.add_constructor("tag:yaml.org,2002:float", _written)


def merged(given: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """Fill an event up with what is given to it, within its records too.

    >>> merged({"a": 1, "shop": {"country": "FR"}}, {"a": 2, "shop": {"id": "s1"}})
    {'a': 2, 'shop': {'country': 'FR', 'id': 's1'}}
    >>> merged({"shop": {"country": "FR"}}, {"shop": None})
    {'shop': None}
    """
    filled = dict(given)
    for name, value in event.items():
        known = filled.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = merged(known, value)
        filled[name] = value
    return filled


def plain(value: Any) -> str:
    """Write a value as it stood in the file."""
    if isinstance(value, Written):
        return value.text
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


class EventEncoder:
    r"""Encodes events for a pipeline to decode, so that a test sees what a producer's event does.

    JSON goes out as it was written, whatever its values: the pipeline judges them. Avro can only
    hold what the schema allows, so what does not fit is a mistake of the file, not a dead letter.

    Parameters
    ----------
    schema
        Of the events.
    format_
        ``events.format``. Confluent's is the Avro body alone: no registry is needed.

    Raises
    ------
    Fault
        When called: a field is not of the schema, or its value cannot be sent.

    Examples
    --------
    >>> from verdict.operators.events.schema import parse
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "id", "type": "string"},
    ...     {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal",
    ...                                 "precision": 9, "scale": 2}}]})
    >>> EventEncoder(schema, "json")({"id": "t1"})
    b'{"id": "t1"}'
    >>> EventEncoder(schema, "avro")({"id": "t1", "amount": 2})
    b'\x04t1\x04\x00\xc8'
    >>> EventEncoder(schema, "avro")({"id": "t1", "amount": 0.005})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    verdict.pipelines.spec.yaml_file.Fault: 'amount' has 2 decimal places by the schema, ...
    """

    def __init__(self, schema: Schema, format_: str) -> None:
        self._named: dict[str, Any] = {}
        self._schema = fastavro.parse_schema(schema.raw, self._named)
        self._json = format_ == "json"

    def __call__(self, event: Mapping[str, Any]) -> bytes:
        """Encode an event.

        Raises
        ------
        Fault
            It does not fit the schema.
        """
        if self._json:
            self._check_names(self._schema, event, ())
            return _json(event, ()).encode("utf-8", "surrogatepass")
        record = self._convert(self._schema, event, ())
        body = io.BytesIO()
        try:
            fastavro.schemaless_writer(body, self._schema, record)
        except Exception as error:  # fastavro raises a dozen kinds
            raise Fault((), f"it does not fit the schema: {error}") from None
        return body.getvalue()

    def _check_names(self, node: Any, value: Any, place: Place) -> None:
        node = self._resolved(node)
        if isinstance(node, list):
            branches = [self._resolved(branch) for branch in node if branch != "null"]
            if len(branches) == 1:
                self._check_names(branches[0], value, place)
        elif node["type"] == "record" and isinstance(value, Mapping):
            fields = _fields(node, value, place)
            for name, inner in value.items():
                self._check_names(fields[name]["type"], inner, (*place, name))
        elif node["type"] == "array" and isinstance(value, list):
            for index, item in enumerate(value):
                self._check_names(node["items"], item, (*place, index))

    def _resolved(self, node: Any) -> Any:
        """Return what a type's name stands for, as a mapping."""
        if isinstance(node, str):
            return self._named.get(node, {"type": node})
        if isinstance(node, dict) and isinstance(node["type"], dict | list):
            return self._resolved(node["type"])
        return node

    def _convert(self, node: Any, value: Any, place: Place) -> Any:
        node = self._resolved(node)
        if isinstance(node, list):
            return self._in_union(node, value, place)
        kind, path = node["type"], ".".join(map(str, place))
        if value is None and kind != "null":
            raise Fault(
                place, f"'{path}' may not be null by the schema: no producer could send it; fill it"
            )
        match kind:
            case "record":
                return self._record(node, value, place)
            case "array" if isinstance(value, list):
                items = enumerate(value)
                return [self._convert(node["items"], item, (*place, i)) for i, item in items]
            case "map" if isinstance(value, Mapping):
                pairs = value.items()
                return {k: self._convert(node["values"], v, (*place, k)) for k, v in pairs}
            case "array" | "map":
                wanted = "a list" if kind == "array" else "a mapping"
                raise Fault(place, f"'{path}' is {wanted} by the schema, not {plain(value)}")
            case "null":
                if value is None:
                    return None
                raise Fault(place, f"'{path}' is always null by the schema")
        return _leaf(node, value, place, path)

    def _in_union(self, branches: list[Any], value: Any, place: Place) -> Any:
        if value is None and "null" in branches:
            return None
        faults = []
        for branch in branches:
            if branch == "null":
                continue
            try:
                return self._convert(branch, value, place)
            except Fault as fault:
                faults.append(fault)
        # Of several branches the deepest fault is of the one that was meant.
        raise max(faults, key=lambda fault: len(fault.place))

    def _record(self, node: Any, value: Any, place: Place) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            path = ".".join(map(str, place))
            raise Fault(place, f"'{path}' is a record by the schema, not {plain(value)}")
        converted = {}
        for name, field in _fields(node, value, place).items():
            if name in value:
                converted[name] = self._convert(field["type"], value[name], (*place, name))
            elif "default" not in field and not _nullable(self._resolved(field["type"])):
                path = ".".join(map(str, (*place, name)))
                raise Fault(place, f"'{path}' is missing, and has no default in the schema: add it")
        return converted


def _nullable(node: Any) -> bool:
    return "null" in node if isinstance(node, list) else bool(node["type"] == "null")


def _fields(node: Any, value: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return a record's fields by name; a name that is none of them is a mistake."""
    fields = {field["name"]: field for field in node["fields"]}
    for name in value:
        if name not in fields:
            path = ".".join(map(str, (*place, name)))
            close = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"There are: {', '.join(fields)}."
            raise Fault((*place, name), f"the schema has no field '{path}'. {hint}")
    return fields


def _leaf(node: Any, value: Any, place: Place, path: str) -> Any:
    """Convert a value that holds no others."""
    kind, logical, shown = node["type"], node.get(WAS), plain(value)
    if logical == "decimal":
        return _decimal(node, value, place, path)
    if logical in UNITS and isinstance(value, str):
        return _time(UNITS[logical], value, place, path)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "string":
            if isinstance(value, str):
                return value
            quote = f"write '{shown}' in quotes" if number or isinstance(value, bool) else "mend it"
            raise Fault(place, f"'{path}' is a string by the schema, not {shown}: {quote}")
        case "enum":
            if value in node["symbols"]:
                return value
            symbols = ", ".join(node["symbols"])
            raise Fault(place, f"'{path}' is one of {symbols} by the schema, not {shown}")
        case "boolean":
            if isinstance(value, bool):
                return value
            raise Fault(place, f"'{path}' is true or false by the schema, not {shown}")
        case "int" | "long":
            limit = 1 << LIMITS[kind]
            if number and isinstance(value, int) and -limit <= value < limit:
                return value
            also = ", or a time such as 2026-03-01T10:00:00Z" if logical in UNITS else ""
            bits = LIMITS[kind] + 1
            raise Fault(
                place, f"'{path}' is a whole number of {bits} bits{also} by the schema, not {shown}"
            )
        case "float" | "double":
            if number:
                return float(value)
            raise Fault(place, f"'{path}' is a number by the schema, not {shown}")
    try:  # bytes and fixed are text of U+0000 to U+00FF in Avro's JSON
        return str.encode(value, "latin-1")
    except (TypeError, UnicodeEncodeError):
        raise Fault(place, f"'{path}' is {kind} by the schema: text of U+0000 to U+00FF") from None


def _decimal(node: Any, value: Any, place: Place, path: str) -> bytes:
    scale, most, shown = node.get("scale", 0), node["precision"], plain(value)
    try:
        if isinstance(value, bool | Mapping | list):
            raise InvalidOperation
        sign, digits, exponent = Decimal(shown).as_tuple()
    except InvalidOperation:
        exponent = "n"
    if not isinstance(exponent, int):  # a letter says that it is no finite number
        raise Fault(place, f"'{path}' is a decimal by the schema, not {shown}")
    while len(digits) > 1 and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    if digits == (0,):
        exponent = 0
    if exponent < -scale:
        raise Fault(place, f"'{path}' has {scale} decimal places by the schema, {shown} has more")
    if len(digits) + exponent + scale > most:
        raise Fault(place, f"'{path}' has {most} digits by the schema, {shown} has more")
    unscaled: int = int("".join(map(str, digits))) * 10 ** (exponent + scale) * (-1 if sign else 1)
    size: int = node["size"] if node["type"] == "fixed" else unscaled.bit_length() // 8 + 1
    return unscaled.to_bytes(size, "big", signed=True)


def _time(unit: timedelta, value: str, place: Place, path: str) -> int:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Fault(
            place,
            f"'{path}' is a time with its zone, such as 2026-03-01T10:00:00Z, or a number in the "
            f"schema's unit, not {value}",
        )
    return (moment - EPOCH) // unit


def _json(value: Any, place: Place) -> str:
    """Write JSON with every number as it was written: a float would not do for a decimal."""
    if isinstance(value, Mapping):
        pairs = (f"{encode_basestring(k)}: {_json(v, (*place, k))}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_json(item, (*place, i)) for i, item in enumerate(value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        path = ".".join(map(str, place))
        raise Fault(place, f"'{path}' is {plain(value)}, which JSON cannot say")
    return encode_basestring(value) if isinstance(value, str) else plain(value)
