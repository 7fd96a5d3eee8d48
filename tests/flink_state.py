"""Java's operator, by hand: what a `FlinkHop` and its state are tested over without a JVM."""

import pickle
import struct
from typing import Any

from verdict.pipelines.engines.flink.hop import NUMBERS


class Operator:
    """The state that a `BatchOperator` keeps, by copies."""

    def __init__(self) -> None:
        self.heads: dict[bytes, bytes] = {}
        self.chunks: dict[tuple[bytes, int], bytes] = {}
        self.reads = 0

    def head(self, key: bytes) -> bytes | None:
        self.reads += 1
        head = self.heads.get(key)
        return None if head is None else bytes(bytearray(head))

    def chunk(self, key: bytes, number: int) -> bytes | None:
        return self.chunks.get((key, number))

    def putChunk(self, key: bytes, number: int, pickled: bytes) -> None:
        assert isinstance(pickle.loads(pickled), bytes)
        self.chunks[key, number] = bytes(bytearray(pickled))

    def dropChunk(self, key: bytes, number: int) -> None:
        self.chunks.pop((key, number), None)

    def write(self, keys: tuple[bytes, ...], heads: tuple[bytes | None, ...]) -> None:
        assert len(set(keys)) == len(keys)
        for key, head in zip(keys, heads, strict=True):
            if head is None:
                self.heads.pop(key, None)
            else:
                self.heads[key] = bytes(bytearray(head))


Record = tuple[int, bytes | None, Any, int, int, int]
"""Source, key, value, partition, offset, timestamp."""


def flush(hop: Any, java: Operator, records: list[Record]) -> list[tuple[int, int, bytes, Any]]:
    """Do as `BatchOperator.flush`; return of each record put out its cause, output, key, value."""
    numbers = b"".join(NUMBERS.pack(source, *place) for source, _, _, *place in records)
    keys, values = tuple(each[1] for each in records), tuple(each[2] for each in records)
    names, heads, which, out_keys, out_values = hop.batch(numbers, keys, values)
    java.write(names, heads)
    pairs = struct.iter_unpack("<ii", which)
    rows = zip(pairs, out_keys, out_values, strict=True)
    return [(cause, to, key, value) for (cause, to), key, value in rows]
