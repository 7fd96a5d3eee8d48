"""From a record's bytes to a record: Avro, Confluent's wire format or JSON.

Whatever is wrong with a record is a `BadRecord`, which says what; never another exception.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import fastavro

from verdict.operators.errors import BadRecord
from verdict.operators.events.bounds import unbounded
from verdict.operators.events.schema import Schema, mismatch
from verdict.operators.names import BadKind

CONFLUENT_MAGIC = 0
CONFLUENT_HEADER = 5  # the magic byte, then the schema's id as a big-endian 32-bit integer
FIRST_TIME, LAST_TIME = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, in milliseconds: what readers of Avro's timestamps can hold."""
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


class AvroDecoder:
    """Decodes plain Avro bodies, as ``fastavro.schemaless_writer`` writes them.

    Attributes
    ----------
    schema
        What is read: the pipeline's own.
    header
        Bytes before a body.
    writers
        A body's header -> the schema that it was written with, of those that have been decoded.
    """

    header = 0

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.writers: dict[bytes, Any] = {b"": schema.raw}
        self._read = _avro_reader(schema.raw, None)

    def __call__(self, value: bytes) -> Mapping[str, Any]:
        """Decode a record's value."""
        if type(value) is Decoded:
            record: Mapping[str, Any] = value.record
            return record
        return self._read(value, 0)


class ConfluentDecoder(AvroDecoder):
    """Decodes Confluent's wire format: a zero byte, the writer schema's id, an Avro body.

    Fields resolve from the writer's schema to the pipeline's own by Avro's rules.

    Source: Confluent, "Schema Registry: wire format".
    """

    header = CONFLUENT_HEADER

    def __init__(self, schema: Schema, writer_schema: WriterSchema) -> None:
        super().__init__(schema)
        self.writers = {}
        self._writer_schema = writer_schema
        self._readers: dict[int, Callable[[bytes, int], Mapping[str, Any]]] = {}

    def __call__(self, value: bytes) -> Mapping[str, Any]:
        """Decode a record's value."""
        if len(value) < CONFLUENT_HEADER or value[0] != CONFLUENT_MAGIC:
            raise BadRecord(
                BadKind.WIRE_FORMAT,
                "not Confluent's wire format: a zero byte, the schema's id in four, then the body",
            )
        schema_id = int.from_bytes(value[1:CONFLUENT_HEADER], "big")
        reader = self._readers.get(schema_id)
        if reader is None:
            writer = self._writer(schema_id)
            reader = self._readers[schema_id] = _avro_reader(writer, self.schema.raw)
            self.writers[value[:CONFLUENT_HEADER]] = writer
        return reader(value, CONFLUENT_HEADER)

    def _writer(self, schema_id: int) -> Any:
        """Return a writer's schema, if it goes with the pipeline's."""
        try:
            writer = self._writer_schema(schema_id)
        except KeyError:
            raise BadRecord(BadKind.UNKNOWN_SCHEMA, f"unknown schema id {schema_id}") from None
        wrong = mismatch(writer, self.schema) or unbounded(writer)
        if wrong is not None:
            raise BadRecord(BadKind.SCHEMA_MISMATCH, f"schema id {schema_id}: {wrong}")
        return writer


def _avro_reader(writer: Any, reader: Any) -> Callable[[bytes, int], Mapping[str, Any]]:
    # What the reader leaves out fastavro skips, past the end of the bytes, too: a list that claims
    # to have 2**62 numbers would take for ever. To read it ends where the bytes do.
    skips_lists = reader is not None and re.search('"(array|map)"', json.dumps(writer, default=str))

    def read(value: bytes, offset: int) -> Mapping[str, Any]:
        body = io.BytesIO(value)
        if offset:
            body.seek(offset)
        try:
            if skips_lists:
                fastavro.schemaless_reader(body, writer, None)
                body.seek(offset)
            record = fastavro.schemaless_reader(body, writer, reader)
        except Exception as error:  # fastavro raises a dozen kinds for bytes that do not fit
            cause = str(error) or "the bytes end early"
            raise BadRecord(
                BadKind.NOT_AVRO, f"not Avro of the schema: {type(error).__name__}: {cause}"
            ) from None
        if body.tell() != len(value):
            surplus = len(value) - body.tell()
            raise BadRecord(
                BadKind.SURPLUS_BYTES, f"{surplus} bytes are left over after the Avro body"
            )
        if not isinstance(record, Mapping):
            raise BadRecord(BadKind.NOT_A_RECORD, "the Avro body is no record")
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
            raise BadRecord(BadKind.NOT_JSON, f"not JSON: {error}") from None
        except ArithmeticError:  # of a Decimal
            raise BadRecord(
                BadKind.NOT_JSON, "not JSON: a number has an exponent of too many digits"
            ) from None
        if not isinstance(record, dict):
            raise BadRecord(
                BadKind.NOT_A_RECORD, f"a JSON object is wanted, not {type(record).__name__}"
            )
        return record

    return decode


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not of JSON")
