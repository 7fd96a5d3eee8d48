"""The ids of a key's last events: what tells a producer's retry from a new event."""

import struct
from hashlib import blake2b

from verdict.state.store.keyed import KeyedState

IDS = 0xD1
"""First byte of a head that begins with ids; no layout of `state.windows.general` has this
number."""
_START = struct.Struct("<BI")  # IDS, number of entries
_ENTRY = struct.Struct("<8s8sq")  # digests of the id and of the record, the event's time


class SeenState:
    """A key's state, in whose head the ids of its last events stand before the rest.

    One stands for all keys of a hop, and is of the key that it was turned to last.
    Each costs 24 bytes of the head. Two ids of one key are taken for the same once in 2**64 pairs.

    Parameters
    ----------
    window
        Milliseconds of event time for which an id is remembered.

    Examples
    --------
    >>> from verdict.state.store.keyed import MemoryState
    >>> seen, key = SeenState(1_000), MemoryState()
    >>> seen.open(key, "e1", b"body") is None
    True
    >>> seen.add(5)
    >>> seen.put(b"the rest")
    >>> seen.open(key, "e1", b"body"), seen.open(key, "e1", b"another body")
    (True, False)
    >>> seen.get()
    b'the rest'
    """

    __slots__ = ("_body", "_id", "_ids", "_rest", "_state", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._ids = b""
        self._rest: bytes | None = None

    def turn_to(self, state: KeyedState) -> None:
        """Turn to a key: from now on this is its state, and a `put` leaves the ids as they are."""
        self._state = state
        head = state.get()
        self._ids, self._rest = (b"", None) if head is None else _split(head)

    def open(self, state: KeyedState, event_id: str, body: bytes) -> bool | None:
        """Turn to a key and to one of its events.

        Returns
        -------
        bool or None
            None for an id that is new; else whether the record is the same as it was.
        """
        self.turn_to(state)
        self._id = blake2b(event_id.encode(), digest_size=8).digest()
        self._body = blake2b(body, digest_size=8).digest()
        at = self._ids.find(self._id)
        while at % _ENTRY.size and at > 0:  # across the parts of an entry
            at = self._ids.find(self._id, at + 1)
        return None if at < 0 else self._ids[at + 8 : at + 16] == self._body

    def add(self, at: int) -> None:
        """Remember the event's id from the next `put` on, and forget those of too long ago."""
        start = 0
        while start < len(self._ids):
            if _ENTRY.unpack_from(self._ids, start)[2] > at - self.window:
                break
            start += _ENTRY.size
        self._ids = self._ids[start:] + _ENTRY.pack(self._id, self._body, at)

    def get(self) -> bytes | None:
        """Return what stands behind the ids, or None where there is nothing."""
        return self._rest

    def put(self, head: bytes) -> None:
        """Replace the head."""
        self._state.put(_START.pack(IDS, len(self._ids) // _ENTRY.size) + self._ids + head)

    def drop(self) -> None:
        """Forget the head."""
        self._state.drop()

    def chunk(self, number: int) -> bytes | None:
        """Return a chunk, or None where there is none of that number."""
        return self._state.chunk(number)

    def put_chunk(self, number: int, data: bytes) -> None:
        """Write a chunk."""
        self._state.put_chunk(number, data)

    def drop_chunk(self, number: int) -> None:
        """Forget a chunk."""
        self._state.drop_chunk(number)


def ids_of(head: bytes) -> int:
    """Count the ids before a head."""
    return int(_START.unpack_from(head)[1]) if head[0] == IDS else 0


def without_ids(head: bytes) -> bytes:
    """Return a head without the ids before it: those of a job that remembers none any more."""
    return _split(head)[1]


def _split(head: bytes) -> tuple[bytes, bytes]:
    if head[0] != IDS:
        return b"", head
    _, count = _START.unpack_from(head)
    end = _START.size + count * _ENTRY.size
    return head[_START.size : end], head[end:]
