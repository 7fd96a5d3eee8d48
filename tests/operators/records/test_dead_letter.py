"""A dead letter says all there is to say, and never outgrows what Kafka takes."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.operators.message import Message
from verdict.operators.meter import Meter
from verdict.operators.names import DEAD_LETTERS, EVENTS, BadKind, JobName
from verdict.operators.records.dead_letter import (
    MAX_LETTER,
    MAX_RAW,
    MAX_REASON,
    Refusals,
    dead_letter,
    present,
)
from verdict.operators.records.streams import Decode, Encode

MESSAGE = Message("events", b"key", b"value", "transactions", 3, 42, 1_700_000_000_000)


def test_a_dead_letter_says_all_there_is_to_say() -> None:
    error = BadRecord(BadKind.IMPLAUSIBLE, "field 'amount' is implausible: -5.0")
    assert dead_letter("card-fraud", "score", MESSAGE, error, b"raw key", b"raw value") == {
        "pipeline": "card-fraud",
        "job": "score",
        "stage": "validate",
        "kind": "implausible",
        "reason": "field 'amount' is implausible: -5.0",
        "topic": "transactions",
        "partition": 3,
        "offset": 42,
        "timestamp": 1_700_000_000_000,
        "key": b"raw key",
        "value": b"raw value",
        "value_size": 9,
        "value_sha256": hashlib.sha256(b"raw value").hexdigest(),
    }


def test_a_long_one_is_cut_and_its_hash_is_of_the_whole() -> None:
    value = bytes(range(256)) * 300
    letter = dead_letter(
        "p", "score", MESSAGE, BadRecord(BadKind.NOT_JSON, "x" * 5_000), value, value
    )
    assert letter["key"] == letter["value"] == value[:MAX_RAW]
    assert letter["value_size"] == len(value)
    assert letter["value_sha256"] == hashlib.sha256(value).hexdigest()
    assert letter["reason"] == "x" * MAX_REASON + "…"


@pytest.mark.parametrize(("value", "size"), [(None, -1), (b"", 0)])
def test_a_tombstone_is_not_an_empty_value(value: bytes | None, size: int) -> None:
    letter = dead_letter("p", "score", MESSAGE, BadRecord(BadKind.EMPTY, "why"), None, value)
    assert (letter["key"], letter["value"], letter["value_size"]) == (None, value, size)
    assert (letter["value_sha256"] is None) is (value is None)


SIZES = st.sampled_from([0, 1, MAX_RAW - 1, MAX_RAW, MAX_RAW + 1, 1_000_000])


NAMES = st.text(st.characters(codec="utf-8"), max_size=249)


@given(
    sizes=st.tuples(SIZES, SIZES),
    reason=st.text(st.characters(exclude_categories=()), min_size=1),
    times=st.sampled_from([1, 50, 5_000]),
    names=st.tuples(NAMES, NAMES),
    numbers=st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1)),
)
def test_no_dead_letter_outgrows_what_kafka_takes(
    encode: Callable[[str], Encode],
    decode: Callable[[str], Decode],
    sizes: tuple[int, int],
    reason: str,
    times: int,
    names: tuple[str, str],
    numbers: tuple[int, int],
) -> None:
    """Whatever its record was: lone surrogates in the reason too, which have no bytes."""
    key, value = (b"\xff" * size for size in sizes)
    message = MESSAGE._replace(topic=names[0], timestamp=numbers[0], offset=numbers[1])
    error = BadRecord(BadKind.FUNCTION_ERROR, reason * times)
    letter = dead_letter(names[1], "score", message, error, key, value)
    encoded = encode("dead-letter")(letter)
    assert len(encoded) + len(letter["key"]) <= MAX_LETTER - 8_192
    assert decode("dead-letter")(encoded) == letter


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
