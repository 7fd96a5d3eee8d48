"""Avro put together by hand, against fastavro's writer."""

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.records import avro
from verdict.operators.records.decision import (
    PRESENT,
    decision_encoder,
    decision_id,
    hop_encoder,
    no_hop,
)
from verdict.operators.records.streams import Encode, encoder

LONGS = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(allow_nan=False)
TEXTS = st.text(max_size=80)
VALUES = st.none() | st.booleans() | LONGS | FINITE | TEXTS
NAMES = st.lists(TEXTS, unique=True, max_size=5)


@given(LONGS)
def test_longs(value: int) -> None:
    assert avro.long(value) == encoder("long")(value)  # type: ignore[arg-type]


@given(st.text(max_size=200))
def test_texts(value: str) -> None:
    assert avro.text(value) == encoder("string")(value)  # type: ignore[arg-type]


@given(st.lists(LONGS, max_size=70))
def test_arrays(values: list[int]) -> None:
    encode = encoder({"type": "array", "items": "long"})
    assert avro.array(list(map(avro.long, values))) == encode(values)  # type: ignore[arg-type]


@given(st.lists(st.floats(allow_nan=False), max_size=70))
def test_doubles(values: list[float]) -> None:
    encode = encoder({"type": "array", "items": "double"})
    assert avro.doubles(values) == encode(values)  # type: ignore[arg-type]


@given(VALUES)
def test_values(value: Any) -> None:
    encode = encoder(["null", "boolean", "long", "double", "string"])
    assert avro.value(value) == encode(value)


HOPS: st.SearchStrategy[list[tuple[Any, ...]]] = st.lists(
    st.tuples(TEXTS, TEXTS, st.integers(1, 2**62), st.booleans(), st.lists(TEXTS, max_size=2))
    | st.tuples(TEXTS, st.none(), st.none(), st.just(False), st.just([])),
    max_size=3,
)


@given(data=st.data(), hops=HOPS, names=NAMES, fields=NAMES, prefix=st.binary(max_size=5))
def test_a_decision_is_what_fastavro_writes(
    encode: Callable[[str], Encode],
    data: st.DataObject,
    hops: list[tuple[str, Any, Any, bool, list[str]]],
    names: list[str],
    fields: list[str],
    prefix: bytes,
) -> None:
    model = {"name": "m", "version": "ü", "sha256": "c" * 64}
    known = data.draw(st.permutations(names))
    features = {name: data.draw(st.floats()) for name in known}
    rules = data.draw(st.lists(TEXTS, max_size=3))
    record: dict[str, Any] = {
        "event_id": data.draw(TEXTS),
        "event_time": data.draw(LONGS),
        "repeated": data.draw(st.booleans()),
        "amount": data.draw(st.none() | st.binary(max_size=100)),
        "currency": data.draw(st.none() | TEXTS),
        "score": data.draw(st.none() | FINITE),
        "classes": data.draw(st.lists(FINITE, max_size=3)),
        "action": data.draw(TEXTS),
        "because": data.draw(TEXTS),
        "rules": rules,
        "implausible": data.draw(st.lists(TEXTS, max_size=3)),
        "fields": {name: data.draw(VALUES) for name in fields},
        "pipeline": "shop",
        "model": model,
        "hops": [
            {"entity": entity, "key": key, "hop_seq": seq, "late": late, "cold": cold}
            for entity, key, seq, late, cold in hops
        ],
        "features": {name: features[name] for name in names},
    }
    record["decision_id"] = decision_id("shop", record["event_id"])
    made = [
        no_hop(entity)
        if key is None
        else hop_encoder(entity, cold)(key, seq, late, range(len(cold)))
        for entity, key, seq, late, cold in hops
    ]
    amount, currency = record["amount"], record["currency"]
    money = avro.NULL if amount is None else PRESENT + avro.data(amount)
    money += avro.NULL if currency is None else PRESENT + avro.text(currency)
    encode_here = decision_encoder("shop", model, len(hops), names, known, fields, prefix)
    for _ in range(2):  # the second time from what was kept
        encoded = encode_here(
            record["event_id"],
            record["event_time"],
            made,
            money,
            record["repeated"],
            record["score"],
            record["classes"],
            (record["action"], record["because"], tuple(rules)),
            record["implausible"],
            list(features.values()),
            record["fields"],
        )
        assert encoded == prefix + encode("decision")(record)


def test_doubles_keep_their_bits() -> None:
    payload = struct.unpack("<d", bytes([1, 0, 0, 0, 0, 0, 0xF8, 0x7F]))[0]  # a NaN of its own
    assert avro.doubles([payload])[1:9] == bytes([1, 0, 0, 0, 0, 0, 0xF8, 0x7F])
