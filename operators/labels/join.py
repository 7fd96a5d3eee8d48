"""The ``labels`` job: labels that know their event's id alone get its time and keys.

Decisions and labels are sent to their event's id. Whichever comes first waits there for the other,
so what comes out does not depend on their order.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.labels.label import Label
from verdict.operators.labels.read import ReadsLabel, entity_label
from verdict.operators.message import NEXT, AgreedTime, Emit, Message
from verdict.operators.meter import Meter
from verdict.operators.names import ENTITY_LABELS, LABELS, BadKind, JobName
from verdict.operators.records.dead_letter import Refusals, present
from verdict.operators.records.streams import Decode, Encode
from verdict.state.errors import StateError
from verdict.state.store.keyed import KeyedState

LAYOUT = b"\x01"
"""First byte of a head; then the time that it is of in eight, then JSON."""
BODY = 9
DECIDED, WAITING = "decided", "waiting"
MOST = 100
"""Labels that wait for one decision; a further one is a dead letter."""


class Route:
    """Reads decisions and labels, and sends each to its event's id.

    Parameters
    ----------
    pipeline
        Its name.
    decode
        Of decisions.
    read
        Raw record to label.
    encode_dead
        Encodes a dead letter.
    """

    def __init__(
        self, pipeline: str, decode: Decode, read: ReadsLabel, encode_dead: Encode
    ) -> None:
        self.meter = Meter()
        self._decode = decode
        self._read = read
        self._refuse = Refusals(pipeline, JobName.LABELS, encode_dead, self.meter)

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Send a decision's time and keys, or a label, to its event's id."""
        try:
            if message.stream == LABELS:
                label = self._read(message.value)
                value: Any = (label, message.key, message.value)
                return (Emit(NEXT, label.event_id.encode(), value),)
            decision = self._decode(present(message.value))
        except BadRecord as error:
            return (self._refuse(message, error),)
        keys = [[hop["entity"], hop["key"]] for hop in decision["hops"]]
        value = (decision["event_time"], keys)
        return (Emit(NEXT, decision["event_id"].encode(), value),)


class Join:
    """Remembers of an event its time and keys, or the labels that came before its decision.

    Of several decisions of an event the first counts, as for all who read them. A label that comes
    again while it waits is taken once.

    Parameters
    ----------
    pipeline
        Its name.
    horizon
        Milliseconds of event time for which either is remembered.
    encode
        Encodes an entity's label.
    encode_dead
        Encodes a dead letter.

    Examples
    --------
    >>> from verdict.state.store.keyed import MemoryState
    >>> join = Join("shop", 60_000, lambda label: label["keys"], lambda letter: b"")
    >>> label = Label("e1", None, (), True, 7_000, "bank", 0)
    >>> at = Message(LABELS, b"e1", (label, None, b"raw"), "chargebacks", 0, 0, -1)
    >>> state = MemoryState()
    >>> join(at, state)
    ()
    >>> join(at._replace(stream="decisions", value=(5_000, [["card", "c1"]])), state)
    [Emit(output='entity-labels', key=b'c1', value=[{'entity': 'card', 'key': 'c1'}])]
    """

    def __init__(self, pipeline: str, horizon: int, encode: Encode, encode_dead: Encode) -> None:
        self.meter = Meter()
        self._pipeline = pipeline
        self._horizon = horizon
        self._encode = encode
        self._refuse = Refusals(pipeline, JobName.LABELS, encode_dead, self.meter)
        self._agreed = AgreedTime()

    def forgotten(self, head: bytes) -> bool:
        """Whether a decision, or labels without one, are older than what is remembered.

        Twice that, by decisions' `AgreedTime`, as for an entity's state. Of labels that wait, the
        time is when the last of them was known.
        """
        return (
            int.from_bytes(head[1:BODY], "big", signed=True)
            <= self._agreed.newest - 2 * self._horizon
        )

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Take a decision and put out the labels that waited for it; or take a label."""
        if message.stream == LABELS:
            return self._label(message, state)
        time, keys = message.value
        self._agreed.take(time)
        kind, said = _unpacked(state.get())
        if kind == DECIDED:
            return ()
        state.put(_packed(time, DECIDED, keys))
        event_id = (message.key or b"").decode()
        return [
            self._emit(Label(event_id, None, (), positive, known_at, source, 0), time, keys)
            for positive, known_at, source in (said if kind == WAITING else ())
        ]

    def _label(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        label, raw_key, raw = message.value
        head = state.get()
        kind, said = _unpacked(head)
        if kind == DECIDED:
            assert head is not None
            return (self._emit(label, _time(head), said),)
        waiting = said if kind == WAITING else []
        each = [label.positive, label.known_at, label.source]
        if each in waiting:
            return ()
        if len(waiting) == MOST:
            error = BadRecord(
                BadKind.TOO_MANY,
                f"{MOST} labels wait for the decision of event {label.event_id!r} already: mend "
                "the feed",
            )
            return (self._refuse(message._replace(key=raw_key, value=raw), error),)
        time = label.known_at if head is None else max(label.known_at, _time(head))
        state.put(_packed(time, WAITING, [*waiting, each]))
        return ()

    def _emit(self, label: Label, time: int, keys: Sequence[tuple[str, str | None]]) -> Emit:
        record = entity_label(label, self._pipeline, time, keys)
        return Emit(ENTITY_LABELS, (keys[0][1] or "").encode(), self._encode(record))


def _packed(time: int, kind: str, record: Any) -> bytes:
    body = json.dumps([kind, record], separators=(",", ":"), ensure_ascii=False)
    return LAYOUT + time.to_bytes(8, "big", signed=True) + body.encode()


def _time(head: bytes) -> int:
    return int.from_bytes(head[1:BODY], "big", signed=True)


def _unpacked(head: bytes | None) -> tuple[str, Any]:
    if head is None:
        return "", None
    if head[:1] != LAYOUT:
        raise StateError(
            f"what is remembered of an event has layout {head[0]}, this release knows {LAYOUT[0]}: "
            "go back to the release that wrote it, or start the job labels anew"
        )
    kind, said = json.loads(head[BODY:])
    return kind, said
