"""The watch job's last hop: the buckets of a window, put together in their order."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from operators.compare import Comparisons
from operators.drift import Drifts
from operators.message import Emit, Message
from operators.watch import BUCKETS, DRIFT
from state.keyed import KeyedState

LAYOUT = 1


class Merge:
    """Waits for a window's buckets and hands it on whole.

    A window is whole when all 16 buckets have closed it, or when one has closed a later window: a
    bucket may be silent for long. What a silent bucket brings after that counts in the next window
    that is handed on, so nothing is dropped. The sums of floats are added in the buckets' order,
    whatever the order in which they came: the same bits in every run.

    The key is ``drift/FEATURE`` or ``compare/CHALLENGER``.
    """

    def __init__(self, drifts: Drifts, comparisons: Comparisons) -> None:
        self._drifts = drifts
        self._comparisons = comparisons

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        kind, _, name = (message.key or b"").decode().partition("/")
        summary = json.loads(message.value or b"")
        head = state.get()
        memory: dict[str, Any] = (
            {"layout": LAYOUT, "pending": {}} if head is None else json.loads(head)
        )
        pending = memory["pending"]
        pending.setdefault(str(summary["window"]), []).append(summary)
        out = []
        for window, parts in whole(pending):
            del pending[str(window)]
            watcher = self._drifts if kind == DRIFT else self._comparisons
            out.append(watcher(name, window, parts, memory))
        state.put(json.dumps(memory).encode())
        return out


def whole(
    pending: dict[str, list[dict[str, Any]]],
) -> Sequence[tuple[int, list[dict[str, Any]]]]:
    """List the pending windows that are whole, oldest first, their parts in the buckets' order."""
    windows = sorted(map(int, pending))
    newest = windows[-1]
    return [
        (window, sorted(pending[str(window)], key=lambda part: part["bucket"]))
        for window in windows
        if window < newest or len(pending[str(window)]) >= BUCKETS
    ]
