"""The records that verdict puts out."""

from decimal import Decimal

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.records.decision import AMOUNT_SCALE, amount_bytes, decision_id
from verdict.operators.records.streams import decoder, encoder


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
