"""Every `KeyedState` keeps the same promises: in memory, and in RocksDB across a reopening."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.state.store.keyed import KeyedState, MemoryState
from verdict.state.store.rocks import RocksStore

BYTES = st.binary(max_size=8)
KEYS = st.sampled_from([b"", b"a", b"a\0", b"ab", b"a\0\0\0\0\0\0\0\1"])
"""Keys of which one begins like another, or like another's chunk."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, BYTES),
        st.tuples(st.just("put_chunk"), KEYS, st.integers(0, 3), BYTES),
        st.tuples(st.just("drop_chunk"), KEYS, st.integers(0, 3)),
        st.tuples(st.just("reopen")),
    ),
    max_size=25,
)


def check_promises(state: KeyedState) -> None:
    assert state.get() is None
    assert state.chunk(0) is None
    state.drop_chunk(0)  # of a chunk that is not there: nothing
    state.put(b"one")
    state.put(b"")
    assert state.get() == b""
    state.put_chunk(0, b"first")
    state.put_chunk(2**32, b"far")
    state.put_chunk(0, b"first again")
    assert (state.chunk(0), state.chunk(1), state.chunk(2**32)) == (b"first again", None, b"far")
    state.drop_chunk(0)
    assert state.chunk(0) is None
    assert state.get() == b""


def test_memory_keeps_the_promises() -> None:
    check_promises(MemoryState())


def test_rocksdb_keeps_the_promises(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    check_promises(store.keyed("hop", b"key"))
    store.close()


@settings(max_examples=10)
@given(STEPS)
def test_rocksdb_remembers_what_memory_does(steps: list[tuple[Any, ...]]) -> None:
    expected: dict[bytes, MemoryState] = {}
    with TemporaryDirectory() as folder:
        store = RocksStore(Path(folder))
        for name, *arguments in steps:
            if name == "reopen":
                store.commit({})
                store.close()
                store = RocksStore(Path(folder))
                continue
            key, *rest = arguments
            for state in (store.keyed("hop", key), expected.setdefault(key, MemoryState())):
                getattr(state, name)(*rest)
        for key, memory in expected.items():
            state = store.keyed("hop", key)
            assert state.get() == memory.get()
            assert [state.chunk(n) for n in range(4)] == [memory.chunk(n) for n in range(4)]
        store.close()
