"""The watch job's last hop: the buckets of a window, put together in their order."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from verdict.operators.message import Emit, Message
from verdict.operators.watch.compare import Comparisons
from verdict.operators.watch.drift import Drifts
from verdict.operators.watch.split import BUCKETS, DRIFT
from verdict.state.store.keyed import KeyedState

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
        """Keep a bucket's sums; put out what is said of each window that is whole by them."""
        kind, _, name = (message.key or b"").decode().partition("/")
        summary = json.loads(message.value or b"")
        head = state.get()
        memory: dict[str, Any] = (
            {"layout": LAYOUT, "pending": {}} if head is None else json.loads(head)
        )
        if memory.setdefault("baseline", summary.get("baseline")) != summary.get("baseline"):
            # Another model brings other bins and another mean: what was counted in the old ones
            # cannot be added to them. The windows that are open begin anew.
            memory = {"layout": LAYOUT, "pending": {}, "baseline": summary["baseline"]}
        pending = memory["pending"]
        pending.setdefault(str(summary["window"]), []).append(summary)
        out = []
        watcher = self._drifts if kind == DRIFT else self._comparisons
        for window, parts in whole(pending, memory.get("handed")):
            for past in [past for past in pending if int(past) <= window]:
                del pending[past]
            memory["handed"] = window
            out.append(watcher(name, window, parts, memory))
        state.put(json.dumps(memory).encode())
        return out


def whole(
    pending: dict[str, list[dict[str, Any]]], handed: int | None
) -> Sequence[tuple[int, list[dict[str, Any]]]]:
    """List the pending windows that are whole, oldest first, their parts in the buckets' order.

    Parts of windows up to ``handed``, the last that was handed on, go with the next one.
    """
    windows = sorted(map(int, pending))
    newest = windows[-1]
    found = []
    behind: list[dict[str, Any]] = []
    for window in windows:
        parts = pending[str(window)]
        if handed is not None and window <= handed:
            behind += parts
        elif window < newest or len(parts) >= BUCKETS:
            found.append((window, sorted(behind + parts, key=lambda part: part["bucket"])))
            behind = []
    return found
