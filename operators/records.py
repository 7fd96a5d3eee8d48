"""The records that verdict puts out: how they are made and encoded."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import fastavro

from operators import avro_out as out
from operators.errors import BadRecord
from operators.message import Message

DECISIONS = "decisions"
DEAD_LETTERS = "dead-letters"
SHADOW_SCORES = "shadow-scores"
DRIFT = "drift"
COMPARISON = "comparison"

MAX_RAW = 65_536
"""Raw bytes kept of a dead letter's key, and of its value."""
MAX_REASON = 1_000
"""Characters of a reason: a decoder's message may quote the record."""
MAX_LETTER = 212_992
"""Bytes that a dead letter takes at most: 208 KiB, far below Kafka's 1 MiB for a request. Its Kafka
key is counted in, and 8 KiB for headers."""
ID_BYTES = 16
"""Of a decision's id; twice as many hexadecimal digits."""
AMOUNT_SCALE = 6
"""Decimal places of an amount in every output schema."""

TOMBSTONE = "a tombstone: the record has a key and no value"

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
                "decode", "not-avro", f"no record of this stream: {type(error).__name__}: {error}"
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
    return hashlib.blake2b(f"{pipeline}\0{event_id}".encode(), digest_size=ID_BYTES).hexdigest()


def amount_bytes(unscaled: int, scale: int) -> bytes:
    """Encode an amount as the output schemas' decimal, big-endian two's complement.

    >>> amount_bytes(1234, 2) == (12_340_000).to_bytes(4, "big")
    True
    """
    value: int = unscaled * 10 ** (AMOUNT_SCALE - scale)
    length = value.bit_length() // 8 + 1
    return value.to_bytes(length, "big", signed=True)


class Decision(NamedTuple):
    """What a decision record says that differs from one to the next; ``avro/decision.avsc``."""

    event_id: str
    event_time: int
    hops: Sequence["HopTrace"]
    amount: bytes | None
    currency: str | None
    repeated: bool
    score: float | None
    classes: Sequence[float]
    action: str
    because: str
    rules: Sequence[str]
    implausible: Sequence[str]
    features: Sequence[float]
    fields: Mapping[str, Any]


class HopTrace(NamedTuple):
    """What one hop says of an event in its decision."""

    entity: str
    key: str | None
    hop_seq: int | None
    late: bool


def decision_encoder(
    pipeline: str,
    model: Mapping[str, str],
    features: Sequence[str],
    fields: Sequence[str],
    prefix: bytes = b"",
) -> Callable[[Decision], bytes]:
    """Compile the encoder of a pipeline's decisions.

    Parameters
    ----------
    pipeline
        Its name.
    model
        ``name``, ``version`` and ``sha256`` of the model that decides.
    features, fields
        Names, in the order in which the record has them.
    prefix
        Confluent's header, or nothing.
    """
    # A decision's id is 32 characters, whose length Avro writes as one byte.
    start, after_id = prefix + out.long(2 * ID_BYTES), out.text(pipeline)
    about_model = b"".join(out.text(model[part]) for part in ("name", "version", "sha256"))
    features_of, fields_of = out.doubles_by_name(features), out.values_by_name(fields)
    known: dict[str | tuple[str, ...], bytes] = {}
    """Encoded texts of a small set, none of which an event can choose."""

    def text(value: str) -> bytes:
        encoded = known.get(value)
        if encoded is None:
            encoded = known[value] = out.text(value)
        return encoded

    def texts(values: Sequence[str]) -> bytes:
        if not values:
            return out.END
        key = tuple(values)
        encoded = known.get(key)
        if encoded is None:
            encoded = known[key] = out.array(list(map(out.text, key)))
        return encoded

    def hop(trace: HopTrace) -> bytes:
        entity, key, seq, late = trace
        if key is None or seq is None:
            return text(entity) + NO_HOP
        end = out.TRUE if late else out.FALSE
        return b"".join((text(entity), b"\x02", out.text(key), b"\x02", out.long(seq), end))

    def encode(decision: Decision) -> bytes:
        (
            event_id, event_time, hops, amount, currency, repeated, score, classes, action, because,
            rules, implausible, values, fields,
        ) = decision  # fmt: skip
        return b"".join(
            (
                start,
                decision_id(pipeline, event_id).encode(),
                after_id,
                out.text(event_id),
                out.long(event_time),
                out.long(len(hops)),
                *map(hop, hops),
                out.END if hops else b"",
                out.NULL if amount is None else b"\x02" + out.data(amount),
                out.NULL if currency is None else b"\x02" + out.text(currency),
                about_model,
                out.TRUE if repeated else out.FALSE,
                out.NULL if score is None else b"\x02" + out.double(score),
                out.array(list(map(out.double, classes))) if classes else out.END,
                text(action),
                text(because),
                texts(rules),
                texts(implausible),
                features_of(*values),
                fields_of(fields),
            )
        )

    return encode


NO_HOP = out.NULL + out.NULL + out.FALSE
"""No key, no number, not late."""


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
    # A function of one's own may raise with a lone surrogate in its text, which has no bytes.
    reason = str(error).encode("utf-8", "backslashreplace").decode()
    return {
        "pipeline": pipeline,
        "job": job,
        "stage": error.stage,
        "kind": error.kind,
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
