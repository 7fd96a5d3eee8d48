"""What stands for a record that was refused: made, counted and encoded the same in every job."""

import hashlib
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.message import Emit, Message
from verdict.operators.meter import Meter
from verdict.operators.names import BadKind, JobName, Stream
from verdict.operators.records.streams import Encode

MAX_RAW = 65_536
"""Raw bytes kept of a dead letter's key, and of its value."""
MAX_REASON = 1_000
"""Characters of a reason: a decoder's message may quote the record."""
MAX_LETTER = 212_992
"""Bytes that a dead letter takes at most: 208 KiB, far below Kafka's 1 MiB for a request. Its Kafka
key is counted in, and 8 KiB for headers."""


def present(value: bytes | None) -> bytes:
    """Return a record's value; refuse a tombstone, which has none.

    >>> present(b"")
    b''
    >>> present(None)
    Traceback (most recent call last):
    verdict.operators.errors.BadRecord: a tombstone: the record has a key and no value
    """
    if value is None:
        raise BadRecord(BadKind.TOMBSTONE, "a tombstone: the record has a key and no value")
    return value


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


class Refusals:
    """Makes the dead letters of an operator, and counts them by stage and kind.

    Parameters
    ----------
    pipeline, job
        Their names.
    encode
        Encodes a dead letter.
    meter
        The operator's.
    """

    def __init__(self, pipeline: str, job: JobName, encode: Encode, meter: Meter) -> None:
        self._pipeline = pipeline
        self._job = job
        self._encode = encode
        self._meter = meter

    def __call__(self, message: Message, error: BadRecord) -> Emit:
        """Make one.

        Parameters
        ----------
        message
            With the key and the value that the record came with, which a later hop has to put back.
        error
            What is wrong with it.
        """
        self._meter.counts[Stream.DEAD_LETTERS, error.stage, error.kind] += 1
        key, value = message.key, message.value
        letter = dead_letter(self._pipeline, self._job, message, error, key, value)
        return Emit(Stream.DEAD_LETTERS, letter["key"] or b"", self._encode(letter))
