"""Heads in memory, before a store that is slower to read."""

CAPACITY = 64 << 20
"""Bytes of heads and keys that one hop keeps: some 150,000 heads of 20 events."""
PAGES = 16 << 20
"""Bytes of chunks that one hop keeps: those at the windows' begins of the busiest keys."""
_EACH = 150  # bytes that Python needs beside a head's and a key's own


class HeadCache:
    """Keeps heads; when they are too many, those that have been kept for longest go first.

    To reorder them with every use would cost more than it saves.

    Parameters
    ----------
    capacity
        Bytes.

    Examples
    --------
    >>> cache = HeadCache(capacity=400)
    >>> for key in (b"a", b"b", b"a", b"c"):
    ...     cache.put(key, key.upper())
    >>> cache.get(b"a"), cache.get(b"b"), cache.get(b"c")
    (None, b'B', b'C')
    >>> cache.hits, cache.misses
    (2, 1)
    """

    __slots__ = ("_heads", "_left", "hits", "misses")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._heads: dict[bytes, bytes] = {}
        self._left = capacity
        self.hits = 0
        self.misses = 0

    def get(self, key: bytes) -> bytes | None:
        """Return a key's head, or None where it is not kept."""
        head = self._heads.get(key)
        if head is None:
            self.misses += 1
        else:
            self.hits += 1
        return head

    def drop(self, key: bytes) -> None:
        """Keep a key's head no longer."""
        head = self._heads.pop(key, None)
        if head is not None:
            self._left += len(head) + len(key) + _EACH

    def put(self, key: bytes, head: bytes) -> None:
        """Keep a key's head, and forget those kept for longest when they grow too large."""
        heads = self._heads
        before = heads.get(key)
        heads[key] = head
        if before is None:
            self._left -= len(head) + len(key) + _EACH
        else:
            self._left -= len(head) - len(before)
        while self._left < 0:
            oldest = next(iter(heads))
            self._left += len(heads.pop(oldest)) + len(oldest) + _EACH
