"""Offsets in a savepoint: what the Kafka connector writes, and nothing else."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.pipelines.engines.flink.offsets import split
from verdict.pipelines.errors import FlinkError

NEVER = -(2**63)
"""An unbounded source stops there."""


def element(topic: str, partition: int, offset: int, version: int = 0) -> bytes:
    """Write what `SimpleVersionedSerialization` and `KafkaPartitionSplitSerializer` do."""
    named = topic.encode()
    body = struct.pack(">H", len(named)) + named + struct.pack(">iqq", partition, offset, NEVER)
    return struct.pack(">iii", len(body) + 8, version, len(body)) + body


@given(
    st.lists(
        st.tuples(
            st.text("abcXYZ019._-", min_size=1, max_size=249),
            st.integers(0, 2**31 - 1),
            st.integers(0, 2**63 - 1),
        )
    )
)
def test_each_element_is_read_where_it_lies(found: list[tuple[str, int, int]]) -> None:
    data, starts = b"\0" * 3, []
    for place in found:
        starts.append(len(data))
        data += element(*place)
    assert [split(data, at) for at in starts] == [
        (f"{topic}/{partition}", offset) for topic, partition, offset in found
    ]


def test_partition_that_was_never_read_is_at_its_start() -> None:
    earliest = -2
    assert split(element("events", 0, earliest), 0) == ("events/0", 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        element("events", 0, 5)[:-1],
        element("events", 0, 5, version=1),
        struct.pack(">iii", 12, 0, 4) + b"1234",
        struct.pack(">iiiH", 30, 0, 22, 9) + b"x" * 20,
    ],
)
def test_what_another_release_has_written_is_refused(data: bytes) -> None:
    with pytest.raises(FlinkError, match="offsets are not written as verdict knows it"):
        split(data, 0)
