"""Codecs of the output streams: what is encoded is decoded, and other bytes are bad records."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.operators.records.streams import decoder, encoder

SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}],
}


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
