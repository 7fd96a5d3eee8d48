"""Flink's keyed state, as an operator sees it."""

from typing import Any

from verdict.state.errors import StateError
from verdict.state.store.cached import Cached


class FlinkState(Cached):
    """The current key's state in Flink: a ``ValueState``, and a ``MapState`` of chunks.

    The Java object is called without PyFlink's wrapper, which would pickle the bytes; so they lie
    in savepoints as they are.
    """

    __slots__ = ("_head", "_map")

    def __init__(self, head: Any, chunks: Any) -> None:
        super().__init__()
        self._head = head._state
        self._map = chunks

    def _read(self) -> bytes | None:
        head: bytes | None = self._head.value()
        return head

    def _write(self, head: bytes | None) -> None:
        if head is None:
            self._head.clear()
        else:
            self._head.update(head)

    def _read_chunk(self, number: int) -> bytes | None:
        data: bytes | None = self._map.get(number)
        return data

    def _write_chunk(self, number: int, data: bytes | None) -> None:
        if data is None:
            self._map.remove(number)
        else:
            self._map.put(number, data)


class NoState:
    """Stands for the state of a hop without a key, and refuses every use."""

    def __init__(self, hop: str) -> None:
        self._hop = hop
        self.key = b""

    def _refuse(self) -> StateError:
        return StateError(f"hop '{self._hop}' has no key, so no state; make it Hop(keyed=True)")

    def get(self) -> bytes | None:
        """Refuse."""
        raise self._refuse()

    def put(self, head: bytes) -> None:
        """Refuse."""
        raise self._refuse()

    def drop(self) -> None:
        """Refuse."""
        raise self._refuse()

    def chunk(self, number: int) -> bytes | None:
        """Refuse."""
        raise self._refuse()

    def put_chunk(self, number: int, data: bytes) -> None:
        """Refuse."""
        raise self._refuse()

    def drop_chunk(self, number: int) -> None:
        """Refuse."""
        raise self._refuse()
