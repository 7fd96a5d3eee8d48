"""Flink's keyed state, as an operator sees it."""

from typing import Any

from verdict.state.errors import StateError
from verdict.state.store.cache import PAGES, HeadCache


class FlinkState:
    """The current key's state in Flink: a ``ValueState``, and a ``MapState`` of chunks.

    Heads are kept in a cache, and written through to Flink: to read one from RocksDB costs more
    than all else that is done with it. The Java object is called without PyFlink's wrapper, which
    would pickle the bytes; so they lie in savepoints as they are.
    """

    __slots__ = ("_cache", "_chunks", "_head", "_pages", "key")

    def __init__(self, head: Any, chunks: Any) -> None:
        self._head = head._state
        self._chunks = chunks
        self._cache = HeadCache()
        self._pages = HeadCache(PAGES)
        self.key = b""

    @property
    def cache(self) -> HeadCache:
        """The heads in memory."""
        return self._cache

    def get(self) -> bytes | None:
        head = self._cache.get(self.key)
        if head is None:
            head = self._head.value()
            if head is not None:
                self._cache.put(self.key, head)
        return head

    def put(self, head: bytes) -> None:
        self._cache.put(self.key, head)
        self._head.update(head)

    def drop(self) -> None:
        self._cache.drop(self.key)
        self._head.clear()

    def chunk(self, number: int) -> bytes | None:
        place = number.to_bytes(8, "big", signed=True) + self.key
        data = self._pages.get(place)
        if data is None:
            data = self._chunks.get(number)
            if data is not None:
                self._pages.put(place, data)
        return data

    def put_chunk(self, number: int, data: bytes) -> None:
        self._pages.put(number.to_bytes(8, "big", signed=True) + self.key, data)
        self._chunks.put(number, data)

    def drop_chunk(self, number: int) -> None:
        self._pages.drop(number.to_bytes(8, "big", signed=True) + self.key)
        self._chunks.remove(number)


class NoState:
    """Stands for the state of a hop without a key, and refuses every use."""

    def __init__(self, hop: str) -> None:
        self._hop = hop
        self.key = b""

    def _refuse(self) -> StateError:
        return StateError(f"hop '{self._hop}' has no key, so no state; make it Hop(keyed=True)")

    def get(self) -> bytes | None:
        raise self._refuse()

    def put(self, head: bytes) -> None:
        raise self._refuse()

    def drop(self) -> None:
        raise self._refuse()

    def chunk(self, number: int) -> bytes | None:
        raise self._refuse()

    def put_chunk(self, number: int, data: bytes) -> None:
        raise self._refuse()

    def drop_chunk(self, number: int) -> None:
        raise self._refuse()
