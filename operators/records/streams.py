"""Records of the output streams: compiled encoders and decoders."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import fastavro

from verdict.operators.errors import BadRecord
from verdict.operators.names import BadKind

Encode = Callable[[Mapping[str, Any]], bytes]
Decode = Callable[[bytes], dict[str, Any]]


def encoder(schema: Any, prefix: bytes = b"") -> Encode:
    """Compile an encoder: a prefix (Confluent's header, or nothing) and the Avro body.

    Parameters
    ----------
    schema
        Parsed, without logical types: decimals are bytes, times milliseconds.
    """
    schema = fastavro.parse_schema(schema)
    write: Callable[[io.BytesIO, Any, Any], None] = fastavro.schemaless_writer

    def encode(record: Mapping[str, Any]) -> bytes:
        body = io.BytesIO()
        body.write(prefix)
        write(body, schema, record)
        return body.getvalue()

    return encode


def decoder(schema: Any, prefix: int = 0) -> Decode:
    """Compile a decoder of what `encoder` wrote; ``prefix`` is the header's length in bytes."""
    schema = fastavro.parse_schema(schema)
    read = fastavro.schemaless_reader

    def decode(value: bytes) -> dict[str, Any]:
        body = io.BytesIO(value)
        body.seek(prefix)
        try:
            record: dict[str, Any] = read(body, schema, None)
        except Exception as error:  # fastavro raises a dozen kinds for bytes that do not fit
            raise BadRecord(
                BadKind.NOT_AVRO, f"no record of this stream: {type(error).__name__}: {error}"
            ) from None
        return record

    return decode
