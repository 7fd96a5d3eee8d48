"""Events from Parquet: from Arrow's types to the Avro schema of the pipeline's events."""

import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from verdict.operators.events.decode import Decoded
from verdict.operators.events.schema import Schema
from verdict.pipelines.errors import FileError

ROWS = 5_000
"""Rows that are read at a time."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"timestamp-millis": "ms", "timestamp-micros": "us"}

Convert = Callable[[Any], Any]


def values(file: Path, schema: Schema, progress: Callable[[int], None]) -> Iterator[bytes]:
    """Read a Parquet file's rows as the bodies of Avro records, in batches.

    Each field of the schema is a column of its name; further columns are left out. A column that
    is missing takes the field's default, or null where the field may be null. Timestamps of any
    unit, with a zone or in UTC, become the schema's; decimals its unscaled integers.

    Parameters
    ----------
    file
        Of events.
    schema
        Of the pipeline's events.
    progress
        Called with each batch's share of the file's bytes.

    Raises
    ------
    FileError
        It cannot be read, or does not fit the schema; the message says where.
    """
    number = 0
    try:
        size = file.stat().st_size
        with pq.ParquetFile(file) as parquet:
            fields = schema.definition["fields"]
            present = [f["name"] for f in fields if f["name"] in parquet.schema_arrow.names]
            missing = [
                f["name"]
                for f in fields
                if f["name"] not in present and "default" not in f and not _nullable(f["type"])
            ]
            if missing:
                raise FileError(
                    f"{file}: no column '{missing[0]}', which the events' schema has without a "
                    f"default; there are {', '.join(parquet.schema_arrow.names)}"
                )
            convert = {f["name"]: _converter(f["type"]) for f in fields}
            absent = {f["name"]: f.get("default") for f in fields if f["name"] not in present}
            total = max(parquet.metadata.num_rows, 1)
            for batch in parquet.iter_batches(ROWS, columns=present):
                columns = [
                    _column(batch.column(name), by_name, convert[name])
                    for name, by_name in zip(present, map(_kinds(fields).get, present), strict=True)
                ]
                for row in zip(*columns, strict=True):
                    record = {**absent, **dict(zip(present, row, strict=True))}
                    body = io.BytesIO()
                    fastavro.schemaless_writer(body, schema.raw, record)
                    yield Decoded.of(body.getvalue(), record)
                    number += 1
                progress(size * batch.num_rows // total)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {file}: {error.strerror or error}") from None
    except Exception as error:  # pyarrow's, and fastavro's of a value that does not fit
        raise FileError(
            f"{file}: row {number} cannot be read as the events' schema: "
            f"{type(error).__name__}: {error}"
        ) from None


def _kinds(fields: Any) -> Mapping[str, Any]:
    return {field["name"]: _plain(field["type"]) for field in fields}


def _nullable(type_: Any) -> bool:
    return isinstance(type_, list) and "null" in type_


def _plain(type_: Any) -> Any:
    """Return a type without its null."""
    if isinstance(type_, list):
        others = [each for each in type_ if each != "null"]
        return others[0] if len(others) == 1 else type_
    return type_


def _column(column: pa.Array, kind: Any, convert: Convert) -> list[Any]:
    """Turn one column into raw Avro values."""
    unit = UNITS.get(kind.get("logicalType", "")) if isinstance(kind, dict) else None
    if unit is not None and pa.types.is_timestamp(column.type):
        zone = column.type.tz
        times = column.cast(pa.timestamp(unit, zone), safe=False)
        found: list[Any] = times.cast(pa.int64()).to_pylist()
        return found
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return [None if value is None else convert(value) for value in column.to_pylist()]


def _converter(type_: Any) -> Convert:
    r"""Compile the way from what Arrow gives for a value that is not null to Avro's raw value.

    >>> _converter({"type": "bytes", "logicalType": "decimal", "scale": 2})(Decimal("-1.5"))
    b'\xffj'
    >>> _converter({"type": "long", "logicalType": "timestamp-millis"})(EPOCH + timedelta(1))
    86400000
    """
    type_ = _plain(type_)
    if isinstance(type_, dict):
        logical = type_.get("logicalType")
        if logical == "decimal":
            return _decimal(type_.get("scale", 0))
        if logical in UNITS:
            return _time(
                timedelta(milliseconds=1) if UNITS[logical] == "ms" else timedelta.resolution
            )
        if type_.get("type") == "record":
            inner = {field["name"]: _converter(field["type"]) for field in type_["fields"]}
            return lambda value: {
                name: None if (part := value.get(name)) is None else convert(part)
                for name, convert in inner.items()
            }
        if isinstance(type_.get("type"), (dict, list)):
            return _converter(type_["type"])
        type_ = type_.get("type")
    if type_ in ("double", "float"):
        return float
    return lambda value: value


def _decimal(scale: int) -> Convert:
    def convert(value: Any) -> bytes:
        scaled = Decimal(value).scaleb(scale)
        unscaled = int(scaled)
        if unscaled != scaled:
            raise ValueError(f"{value} has more than {scale} decimal places")
        return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)

    return convert


def _time(unit: timedelta) -> Convert:
    def convert(value: Any) -> int:
        if isinstance(value, int):
            return value
        at: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (at - EPOCH) // unit

    return convert
