"""One field out of a decoded record, as a value, a text or an exact integer."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.events.schema import Field
from verdict.operators.expressions import Kind
from verdict.operators.names import BadKind

DIGITS = Context(prec=40, traps=[InvalidOperation])
"""More digits than 64 bits and a decimal's places have; a number with more is refused unseen, for
a record can say ``1e999999999``, whose integer would take hours to make."""
Read = Callable[[Mapping[str, Any]], Any]


def reader(field: Field, convert: Callable[[Field], Callable[[Any], Any]]) -> Read:
    """Compose a field's getter and its conversion; what fails is a `BadRecord` of that field."""
    get, conversion = field.getter(), convert(field)

    def read(record: Mapping[str, Any]) -> Any:
        try:
            raw = get(record)
        except KeyError:  # JSON leaves out what is null
            return None
        except (TypeError, AttributeError):
            raise BadRecord(
                BadKind.WRONG_TYPE, f"field '{field.path}' lies in what is no record"
            ) from None
        if raw is None:
            return None
        try:
            return conversion(raw)
        except (TypeError, ValueError, ArithmeticError, InvalidOperation):
            shown = _shown(raw)
            raise BadRecord(
                BadKind.WRONG_TYPE,
                f"field '{field.path}' has the wrong type: {shown} is no {field.kind}",
            ) from None

    return read


def _shown(raw: Any) -> str:
    try:
        return repr(raw)[:60]
    except RecursionError:  # of JSON that is nested as deep as can be read
        return type(raw).__name__


def as_text(field: Field) -> Callable[[Any], str]:
    """Ids and keys: strings as they are, integers by their digits."""

    def convert(raw: Any) -> str:
        if isinstance(raw, str):
            raw.encode()  # a lone surrogate, which JSON can hold, has no bytes
            return raw
        if field.integer and isinstance(raw, int) and not isinstance(raw, bool):
            return str(raw)
        raise TypeError

    return convert


def as_exact(field: Field) -> Callable[[Any], int]:
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


def as_value(field: Field) -> Callable[[Any], Any]:
    """What an expression sees: float for decimals, milliseconds for times, else as it is."""
    exact = as_exact(field)
    if field.is_decimal:
        unit = 10**field.scale
        return lambda raw: exact(raw) / unit
    if field.time is not None:
        return exact
    if field.kind is Kind.STRING:
        return as_text(field)
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
    return reader(field, as_value)


def exact_of(field: Field) -> Read:
    """Return what takes a field out as an exact integer: times in milliseconds."""
    return reader(field, as_exact)


def text_of(field: Field) -> Read:
    """Return what takes a field out as the text that ids and keys are."""
    return reader(field, as_text)
