"""Keyed state with a cache before it, that is written through: what both engines' stores share."""

from abc import ABC, abstractmethod

from verdict.state.store.cache import PAGES, HeadCache


class Cached(ABC):
    """The state of one hop's keys, one after the other: a `KeyedState` of the current key.

    Heads and chunks are kept in memory, and written through at once: to read one costs more than
    all else that is done with it.

    Parameters
    ----------
    key
        The current one; set it before each use.

    Attributes
    ----------
    cache
        The heads in memory.
    """

    __slots__ = ("_chunks", "cache", "key")

    def __init__(self, key: bytes = b"") -> None:
        self.cache = HeadCache()
        self._chunks = HeadCache(PAGES)
        self.key = key

    @abstractmethod
    def _read(self) -> bytes | None:
        """Return the current key's head as it is stored."""

    @abstractmethod
    def _write(self, head: bytes | None) -> None:
        """Store the current key's head; None drops it."""

    @abstractmethod
    def _read_chunk(self, number: int) -> bytes | None:
        """Return a chunk of the current key as it is stored."""

    @abstractmethod
    def _write_chunk(self, number: int, data: bytes | None) -> None:
        """Store a chunk of the current key; None drops it."""

    def get(self) -> bytes | None:
        """Return the head, or None for a key never seen."""
        cache = self.cache
        head = cache.young.get(self.key)
        if head is not None:  # most often: what the cache does, by a call less
            cache.hits += 1
            return head
        head = cache.get(self.key)
        if head is None:
            head = self._read()
            if head is not None:
                self.cache.put(self.key, head)
        return head

    def put(self, head: bytes) -> None:
        """Replace the head."""
        self.cache.put(self.key, head)
        self._write(head)

    def drop(self) -> None:
        """Forget the head."""
        self.cache.drop(self.key)
        self._write(None)

    def chunk(self, number: int) -> bytes | None:
        """Return a chunk, or None where there is none of that number."""
        place = chunk_place(self.key, number)
        data = self._chunks.get(place)
        if data is None:
            data = self._read_chunk(number)
            if data is not None:
                self._chunks.put(place, data)
        return data

    def put_chunk(self, number: int, data: bytes) -> None:
        """Write a chunk."""
        self._chunks.put(chunk_place(self.key, number), data)
        self._write_chunk(number, data)

    def drop_chunk(self, number: int) -> None:
        """Forget a chunk."""
        self._chunks.drop(chunk_place(self.key, number))
        self._write_chunk(number, None)


def chunk_place(key: bytes, number: int) -> bytes:
    """Name a chunk: the number has a fixed length, so none is mistaken for another key's."""
    return key + number.to_bytes(8, "big")
