"""Flink's keyed state, as an operator sees it."""

import pickle
from typing import Any

from verdict.state.errors import StateError
from verdict.state.store.cached import Cached


class FlinkState(Cached):
    """The state of a batch's keys, one after the other, in Flink.

    Heads lie there as they are, in a ``ValueState``. What is written of them goes to Flink with
    `take_written`, once a key, when the batch is done; until then Flink has the older ones. Chunks
    lie pickled in a ``MapState``, as PyFlink has it: they come to few events.

    Parameters
    ----------
    java
        The `BatchOperator`.
    """

    __slots__ = ("_java", "_written")

    def __init__(self, java: Any) -> None:
        super().__init__()
        self._java = java
        self._written: dict[bytes, bytes | None] = {}

    def _read(self) -> bytes | None:
        if self.key in self._written:  # and the cache is full
            return self._written[self.key]
        head: bytes | None = self._java.head(self.key)
        return head

    def _write(self, head: bytes | None) -> None:
        self._written[self.key] = head

    def _read_chunk(self, number: int) -> bytes | None:
        pickled = self._java.chunk(self.key, number)
        data: bytes | None = None if pickled is None else pickle.loads(pickled)
        return data

    def _write_chunk(self, number: int, data: bytes | None) -> None:
        if data is None:
            self._java.dropChunk(self.key, number)
        else:
            self._java.putChunk(self.key, number, pickle.dumps(data))

    def take_written(self) -> tuple[tuple[bytes, ...], tuple[bytes | None, ...]]:
        """Return keys and their heads since the last call, None for one to drop."""
        written = self._written
        found = tuple(written), tuple(written.values())
        written.clear()
        return found


class NoState:
    """Stands for the state of a hop without a key, and refuses every use."""

    def __init__(self, hop: str) -> None:
        self._hop = hop
        self.key = b""

    def take_written(self) -> tuple[tuple[bytes, ...], tuple[bytes | None, ...]]:
        """Return nothing."""
        return (), ()

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
