"""The records that verdict puts out."""

import hashlib
from collections.abc import Callable
from decimal import Decimal

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.operators.message import Message
from verdict.operators.names import BadKind
from verdict.operators.records.dead_letter import MAX_LETTER, MAX_RAW, MAX_REASON, dead_letter
from verdict.operators.records.decision import AMOUNT_SCALE, amount_bytes, decision_id
from verdict.operators.records.streams import Decode, Encode, decoder, encoder

SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}],
}
MESSAGE = Message("events", b"key", b"value", "transactions", 3, 42, 1_700_000_000_000)


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([b"", b"\0\0\0\0\7"]))
def test_what_is_encoded_is_decoded(text: str, number: int, prefix: bytes) -> None:
    record = {"id": text, "n": number}
    value = encoder(SCHEMA, prefix)(record)
    assert value.startswith(prefix)
    assert decoder(SCHEMA, len(prefix))(value) == record


@given(st.binary(max_size=30))
def test_arbitrary_bytes_are_a_record_or_a_bad_one(value: bytes) -> None:
    try:
        record = decoder(SCHEMA)(value)
    except BadRecord as error:
        assert error.stage == "decode"
        assert "no record of this stream" in str(error)
    else:
        assert record.keys() == {"id", "n"}


def test_a_decision_id_is_derived() -> None:
    assert decision_id("card-fraud", "t1") == "32709fcd8ea9d35525fee9f7c43a9406"
    assert decision_id("card-fraud", "t1") != decision_id("card-fraud", "t2")
    assert decision_id("a", "b\0c") != decision_id("a", "b")


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, AMOUNT_SCALE))
def test_amounts_are_decimals_of_six_places(unscaled: int, scale: int) -> None:
    schema = fastavro.parse_schema(
        {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": AMOUNT_SCALE}
    )
    encoded = encoder("bytes")(amount_bytes(unscaled, scale))  # type: ignore[arg-type]
    assert decoder(schema)(encoded) == Decimal(unscaled).scaleb(-scale)


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
