"""What stands for a record that was refused."""

import hashlib
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.message import Message

MAX_RAW = 65_536
"""Raw bytes kept of a dead letter's key, and of its value."""
MAX_REASON = 1_000
"""Characters of a reason: a decoder's message may quote the record."""
MAX_LETTER = 212_992
"""Bytes that a dead letter takes at most: 208 KiB, far below Kafka's 1 MiB for a request. Its Kafka
key is counted in, and 8 KiB for headers."""
TOMBSTONE = "a tombstone: the record has a key and no value"


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
