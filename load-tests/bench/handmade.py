"""The work of ``one-entity.yaml`` written by hand, for the peers: features, score, action.

No framework and no settings: what one would write for this one job. Imports nothing of verdict,
for Quix Streams runs in a virtual environment of its own.
"""

import json
import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import onnxruntime

onnxruntime.disable_telemetry_events()

HERE = Path(__file__).parent
MODEL_VERSION = "1"

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DAYS = (1, 3, 7)
KEPT_MS = 7 * DAY_MS + HOUR_MS
"""How long a payment is remembered: the longest window, and an hour for those that come late."""

FEATURES = (
    *(f"customer_count_{days}d" for days in DAYS),
    *(f"customer_mean_{days}d" for days in DAYS),
    "amount", "log_amount", "hour", "night", "weekend", "online", "abroad", "distance", "effort",
)  # fmt: skip


def schema(name: str) -> Any:
    """Read a schema; without logical types, which fastavro is slow to turn into Python's."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: plain(part) for key, part in node.items() if key != "logicalType"}
        return [plain(part) for part in node] if isinstance(node, list) else node

    return fastavro.parse_schema(plain(json.loads((HERE / name).read_text("utf-8"))))


def features(event: dict[str, Any], packed: bytes | None) -> tuple[list[float], bytes]:
    """Return an event's features, and its customer's new state.

    Parameters
    ----------
    event
        Decoded without logical types.
    packed
        The customer's payments in time order: all times in milliseconds, then all amounts in cents.
    """
    at, cents = event["time"], int.from_bytes(event["amount"], "big", signed=True)
    history = array("q", packed or b"")
    half = len(history) // 2
    times, amounts = history[:half], history[half:]
    if not times or at >= times[-1]:
        times.append(at)
        amounts.append(cents)
        forgotten = bisect_right(times, at - KEPT_MS)
        if forgotten:
            del times[:forgotten], amounts[:forgotten]
        end = len(times)
    else:
        end = bisect_right(times, at) + 1
        times.insert(end - 1, at)
        amounts.insert(end - 1, cents)
    counts, means = [], []
    for days in DAYS:
        start = bisect_right(times, at - days * DAY_MS, 0, end)
        counts.append(float(end - start))
        means.append(sum(amounts[start:end]) / ((end - start) * 100))
    amount, distance = cents / 100, event["distance"]
    hour = at // HOUR_MS % 24
    row = [
        *counts,
        *means,
        amount,
        math.log1p(amount),
        float(hour),
        float(hour < 6),
        float((at // DAY_MS + 3) % 7 >= 5),
        float(event["channel"] == "online"),
        float(event["country"] not in ("BE", "NL")),
        distance,
        amount / (1 + distance),
    ]
    return row, times.tobytes() + amounts.tobytes()


class Model:
    """The model in one thread, as verdict runs it."""

    def __init__(self, path: Path = HERE / "models" / "one-entity" / "model.onnx") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Score rows of features in one call."""
        found = self._session.run(["probabilities"], {"features": np.array(rows, np.float32)})[0]
        scores: list[float] = found[:, 1].tolist()
        return scores


def decision(event: dict[str, Any], row: Sequence[float], score: float) -> dict[str, Any]:
    """Decide, and make the record of ``decision.avsc``."""
    if row[6] > 400:  # the amount
        action = "review"
    elif score >= 0.8:
        action = "decline"
    elif score >= 0.4:
        action = "review"
    else:
        action = "approve"
    return {
        "event_id": event["id"],
        "time": event["time"],
        "score": score,
        "action": action,
        "model_version": MODEL_VERSION,
        **dict(zip(FEATURES, row, strict=True)),
    }
