"""Keyed state in RocksDB: the embedded engine's store."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rocksdict import Options, Rdict, WriteBatch

from verdict.state.errors import StateError
from verdict.state.store.cached import Cached, chunk_place

HEAD, CHUNK, META = b"h", b"c", b"m"
"""First byte of every stored key."""


class RocksStore:
    """A folder of keyed state that one process owns.

    What operators write stays in memory until `commit` puts it all into one WriteBatch, together
    with what the engine must not lose beside it (offsets). So a crash leaves the state of the last
    commit, never half of a batch.

    Parameters
    ----------
    folder
        Made if it is not there.

    Attributes
    ----------
    dirty
        What was written since the last commit: stored key -> value, None where it is deleted.

    Raises
    ------
    StateError
        Another process holds the folder, or RocksDB cannot open it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = RocksStore(Path(folder))
    ...     state = store.keyed("customer")
    ...     state.key = b"c1"
    ...     state.put(b"head")
    ...     store.commit({"offset": b"7"})
    ...     store.close()
    ...     store = RocksStore(Path(folder))
    ...     print(store.meta("offset"), store.keyed("customer", b"c1").get())
    ...     store.close()
    b'7' b'head'
    """

    def __init__(self, folder: Path) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(str(folder), options)
        except Exception as error:
            if "lock" in str(error).lower():
                raise StateError(
                    f"the state in {folder} is in use by another process: stop that one, or give "
                    "this one a folder of its own (settings.state)"
                ) from None
            raise StateError(f"the state in {folder} cannot be opened: {error}") from None
        self.dirty: dict[bytes, bytes | None] = {}
        self._folder = folder
        self._failed = False

    def keyed(self, hop: str, key: bytes = b"") -> "RocksState":
        """Return a view of one hop's keys; set its ``key`` before each use."""
        return RocksState(self, hop, key)

    def get(self, key: bytes) -> bytes | None:
        """Return what is stored, or written since the last commit."""
        if key in self.dirty:
            return self.dirty[key]
        value: bytes | None = self._db.get(key)
        return value

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write at the next commit; None deletes."""
        self.dirty[key] = value

    @property
    def held(self) -> int:
        """Bytes that wait in memory for the next commit."""
        return sum(len(key) + len(value or b"") for key, value in self.dirty.items())

    def meta(self, name: str) -> bytes | None:
        """Return what a commit put beside the state."""
        return self.get(META + name.encode())

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is stored from a key on, in order; not what was written since the commit."""
        yield from self._db.items(from_key=start)

    def commit(self, meta: Mapping[str, bytes]) -> None:
        """Write everything since the last commit, and ``meta``, in one WriteBatch."""
        batch = WriteBatch(raw_mode=True)
        for key, value in self.dirty.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        for name, value in meta.items():
            batch.put(META + name.encode(), value)
        try:
            self._db.write(batch)
        except Exception as error:  # a full disk, mostly
            self._failed = True
            raise StateError(
                f"the state in {self._folder} cannot be written: {error}; make room and start "
                "again: what was not committed is done again"
            ) from None
        self.dirty.clear()

    def close(self) -> None:
        """Let go of the folder; what was not committed is dropped."""
        self.dirty.clear()
        # What could not be written cannot be closed either, and has been said.
        with contextlib.suppress(Exception) if self._failed else contextlib.nullcontext():
            self._db.close()


class RocksState(Cached):
    """The state of one key of a hop: a `KeyedState` over a `RocksStore`."""

    __slots__ = ("_chunk", "_dirty", "_head", "_store", "_swept")

    def __init__(self, store: RocksStore, hop: str, key: bytes) -> None:
        super().__init__(key)
        self._store = store
        self._dirty = store.dirty
        self._head = HEAD + hop.encode() + b"\0"
        self._chunk = CHUNK + hop.encode() + b"\0"
        self._swept = b""

    def put(self, head: bytes) -> None:
        """Keep and write the head: what `Cached.put` does with each event, by two calls less."""
        key = self.key
        self.cache.put(key, head)
        self._dirty[self._head + key] = head

    def _read(self) -> bytes | None:
        return self._store.get(self._head + self.key)

    def _write(self, head: bytes | None) -> None:
        self._store.put(self._head + self.key, head)

    def _read_chunk(self, number: int) -> bytes | None:
        return self._store.get(self._chunk + chunk_place(self.key, number))

    def _write_chunk(self, number: int, data: bytes | None) -> None:
        self._store.put(self._chunk + chunk_place(self.key, number), data)

    def sweep(self, forgotten: Callable[[bytes], bool], most: int) -> int:
        """Delete the keys whose heads are forgotten, at the next commit.

        Each call goes on where the one before ended, and begins again behind the last key. Nothing
        may have been written since the last commit.

        Parameters
        ----------
        forgotten
            Whether nothing of a head is needed any more.
        most
            Heads to look at.

        Returns
        -------
        int
            Keys deleted.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = RocksStore(Path(folder))
        ...     state = store.keyed("customer")
        ...     for key in (b"c1", b"c2"):
        ...         state.key = key
        ...         state.put(b"head of " + key)
        ...     store.commit({})
        ...     print(state.sweep(lambda head: head.endswith(b"c1"), most=10))
        ...     store.commit({})
        ...     print(store.keyed("customer", b"c1").get(), store.keyed("customer", b"c2").get())
        ...     store.close()
        1
        None b'head of c2'
        """
        deleted = 0
        for looked, (stored, head) in enumerate(self._store.items(self._swept or self._head)):
            if not stored.startswith(self._head) or looked == most:
                break
            if forgotten(head):
                deleted += 1
                key = stored[len(self._head) :]
                self.cache.drop(key)
                self._store.put(stored, None)
                self._drop_chunks(key)
        else:
            stored = b""
        self._swept = stored if stored.startswith(self._head) else b""
        return deleted

    def _drop_chunks(self, key: bytes) -> None:
        start = self._chunk + key
        for stored, _ in self._store.items(start):
            if not stored.startswith(start):
                break
            if len(stored) == len(start) + 8:  # else of a longer key
                self._chunks.drop(stored[len(self._chunk) :])
                self._store.put(stored, None)
