"""The state of one key, as an operator sees it."""

from typing import Protocol


class KeyedState(Protocol):
    """One head of packed bytes for a key, and chunks beside it, numbered from 0.

    The head is read and written with every event; a chunk only when a window has outgrown the
    head. Flink keeps them as ``ValueState`` and ``MapState<long, bytes>``, rocksdict under
    ``key`` and ``key || chunk``.
    """

    def get(self) -> bytes | None:
        """Return the head, or None for a key never seen."""
        ...

    def put(self, head: bytes) -> None:
        """Replace the head."""
        ...

    def drop(self) -> None:
        """Forget the head."""
        ...

    def chunk(self, number: int) -> bytes | None:
        """Return a chunk, or None where there is none of that number."""
        ...

    def put_chunk(self, number: int, data: bytes) -> None:
        """Write a chunk."""
        ...

    def drop_chunk(self, number: int) -> None:
        """Forget a chunk."""
        ...


class MemoryState:
    """A key's state in memory: for examples, and for a look at what an operator keeps.

    Examples
    --------
    >>> state = MemoryState()
    >>> state.get() is None
    True
    >>> state.put(b"head")
    >>> state.put_chunk(3, b"log")
    >>> state.get(), state.chunk(3), state.chunk(4)
    (b'head', b'log', None)
    """

    def __init__(self) -> None:
        self.head: bytes | None = None
        self.chunks: dict[int, bytes] = {}

    def get(self) -> bytes | None:
        """Return the head, or None for a key never seen."""
        return self.head

    def put(self, head: bytes) -> None:
        """Replace the head."""
        self.head = head

    def drop(self) -> None:
        """Forget the head."""
        self.head = None

    def chunk(self, number: int) -> bytes | None:
        """Return a chunk, or None where there is none of that number."""
        return self.chunks.get(number)

    def put_chunk(self, number: int, data: bytes) -> None:
        """Write a chunk."""
        self.chunks[number] = data

    def drop_chunk(self, number: int) -> None:
        """Forget a chunk."""
        self.chunks.pop(number, None)
