"""Every store of keyed state keeps the same promises: in memory, in RocksDB, in Flink.

Flink's is its `FlinkState` over a stand-in for Java's two state objects, whose backend hands out
copies, as RocksDB does. The real ones are asked in `tests/integration/test_flink.py`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.contract.promises import check_promises
from tests.flink_state import Operator
from verdict.pipelines.engines.flink.state import FlinkState, NoState
from verdict.pipelines.history.store import HistoryStore
from verdict.state.errors import StateError
from verdict.state.store.cache import HeadCache
from verdict.state.store.keyed import KeyedState, MemoryState
from verdict.state.store.rocks import RocksStore

KEYS = st.sampled_from([b"", b"a", b"a\0", b"ab", b"a\0\0\0\0\0\0\0\1"])
"""Keys of which one begins like another, or like another's chunk."""
NUMBERS = st.sampled_from([0, 1, 2**32, 2**63 - 1])
"""Of chunks."""
SMALL = 600
"""Bytes of a cache that holds a handful of heads: most of what is read comes from behind it."""


class Store(Protocol):
    """Keyed state that a process opens, and that another goes on with."""

    def of(self, key: bytes) -> KeyedState:
        """Turn to a key."""
        ...

    def reopen(self) -> None:
        """Commit, end, and begin again."""
        ...

    def close(self) -> None: ...


class Memory:
    """A `MemoryState` a key."""

    def __init__(self, _folder: Path) -> None:
        self._states: dict[bytes, MemoryState] = {}

    def of(self, key: bytes) -> KeyedState:
        return self._states.setdefault(key, MemoryState())

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass


class Rocks:
    """One view of a `RocksStore`, turned from key to key as the embedded engine does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open()

    def _open(self) -> None:
        self._store = RocksStore(self._folder)
        self._state = self._store.keyed("hop")
        self._state.cache, self._state._chunks = HeadCache(SMALL), HeadCache(SMALL)

    def of(self, key: bytes) -> KeyedState:
        self._state.key = key
        return self._state

    def reopen(self) -> None:
        self._store.commit({})
        self._store.close()
        self._open()

    def close(self) -> None:
        self._store.close()


class History:
    """One view of a `HistoryStore`, which ends with its process: it spills, and goes on."""

    def __init__(self, folder: Path) -> None:
        self._store = HistoryStore(folder)
        self._state = self._store.keyed("hop")

    def of(self, key: bytes) -> KeyedState:
        self._state.key = key
        return self._state

    def reopen(self) -> None:
        self._store.spill()

    def close(self) -> None:
        self._store.close()


class Flink:
    """A `FlinkState`, whose heads Java has when it is turned to another key or opened again."""

    def __init__(self, _folder: Path) -> None:
        self._java = Operator()
        self._open()

    def of(self, key: bytes) -> KeyedState:
        self._java.write(*self._state.take_written())
        self._state.key = key
        return self._state

    def _open(self) -> None:
        self._state = FlinkState(self._java)
        self._state.cache, self._state._chunks = HeadCache(SMALL), HeadCache(SMALL)

    def reopen(self) -> None:
        self._java.write(*self._state.take_written())
        self._open()

    def close(self) -> None:
        pass


STORES: dict[str, Callable[[Path], Store]] = {
    "memory": Memory,
    "rocksdb": Rocks,
    "history": History,
    "flink": Flink,
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = STORES[request.param](tmp_path)
    yield made
    made.close()


def test_a_key_keeps_the_promises(store: Store) -> None:
    check_promises(store.of(b"key"))
    check_promises(store.of(b"another key"))


@pytest.mark.parametrize("size", [0, 1, 255, 65_536, 1 << 20])
def test_bytes_of_any_size_come_back(store: Store, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    store.of(b"key").put(data[:size])
    store.of(b"key").put_chunk(1, data[1 : size + 1])
    for _ in range(2):
        state = store.of(b"key")
        assert (state.get(), state.chunk(1)) == (data[:size], data[1 : size + 1])
        store.reopen()


def test_the_same_twice_is_the_same(store: Store) -> None:
    for _ in range(2):
        store.of(b"key").put(b"head")
        store.of(b"key").put_chunk(1, b"chunk")
    assert (store.of(b"key").get(), store.of(b"key").chunk(1)) == (b"head", b"chunk")
    for _ in range(2):
        store.of(b"key").drop()
        store.of(b"key").drop_chunk(1)
    assert (store.of(b"key").get(), store.of(b"key").chunk(1)) == (None, None)
    store.reopen()
    assert (store.of(b"key").get(), store.of(b"key").chunk(1)) == (None, None)


def test_a_head_that_is_dropped_leaves_its_chunks(store: Store) -> None:
    """What goes, and when, is the operator's affair."""
    store.of(b"key").put(b"head")
    store.of(b"key").put_chunk(1, b"chunk")
    store.of(b"key").drop()
    store.reopen()
    assert (store.of(b"key").get(), store.of(b"key").chunk(1)) == (None, b"chunk")


def test_a_hop_without_a_key_has_no_state() -> None:
    state = NoState("decode")
    for use in (
        state.get,
        state.drop,
        lambda: state.put(b""),
        lambda: state.chunk(1),
        lambda: state.put_chunk(1, b""),
        lambda: state.drop_chunk(1),
    ):
        with pytest.raises(StateError, match="hop 'decode' has no key"):
            use()


class AgainstADict(RuleBasedStateMachine):
    """Whatever is done, in any order: it remembers what a dict does."""

    make: Callable[[Path], Store]

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._store = type(self).make(Path(self._folder.name))
        self._heads: dict[bytes, bytes] = {}
        self._chunks: dict[tuple[bytes, int], bytes] = {}
        self._fresh = True

    def teardown(self) -> None:
        self._store.close()
        self._folder.cleanup()

    @rule(key=KEYS, data=st.binary(max_size=300))
    def put(self, key: bytes, data: bytes) -> None:
        self._store.of(key).put(data)
        self._heads[key] = data
        self._fresh = False

    @rule(key=KEYS)
    def drop(self, key: bytes) -> None:
        self._store.of(key).drop()
        self._heads.pop(key, None)
        self._fresh = False

    @rule(key=KEYS, number=NUMBERS, data=st.binary(max_size=300))
    def put_chunk(self, key: bytes, number: int, data: bytes) -> None:
        self._store.of(key).put_chunk(number, data)
        self._chunks[key, number] = data
        self._fresh = False

    @rule(key=KEYS, number=NUMBERS)
    def drop_chunk(self, key: bytes, number: int) -> None:
        self._store.of(key).drop_chunk(number)
        self._chunks.pop((key, number), None)
        self._fresh = False

    @rule(key=KEYS, number=NUMBERS)
    def look(self, key: bytes, number: int) -> None:
        state = self._store.of(key)
        assert state.get() == self._heads.get(key)
        assert state.chunk(number) == self._chunks.get((key, number))

    @precondition(lambda self: not self._fresh)
    @rule()
    def reopen(self) -> None:
        self._store.reopen()
        self._fresh = True

    @invariant()
    def all_is_there(self) -> None:
        for key, head in self._heads.items():
            assert self._store.of(key).get() == head


def machine(name: str) -> Any:
    case: Any = type(f"{name}AgainstADict", (AgainstADict,), {"make": staticmethod(STORES[name])})
    test = case.TestCase
    test.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
    return test


TestMemory, TestRocks = machine("memory"), machine("rocksdb")
TestHistory, TestFlink = machine("history"), machine("flink")
