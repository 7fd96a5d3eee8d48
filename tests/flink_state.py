"""Flink's two state objects, by hand: what `FlinkState` is tested over without a JVM."""


class Backend:
    """Flink's state backend: what belongs to the current key, by copies."""

    def __init__(self) -> None:
        self.key = b""
        self.heads: dict[bytes, bytes] = {}
        self.chunks: dict[tuple[bytes, int], bytes] = {}


class ValueState:
    """Java's, which PyFlink's wrapper has in ``_state``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._state = self

    def value(self) -> bytes | None:
        head = self._backend.heads.get(self._backend.key)
        return None if head is None else bytes(bytearray(head))

    def update(self, head: bytes) -> None:
        self._backend.heads[self._backend.key] = bytes(bytearray(head))

    def clear(self) -> None:
        self._backend.heads.pop(self._backend.key, None)


class MapState:
    """PyFlink's."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def get(self, number: int) -> bytes | None:
        return self._backend.chunks.get((self._backend.key, number))

    def put(self, number: int, data: bytes) -> None:
        self._backend.chunks[self._backend.key, number] = bytes(bytearray(data))

    def remove(self, number: int) -> None:
        self._backend.chunks.pop((self._backend.key, number), None)
