"""The records that verdict puts out: how they are made and encoded."""

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import fastavro

from operators.errors import BadRecord
from operators.message import Message

DECISIONS = "decisions"
DEAD_LETTERS = "dead-letters"
SHADOW_SCORES = "shadow-scores"
DRIFT = "drift"
COMPARISON = "comparison"

MAX_RAW = 65_536
"""Raw bytes kept in a dead letter: with the rest of it far below Kafka's 1 MB for a request."""
MAX_REASON = 1_000
"""Characters of a reason: a decoder's message may quote the record."""
AMOUNT_SCALE = 6
"""Decimal places of an amount in every output schema."""

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
                "decode", f"no record of this stream: {type(error).__name__}: {error}"
            ) from None
        return record

    return decode


def decision_id(pipeline: str, event_id: str) -> str:
    """Derive a decision's id from its pipeline and event: 32 hexadecimal digits.

    >>> decision_id("card-fraud", "t1") == decision_id("card-fraud", "t1")
    True
    >>> decision_id("a", "bc") == decision_id("ab", "c")
    False
    """
    return hashlib.blake2b(f"{pipeline}\0{event_id}".encode(), digest_size=16).hexdigest()


def amount_bytes(unscaled: int, scale: int) -> bytes:
    """Encode an amount as the output schemas' decimal, big-endian two's complement.

    >>> amount_bytes(1234, 2) == (12_340_000).to_bytes(4, "big")
    True
    """
    value: int = unscaled * 10 ** (AMOUNT_SCALE - scale)
    length = value.bit_length() // 8 + 1
    return value.to_bytes(length, "big", signed=True)


def dead_letter(
    pipeline: str,
    job: str,
    message: Message,
    error: BadRecord,
    key: bytes | None,
    value: bytes | None,
) -> dict[str, Any]:
    """Make the dead letter of a record.

    Parameters
    ----------
    message
        For its coordinates.
    error
        What is wrong with it.
    key, value
        Raw, as they came from the topic.
    """
    reason = str(error)
    return {
        "pipeline": pipeline,
        "job": job,
        "stage": error.stage,
        "reason": reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + "…",
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "key": key if key is None else key[:MAX_RAW],
        "value": value if value is None else value[:MAX_RAW],
        "value_size": -1 if value is None else len(value),
        "value_sha256": None if value is None else hashlib.sha256(value).hexdigest(),
    }
