"""The ids of a key's last events, against a list of all."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.dedupe import SeenState, without_ids
from verdict.state.store.keyed import MemoryState

WINDOW = 10
IDS = st.sampled_from("abcdefgh")
BODIES = st.sampled_from([b"x", b"y"])


@given(st.lists(st.tuples(IDS, BODIES, st.integers(0, 4)), max_size=40))
def test_ids_are_known_for_the_window(events: list[tuple[str, bytes, int]]) -> None:
    state, known, at = MemoryState(), list[tuple[str, bytes, int]](), 0
    for event_id, body, gap in events:
        at += gap
        seen = SeenState(WINDOW)  # made anew: all that is known lies in the state
        found = seen.open(state, event_id, body)
        same = [entry for entry in known if entry[0] == event_id]
        assert found == (same[0][1] == body if same else None)
        assert seen.get() == (b"rest" if known else None)
        if found is None:
            known = [entry for entry in known if entry[2] > at - WINDOW]
            known.append((event_id, body, at))
            seen.add(at)
            seen.put(b"rest")
            assert state.head is not None
            assert len(state.head) == 5 + 24 * len(known) + len(b"rest")
            assert without_ids(state.head) == b"rest"


def test_a_head_without_ids_is_taken_as_it_is() -> None:
    state = MemoryState()
    state.put(b"\x01head")
    seen = SeenState(WINDOW)
    assert seen.open(state, "a", b"x") is None
    assert seen.get() == without_ids(b"\x01head") == b"\x01head"


def test_chunks_are_those_of_the_key() -> None:
    state, seen = MemoryState(), SeenState(WINDOW)
    seen.open(state, "a", b"x")
    seen.put_chunk(3, b"chunk")
    assert seen.chunk(3) == state.chunk(3) == b"chunk"
    seen.drop_chunk(3)
    assert state.chunk(3) is None
