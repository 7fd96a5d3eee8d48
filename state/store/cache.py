"""Heads in memory, before a store that is slower to read."""

CAPACITY = 64 << 20
"""Bytes of heads and keys that one hop keeps: some 150,000 heads of 20 events."""
PAGES = 16 << 20
"""Bytes of chunks that one hop keeps: those at the windows' begins of the busiest keys."""
_EACH = 150  # bytes that Python needs beside a head's and a key's own


class HeadCache:
    """Keeps heads in two generations; when the younger is full, the older goes.

    A dictionary whose oldest keys are taken out one by one is searched for its first key, each time
    longer; to reorder it with every use would cost more than it saves.

    Parameters
    ----------
    capacity
        Bytes, of both generations.

    Attributes
    ----------
    hits, misses
        How often a key's head was there, and was not.
    young
        The younger generation.

    Examples
    --------
    >>> cache = HeadCache(capacity=400)
    >>> for key in (b"a", b"b", b"a", b"c"):
    ...     cache.put(key, key.upper())
    >>> cache.get(b"a"), cache.get(b"b"), cache.get(b"c")
    (b'A', None, b'C')
    >>> cache.hits, cache.misses
    (2, 1)
    """

    __slots__ = ("_half", "_left", "_old", "hits", "misses", "young")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._half = self._left = capacity // 2
        self.hits = 0
        self.misses = 0

    def get(self, key: bytes) -> bytes | None:
        """Return a key's head, or None where it is not kept."""
        head = self.young.get(key)
        if head is None:
            head = self._old.get(key)
        if head is None:
            self.misses += 1
        else:
            self.hits += 1
        return head

    def drop(self, key: bytes) -> None:
        """Keep a key's head no longer."""
        self._old.pop(key, None)
        head = self.young.pop(key, None)
        if head is not None:
            self._left += len(head) + len(key) + _EACH

    def put(self, key: bytes, head: bytes) -> None:
        """Keep a key's head, and forget the older generation when there is no room."""
        before = self.young.get(key)
        self.young[key] = head
        if before is None:
            self._left -= len(head) + len(key) + _EACH
        else:
            self._left -= len(head) - len(before)
        if self._left < 0:
            self._old, self.young, self._left = self.young, {}, self._half
