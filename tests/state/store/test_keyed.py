"""RocksDB remembers across a reopening; what every `KeyedState` promises is in tests/contract/."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
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
