"""`Cached`: what is read is read once, what is written is stored at once, keys do not meet."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.cached import Cached, chunk_place
from verdict.state.store.keyed import MemoryState


class Dictionary(Cached):
    """Keyed state in a dictionary, which counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[object, bytes] = {}
        self.asked: Counter[str] = Counter()

    def _put(self, place: object, data: bytes | None) -> None:
        self.asked["write"] += 1
        if data is None:
            self.stored.pop(place, None)
        else:
            self.stored[place] = data

    def _read(self) -> bytes | None:
        self.asked["read"] += 1
        return self.stored.get(self.key)

    def _write(self, head: bytes | None) -> None:
        self._put(self.key, head)

    def _read_chunk(self, number: int) -> bytes | None:
        self.asked["read"] += 1
        return self.stored.get((self.key, number))

    def _write_chunk(self, number: int, data: bytes | None) -> None:
        self._put((self.key, number), data)


def test_what_is_in_memory_is_not_read_again() -> None:
    state = Dictionary()
    state.stored = {b"a": b"head", (b"a", 1): b"chunk"}
    state.key = b"a"
    for _ in range(3):
        assert (state.get(), state.chunk(1)) == (b"head", b"chunk")
    assert state.asked == {"read": 2}
    assert (state.cache.hits, state.cache.misses) == (2, 1)
    state.put(b"new")
    state.put_chunk(1, b"newer")
    assert (state.get(), state.chunk(1)) == (b"new", b"newer")
    assert state.asked == {"read": 2, "write": 2}
    assert state.stored == {b"a": b"new", (b"a", 1): b"newer"}


def test_what_was_dropped_is_gone_from_memory_and_store() -> None:
    state = Dictionary()
    state.key = b"a"
    state.put(b"head")
    state.put_chunk(1, b"chunk")
    state.drop()
    state.drop_chunk(1)
    assert (state.get(), state.chunk(1), state.stored) == (None, None, {})


STEPS = st.lists(
    st.tuples(
        st.sampled_from([b"", b"a", b"a" + bytes(8), bytes(8)]),
        st.sampled_from(["put", "drop", "put_chunk", "drop_chunk"]),
        st.sampled_from([0, 1, 127 << 56]),
        st.binary(max_size=3),
    ),
    max_size=30,
)


@given(STEPS)
def test_every_key_remembers_what_one_in_memory_does(
    steps: list[tuple[bytes, str, int, bytes]],
) -> None:
    state, alone = Dictionary(), dict[bytes, MemoryState]()
    for key, what, number, data in steps:
        state.key = key
        for each in (state, alone.setdefault(key, MemoryState())):
            match what:
                case "put":
                    each.put(data)
                case "drop":
                    each.drop()
                case "put_chunk":
                    each.put_chunk(number, data)
                case _:
                    each.drop_chunk(number)
        for known, expected in alone.items():
            state.key = known
            assert state.get() == expected.get()
            for chunk in (0, 1, 127 << 56):
                assert state.chunk(chunk) == expected.chunk(chunk)


def test_chunks_of_keys_that_begin_alike_lie_apart() -> None:
    places = [chunk_place(key, number) for key in (b"a", b"a" + bytes(8)) for number in (0, 1)]
    assert len(set(places)) == len(places)
