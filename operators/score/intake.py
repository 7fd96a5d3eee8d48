"""From a raw record to what travels: decode, extract, check."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import Decode
from verdict.operators.events.event import Event
from verdict.operators.events.extract import Extract
from verdict.operators.events.projection import Projection
from verdict.operators.message import Message, new
from verdict.operators.names import BadKind
from verdict.operators.records.dead_letter import present
from verdict.operators.score.carry import Carry

MAX_NAME = 1_024
"""Most bytes of an event's id, and of each of its keys: they stand in every output."""
MAX_TEXT = 65_536
"""Most bytes of an event's texts that the pipeline reads, together: the decision repeats those that
rules read, and must not outgrow what Kafka takes."""
SHORT = MAX_NAME // 2
"""A record of so few bytes holds no text too large, even if it is JSON in UTF-16."""
SECONDS_BEFORE, NEAR_S = 100_000_000_000, 10 * 366 * 86_400
"""A time below the first (of March 1973, in milliseconds) that is within ten years of its record's
timestamp when taken for seconds was meant so."""


@dataclass(frozen=True)
class Plausible:
    """What values of a field are plausible; ``dead``: an event with another is a dead letter."""

    path: str
    low: float | None
    high: float | None
    allowed: frozenset[Any] | None
    dead: bool

    def holds(self, value: Any) -> bool:
        """Whether a value is plausible. Null is: whether a field may be null is the schema's."""
        if value is None:
            return True
        if self.allowed is not None and value not in self.allowed:
            return False
        if self.low is not None and value < self.low:
            return False
        return self.high is None or value <= self.high


class Intake:
    """From a raw record to a `Carry`: decode, extract, check.

    Parameters
    ----------
    decode
        Bytes to record.
    extract
        Record to event.
    checks
        What is plausible.
    keyed
        The topic's message key is the first entity's key, so the two must be equal.
    max_ahead
        Milliseconds that an event's time may lie after its record's timestamp.
    """

    def __init__(
        self,
        decode: Decode,
        extract: Extract,
        checks: Sequence[Plausible],
        keyed: bool,
        max_ahead: int,
    ) -> None:
        self._take = Projection(decode, extract).take
        self._decode = decode
        self._extract = extract
        self._checks = checks
        self._keyed = keyed
        self._max_ahead = max_ahead

    def __call__(self, message: Message) -> Carry:
        """Read a record.

        Raises
        ------
        BadRecord
            It is no event, or one that the pipeline refuses.
        """
        value = message.value
        if not value:
            present(value)
            raise BadRecord(BadKind.EMPTY, "the record's value is empty")
        event = self._take(value)
        if event is None:
            event = self._extract(self._decode(value))
        if len(value) > SHORT:
            _check_sizes(event)
        if self._keyed and message.key != (event.keys[0] or "").encode():
            raise BadRecord(
                BadKind.KEY_MISMATCH,
                "the record's key is not its event's: mend the producer, or drop events.keyed_by",
            )
        timestamp = message.timestamp
        if timestamp >= 0 and not SECONDS_BEFORE <= event.time <= timestamp + self._max_ahead:
            self._check_time(event.time, timestamp)
        implausible: list[str] = []
        for check in self._checks:
            found = event.fields[check.path]
            if not check.holds(found):
                if check.dead:
                    raise BadRecord(
                        BadKind.IMPLAUSIBLE, f"field '{check.path}' is implausible: {found!r}"
                    )
                implausible.append(check.path)
        return new(Carry, (event, implausible, [], [], message.key, value, False))

    def _check_time(self, time: int, timestamp: int) -> None:
        """Refuse a time that would poison its entity: every later event would be late."""
        if time > timestamp + self._max_ahead:
            raise BadRecord(
                BadKind.AHEAD,
                f"the event's time lies {time - timestamp:,} ms after its record's timestamp; "
                "mend the producer's clock, or raise events.max_ahead",
            )
        if 0 < time < SECONDS_BEFORE and abs(time - timestamp // 1000) < NEAR_S:
            raise BadRecord(
                BadKind.TIME_IN_SECONDS,
                f"the event's time, {time}, is in seconds: verdict reads milliseconds",
            )


def _check_sizes(event: Event) -> None:
    """Refuse an event whose decision Kafka might not take: the stream would end there."""
    for number, name in enumerate((event.id, *event.keys)):
        size = 0 if name is None else len(name.encode())
        if size > MAX_NAME:
            what = f"key {number}" if number else "id"
            raise BadRecord(
                BadKind.TOO_LARGE,
                f"the event's {what} has {size:,} bytes; {MAX_NAME:,} at most: mend the producer",
            )
    texts = {path: len(value.encode()) for path, value in event.fields.items() if _is_text(value)}
    if sum(texts.values()) > MAX_TEXT:
        longest = max(texts, key=texts.__getitem__)
        raise BadRecord(
            BadKind.TOO_LARGE,
            f"field '{longest}' has {texts[longest]:,} bytes; the texts that the pipeline reads "
            f"may have {MAX_TEXT:,} together: mend the producer",
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
