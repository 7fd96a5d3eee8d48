"""The keyed state of a backfill: in memory, and in RocksDB once it is large."""

from pathlib import Path

from verdict.state.store.cached import chunk_place
from verdict.state.store.rocks import RocksState, RocksStore

EACH = 150
"""Bytes that Python needs beside a head's and a key's own."""


class HistoryStore(RocksStore):
    """A folder of keyed state that need not outlive its process.

    Nothing has to be safe before the end, so heads and chunks lie in dictionaries; where they get
    too large, `spill` puts them all into RocksDB, to be read from there when they are wanted again.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = HistoryStore(Path(folder))
    ...     state = store.keyed("customer", b"c1")
    ...     state.put(b"head")
    ...     held = store.held
    ...     store.spill()
    ...     print(held, store.held, state.get())
    ...     store.close()
    156 0 b'head'
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._states: list[HistoryState] = []

    def keyed(self, hop: str, key: bytes = b"") -> "HistoryState":
        """Return a view of one hop's keys; set its ``key`` before each use."""
        state = HistoryState(self, hop, key)
        self._states.append(state)
        return state

    @property
    def held(self) -> int:
        """Bytes of memory that heads and chunks take."""
        return sum(state.held for state in self._states)

    def spill(self) -> None:
        """Put everything into RocksDB."""
        for state in self._states:
            state.spill()
        self.commit({})


class HistoryState(RocksState):
    """The state of one key of a hop: a `KeyedState` over a `HistoryStore`."""

    __slots__ = ("_chunks_held", "_heads_held", "_spilled")

    def __init__(self, store: HistoryStore, hop: str, key: bytes) -> None:
        super().__init__(store, hop, key)
        self._heads_held: dict[bytes, bytes] = {}
        self._chunks_held: dict[bytes, bytes] = {}
        self._spilled = False

    @property
    def held(self) -> int:
        """Bytes of memory that its heads and chunks take."""
        return sum(
            sum(map(len, held)) + sum(map(len, held.values())) + EACH * len(held)
            for held in (self._heads_held, self._chunks_held)
        )

    def spill(self) -> None:
        """Hand everything to the store, for its next commit."""
        for begin, held in (self._head, self._heads_held), (self._chunk, self._chunks_held):
            for place, data in held.items():
                self._store.put(begin + place, data)
            held.clear()
        self._spilled = True

    def get(self) -> bytes | None:
        """Return the head, or None for a key never seen."""
        head = self._heads_held.get(self.key)
        if head is None and self._spilled:
            head = self._read()
            if head is not None:
                self._heads_held[self.key] = head
        return head

    def put(self, head: bytes) -> None:
        """Replace the head."""
        self._heads_held[self.key] = head

    def drop(self) -> None:
        """Forget the head."""
        self._heads_held.pop(self.key, None)
        if self._spilled:
            self._write(None)

    def chunk(self, number: int) -> bytes | None:
        """Return a chunk, or None where there is none of that number."""
        place = chunk_place(self.key, number)
        data = self._chunks_held.get(place)
        if data is None and self._spilled:
            data = self._read_chunk(number)
            if data is not None:
                self._chunks_held[place] = data
        return data

    def put_chunk(self, number: int, data: bytes) -> None:
        """Write a chunk."""
        self._chunks_held[chunk_place(self.key, number)] = data

    def drop_chunk(self, number: int) -> None:
        """Forget a chunk."""
        self._chunks_held.pop(chunk_place(self.key, number), None)
        if self._spilled:
            self._write_chunk(number, None)
