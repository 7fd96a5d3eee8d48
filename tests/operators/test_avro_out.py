"""Avro put together by hand, against fastavro's writer."""

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from operators import avro_out
from operators.records import Decision, Encode, HopTrace, decision_encoder, decision_id, encoder

LONGS = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(allow_nan=False)
TEXTS = st.text(max_size=80)
VALUES = st.none() | st.booleans() | LONGS | FINITE | TEXTS
NAMES = st.lists(TEXTS, unique=True, max_size=5)


@given(LONGS)
def test_longs(value: int) -> None:
    assert avro_out.long(value) == encoder("long")(value)  # type: ignore[arg-type]


@given(st.text(max_size=200))
def test_texts(value: str) -> None:
    assert avro_out.text(value) == encoder("string")(value)  # type: ignore[arg-type]


@given(st.lists(LONGS, max_size=70))
def test_arrays(values: list[int]) -> None:
    encode = encoder({"type": "array", "items": "long"})
    assert avro_out.array(list(map(avro_out.long, values))) == encode(values)  # type: ignore[arg-type]


@given(st.dictionaries(TEXTS, st.floats(), max_size=70))
def test_doubles_by_name(values: dict[str, float]) -> None:
    encode = encoder({"type": "map", "values": "double"})
    assert avro_out.doubles_by_name(list(values))(*values.values()) == encode(values)


@given(st.dictionaries(TEXTS, VALUES, max_size=70))
def test_values_by_name(values: dict[str, Any]) -> None:
    encode = encoder({"type": "map", "values": ["null", "boolean", "long", "double", "string"]})
    assert avro_out.values_by_name(list(values))({**values, "another": 1}) == encode(values)


HOPS = st.lists(
    st.builds(HopTrace, TEXTS, TEXTS, st.integers(1, 2**62), st.booleans())
    | st.builds(HopTrace, TEXTS, st.none(), st.none(), st.just(False)),
    max_size=3,
)


@given(data=st.data(), hops=HOPS, names=NAMES, fields=NAMES, prefix=st.binary(max_size=5))
def test_a_decision_is_what_fastavro_writes(
    encode: Callable[[str], Encode],
    data: st.DataObject,
    hops: list[HopTrace],
    names: list[str],
    fields: list[str],
    prefix: bytes,
) -> None:
    model = {"name": "m", "version": "ü", "sha256": "c" * 64}
    decision = Decision(
        data.draw(TEXTS),
        data.draw(LONGS),
        hops,
        data.draw(st.none() | st.binary(max_size=100)),
        data.draw(st.none() | TEXTS),
        data.draw(st.booleans()),
        data.draw(st.none() | FINITE),
        data.draw(st.lists(FINITE, max_size=3)),
        data.draw(TEXTS),
        data.draw(TEXTS),
        data.draw(st.lists(TEXTS, max_size=3)),
        data.draw(st.lists(TEXTS, max_size=3)),
        [data.draw(st.floats()) for _ in names],
        {name: data.draw(VALUES) for name in fields},
    )
    record = {
        **decision._asdict(),
        "decision_id": decision_id("shop", decision.event_id),
        "pipeline": "shop",
        "model": model,
        "hops": [hop._asdict() for hop in hops],
        "features": dict(zip(names, decision.features, strict=True)),
    }
    encode_here = decision_encoder("shop", model, names, fields, prefix)
    for _ in range(2):  # the second time from what was kept
        assert encode_here(decision) == prefix + encode("decision")(record)


def test_doubles_keep_their_bits() -> None:
    payload = struct.unpack("<d", bytes([1, 0, 0, 0, 0, 0, 0xF8, 0x7F]))[0]  # a NaN of its own
    assert avro_out.doubles_by_name(["a"])(payload)[3:11] == bytes([1, 0, 0, 0, 0, 0, 0xF8, 0x7F])
