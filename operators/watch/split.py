"""The watch job's first hop: decisions and shadow scores go to 16 buckets.

A stream that one key must see whole does not scale. So each record goes to one of 16 buckets by a
hash of its event id; a bucket sums up its part of the open window; when the window closes, what it
holds goes to the hop that merges the buckets, in their order (`operators.watch.drift`,
`operators.watch.compare`). A window closes on the data's own time: when a bucket sees an event of a
later one. An event older than the open window counts in the open window: nothing is dropped.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.message import NEXT, Emit, Message
from verdict.operators.meter import Meter
from verdict.operators.names import DECISIONS, SHADOW_SCORES, JobName
from verdict.operators.records.dead_letter import Refusals, present
from verdict.operators.records.streams import Decode, Encode
from verdict.state.store.keyed import KeyedState

BUCKETS = 16
SCORE = "score"
COMPARE = "compare"
DRIFT = "drift"


def bucket(event_id: str) -> int:
    """Return the bucket of an event: the same on every machine and in every run.

    >>> bucket("t1") == bucket("t1") and 0 <= bucket("t1") < BUCKETS
    True
    """
    return hashlib.blake2b(event_id.encode(), digest_size=1).digest()[0] % BUCKETS


class Split:
    """Decodes decisions and shadow scores and sends what is counted of each to its bucket."""

    def __init__(
        self,
        pipeline: str,
        names: Sequence[str],
        decode_decision: Decode,
        decode_shadow: Decode,
        encode_dead: Encode,
    ) -> None:
        self.meter = Meter()
        self._names = [name for name in names if name != SCORE]
        self._decoders: dict[str, Decode] = {
            DECISIONS: decode_decision,
            SHADOW_SCORES: decode_shadow,
        }
        self._pack = struct.Struct(f"<q{len(self._names) + 1}d")
        self._refuse = Refusals(pipeline, JobName.WATCH, encode_dead, self.meter)

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Send what is counted of a record to its bucket; a repeated decision is not counted."""
        try:
            record = self._decoders[message.stream](present(message.value))
        except BadRecord as error:
            return (self._refuse(message, error),)
        number = bucket(record["event_id"])
        if message.stream == DECISIONS:
            if record["repeated"]:
                return ()  # it was counted when it came first
            features = record["features"]
            values = [features.get(name, float("nan")) for name in self._names]
            score = float("nan") if record["score"] is None else record["score"]
            value = self._pack.pack(record["event_time"], *values, score)
            return (Emit(NEXT, b"%s/%02d" % (DRIFT.encode(), number), value),)
        challenger = f"{record['challenger']['name']}:{record['challenger']['version']}"
        key = f"{COMPARE}/{challenger}/{number:02d}"
        return (Emit(NEXT, key.encode(), json.dumps(_compared(record)).encode()),)


def _compared(record: dict[str, Any]) -> dict[str, Any]:
    amount = record["amount"]
    champion, challenger = record["champion"], record["challenger"]
    return {
        "time": record["event_time"],
        "champion": f"{champion['name']}:{champion['version']}",
        "actions": [champion["action"], challenger["action"]],
        "difference": abs(challenger["score"] - champion["score"]),
        "amount": None if amount is None else int.from_bytes(amount, "big", signed=True),
        "currency": record["currency"],
    }
