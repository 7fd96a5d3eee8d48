"""What is refused is counted, and goes out as a dead letter."""

from collections.abc import Callable

import pytest

from verdict.operators.errors import BadRecord
from verdict.operators.message import Message
from verdict.operators.meter import Meter
from verdict.operators.names import DEAD_LETTERS, EVENTS, BadKind, JobName
from verdict.operators.records.dead_letter import MAX_RAW, Refusals, present
from verdict.operators.records.streams import Decode, Encode


@pytest.mark.parametrize("key", [b"c1", None, b"k" * (MAX_RAW + 1)])
def test_a_refusal_is_a_letter_that_is_counted(
    encode: Callable[[str], Encode], decode: Callable[[str], Decode], key: bytes | None
) -> None:
    meter = Meter()
    refuse = Refusals("shop", JobName.SHADOW, encode("dead-letter"), meter)
    message = Message(EVENTS, key, None, "payments", 3, 42, 7)
    with pytest.raises(BadRecord, match="a tombstone: the record has a key") as refused:
        present(message.value)
    emit = refuse(message, refused.value)
    assert (emit.output, emit.key) == ("dead-letters", (key or b"")[:MAX_RAW])
    letter = decode("dead-letter")(emit.value)
    assert (letter["job"], letter["stage"], letter["kind"]) == ("shadow", "decode", "tombstone")
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("payments", 3, 42)
    assert (letter["value"], letter["value_size"]) == (None, -1)
    refuse(message._replace(value=b""), BadRecord(BadKind.EMPTY, "nothing"))
    assert dict(meter.counts) == {
        (DEAD_LETTERS, "decode", "tombstone"): 1,
        (DEAD_LETTERS, "decode", "empty"): 1,
    }
