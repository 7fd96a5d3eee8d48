"""Records that make state, and of which nothing is put out."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flink_state import Operator, flush
from verdict.operators.message import NEXT, Emit, Message
from verdict.pipelines.engines.flink.hop import FlinkHop
from verdict.pipelines.engines.flink.silent import is_silent, written
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.keyed import KeyedState


class Both:
    """Says what it saw to the next hop, and to the world."""

    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        yield Emit("seen", b"k", message.value or b"")
        yield Emit(NEXT, b"k", message.value or b"")


HOPS = (Hop("first", False, Both), Hop("second", False, Both))
JOB = Job("score", "p", ("events", "commands"), HOPS, ("seen",))
TOPICS = ("a-topic", "another")


def outputs(silent: str, source: int, partition: int, offset: int) -> list[int]:
    """Return what a hop puts out of one record: 0 is the next hop."""
    hop, java = FlinkHop(JOB, 0, TOPICS), Operator()
    hop.start(java, silent=silent)
    return [to for _, to, *_ in flush(hop, java, [(source, b"k", b"v", partition, offset, 4)])]


@pytest.mark.parametrize(
    ("silent", "offset", "wanted"),
    [
        (written(False), 0, [1, 0]),
        (written(True), 2**40, [0]),
        (written({"another/1": 7}), 6, [0]),
        (written({"another/1": 7}), 7, [1, 0]),
        (written({"another/0": 7, "a-topic/1": 7, "other/1": 7}), 6, [1, 0]),
    ],
)
def test_hop_puts_out_nothing_of_silent_records(
    silent: str, offset: int, wanted: list[int]
) -> None:
    assert outputs(silent, 1, 1, offset) == wanted


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(TOPICS), st.integers(0, 3)), st.integers(0, 2**63 - 1), min_size=1
    )
)
def test_text_says_the_same_as_the_offsets(ends: dict[tuple[str, int], int]) -> None:
    asked = is_silent(
        written({f"{topic}/{number}": end for (topic, number), end in ends.items()}), TOPICS
    )
    assert asked is not None
    for source, topic in enumerate(TOPICS):
        for partition in range(4):
            end = ends.get((topic, partition), 0)
            assert not asked(source, partition, end)
            assert asked(source, partition, end - 1) or not end
