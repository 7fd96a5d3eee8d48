"""The watch job's second hop: one bucket's part of a window."""

import hashlib
import json
import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from verdict.operators.message import NEXT, Emit, Message
from verdict.operators.models.histogram import bin_of
from verdict.operators.watch.compare import add_amount
from verdict.operators.watch.split import DRIFT
from verdict.state.store.keyed import KeyedState

LAYOUT = 1
_HEAD = struct.Struct("<B8sqq")  # layout, fingerprint of what is counted, window start, events


@dataclass(frozen=True)
class Watched:
    """One number that is watched: a feature or the score, with its baseline.

    Attributes
    ----------
    edges, expected
        The baseline's bins and counts; both empty without a baseline.
    mean, std
        The baseline's.
    warm_up
        Milliseconds until the feature's own window is filled.
    """

    name: str
    edges: tuple[float, ...]
    expected: tuple[int, ...]
    mean: float
    std: float
    warm_up: int


class Bucket:
    """Sums up one bucket's part of the open window.

    Parameters
    ----------
    watched
        The features and the score, in the order in which `Split` packs them.
    window
        Milliseconds of event time.
    """

    def __init__(self, watched: Sequence[Watched], window: int) -> None:
        self._watched = watched
        self._window = window
        self._unpack = struct.Struct(f"<q{len(watched)}d")
        self._offsets = []
        self._cells = 0
        for item in watched:
            self._offsets.append(self._cells)
            self._cells += len(item.edges) + 2
        layout = json.dumps([(item.name, item.edges) for item in watched])
        self._fingerprint = hashlib.blake2b(layout.encode(), digest_size=8).digest()

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Count a decision or a shadow score; put out the bucket's sums when its window closes."""
        key = message.key or b""
        if key.startswith(DRIFT.encode()):
            return self._decision(key, message.value or b"", state)
        return self._shadow(key, message.value or b"", state)

    def _decision(self, key: bytes, value: bytes, state: KeyedState) -> Iterable[Emit]:
        time, *numbers = self._unpack.unpack(value)
        start = time - time % self._window
        counts, sums = array("q"), array("d")
        opened, events = start, 0
        out: list[Emit] = []
        head = state.get()
        if head is not None and head[1:9] == self._fingerprint:
            _, _, opened, events = _HEAD.unpack_from(head)
            middle = _HEAD.size + 8 * self._cells
            counts.frombytes(head[_HEAD.size : middle])
            sums.frombytes(head[middle:])
            if start > opened:
                out = self._close(key, opened, events, counts, sums)
                opened, events, counts, sums = start, 0, array("q"), array("d")
        if not events:
            counts.frombytes(bytes(8 * self._cells))
            sums.frombytes(bytes(16 * len(self._watched)))
        for i, number in enumerate(numbers):
            item = self._watched[i]
            counts[self._offsets[i] + bin_of(item.edges, number)] += 1
            if number == number:
                # Around the baseline's mean, so that the squares do not cancel out.
                centred = number - item.mean
                sums[2 * i] += centred
                sums[2 * i + 1] += centred * centred
        packed = _HEAD.pack(LAYOUT, self._fingerprint, opened, events + 1)
        state.put(packed + counts.tobytes() + sums.tobytes())
        return out

    def _close(
        self, key: bytes, opened: int, events: int, counts: "array[int]", sums: "array[float]"
    ) -> list[Emit]:
        number = int(key.rpartition(b"/")[2])
        out = []
        for i, item in enumerate(self._watched):
            at = self._offsets[i]
            summary = {
                "window": opened,
                "bucket": number,
                "baseline": self._fingerprint.hex(),
                "counts": list(counts[at : at + len(item.edges) + 2]),
                "sum": sums[2 * i],
                "squares": sums[2 * i + 1],
            }
            value = json.dumps(summary).encode()
            out.append(Emit(NEXT, f"{DRIFT}/{item.name}".encode(), value))
        return out

    def _shadow(self, key: bytes, value: bytes, state: KeyedState) -> Iterable[Emit]:
        record = json.loads(value)
        start = record["time"] - record["time"] % self._window
        head = state.get()
        summary = _opened(start) if head is None else json.loads(head)
        out: list[Emit] = []
        if start > summary["window"]:
            stem, _, number = key.rpartition(b"/")
            summary["bucket"] = int(number)
            out.append(Emit(NEXT, stem, json.dumps(summary).encode()))
            summary = _opened(start)
        summary["champion"] = record["champion"]
        summary["difference"] += record["difference"]
        pair = summary["pairs"].setdefault(json.dumps(record["actions"]), [0, {}])
        pair[0] += 1
        if record["amount"] is not None and record["currency"] is not None:
            add_amount(pair[1], record["currency"], record["amount"])
        state.put(json.dumps(summary).encode())
        return out


def _opened(start: int) -> dict[str, Any]:
    return {"layout": LAYOUT, "window": start, "champion": "", "difference": 0.0, "pairs": {}}
