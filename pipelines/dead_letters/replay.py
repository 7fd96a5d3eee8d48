"""Dead letters, replayed from their originals.

A replay fetches what a letter is about from its topic, holds it against the letter's sha256, and
sends it to the events topic again. That no event is sent a second time is seen to by `replay_once`.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, Producer

from verdict.operators.names import ENTITY_LABELS, EVENTS, LABELS, SCORE_JOB, STATE_COMMANDS
from verdict.pipelines.dead_letters.letter import Letter, OriginalState, compared
from verdict.pipelines.dead_letters.replay_once import (
    REPLAYED_HEADER,
    SECOND_TIME,
    ReplayedOnce,
    first_place,
)
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.kafka.fetch import Original, RecordFetcher
from verdict.pipelines.spec.pipeline import Pipeline

WINDOW = 200
"""Letters whose originals are fetched in the order of their offsets; each is 0.2 MB at most."""
LARGEST = 1_000_000_000
"""librdkafka's limit for ``message.max.bytes``: an original was taken by the broker once."""
QUEUED_KB = 262_144
"""Most that waits to be sent."""
FLUSH_S = 60.0
BESIDE = (STATE_COMMANDS, LABELS, ENTITY_LABELS)
"""What else the job ``score`` reads."""
AFTER_STATE = ("features", "score")
"""Stages in which the windows have counted the event already."""
Say = Callable[[str, bool], None]
"""Told of each letter what becomes of it, and whether the sum in the end says it well enough."""


@dataclass
class Replayed:
    """What a replay did.

    Attributes
    ----------
    replayed
        Events sent again.
    gone
        Originals that no topic has any more, and that no letter holds whole.
    changed
        Places where another record lies now: nothing was sent.
    skipped
        Letters left out: of another job, of another pipeline, or of an event that was replayed.
    from_letters
        Of the replayed, those that were taken from their letters, since their originals are gone.
    counted
        Of the replayed, those that the windows had counted already, and count again.
    why
        Reason -> how many were skipped for it.
    """

    replayed: int = 0
    gone: int = 0
    changed: int = 0
    skipped: int = 0
    from_letters: int = 0
    counted: int = 0
    why: Counter[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return asdict(self) | {"why": dict(self.why or {})}


def summary_lines(did: Replayed, dry: bool) -> list[str]:
    r"""Say what a replay did.

    >>> print(*summary_lines(Replayed(replayed=2, gone=1), dry=False), sep="\n")
    2 replayed, 1 gone, 0 changed, 0 skipped
    """
    sent = f"{did.replayed:,} {'would be ' if dry else ''}replayed"
    lines = [f"{sent}, {did.gone:,} gone, {did.changed:,} changed, {did.skipped:,} skipped"]
    if did.from_letters:
        lines.append(f"  {did.from_letters:,} of them from their letters: the originals are gone")
    if did.counted:
        lines.append(
            f"  {did.counted:,} of them had failed after the windows had counted them, and count "
            "twice now: events.dedupe prevents that"
        )
    lines += [f"  {count:,} skipped: {why}" for why, count in (did.why or {}).items()]
    return lines


class LetterReplay:
    """Sends the originals of dead letters to the events topic again.

    Key, value, Kafka timestamp and headers are the original's; the header ``replayed-from`` says
    where it came from. An event goes to the partition that it was in, so that it stays in one with
    its entity's others. No event is replayed twice in one run, be there two letters of it.

    Parameters
    ----------
    pipeline
        The pipeline, whose events come from a topic.
    dry
        Do everything but send.
    say
        Told of each letter, in a line.

    Raises
    ------
    KafkaError
        The broker does not answer, a topic is missing, or the events come from files.
    """

    def __init__(
        self, pipeline: Pipeline, *, dry: bool = False, say: Say = lambda _what, _done: None
    ) -> None:
        self.did = Replayed(why=Counter())
        self._pipeline = pipeline.spec.pipeline
        if EVENTS not in pipeline.topics:
            raise KafkaError(
                "dead letters are replayed to events.topic, and this pipeline's events come from "
                "files: mend the files, and run them again with an empty state"
            )
        self._topic = pipeline.topics[EVENTS]
        self._beside = {pipeline.topics[stream] for stream in BESIDE if stream in pipeline.topics}
        self._say, self._dry = say, dry
        self._once = ReplayedOnce()
        self._failure: Code | None = None
        self._dedupes = pipeline.spec.events.dedupe is not None
        settings = clients(pipeline.spec.settings, pipeline.path.parent)
        self._partitions = require(settings, [self._topic])[self._topic]
        self._originals = RecordFetcher(settings)
        ours = {"message.max.bytes": LARGEST, "queue.buffering.max.kbytes": QUEUED_KB}
        self._producer = None if dry else Producer({**settings.producer, **ours})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._originals.close()

    def run(self, letters: Iterable[Letter], wanted: Iterable[Coordinates] = ()) -> Replayed:
        """Replay letters; what was sent is acknowledged when it returns, or raises.

        Parameters
        ----------
        letters
            The letters.
        wanted
            Originals that must be among theirs.

        Raises
        ------
        KafkaError
            The broker refuses an event, or a wanted one has no letter; the others are replayed.
        """
        missing = set(wanted)
        window: list[Letter] = []
        try:
            for letter in letters:
                if self._failure is not None:
                    break
                missing.discard(letter.original)
                why = self._left_out(letter)
                if why is not None:
                    self._skip(letter, why)
                    continue
                window.append(letter)
                if len(window) == WINDOW:
                    self._replay(window)
                    window = []
            self._replay(window)
        finally:
            self._flush()
        if self._failure is not None:
            raise KafkaError(
                f"{self._topic} does not take a replayed event: {self._failure.str()}; "
                f"{self.did.replayed:,} were replayed"
            )
        if missing:
            raise KafkaError(
                f"no dead letter is of {', '.join(map(str, sorted(missing)))}; "
                "'verdict dlq list' shows what there is"
            )
        return self.did

    def _left_out(self, letter: Letter) -> str | None:
        if letter.pipeline != self._pipeline:
            return f"of pipeline {letter.pipeline}"
        if letter.job != SCORE_JOB:
            return f"of job {letter.job}: its input is no event"
        if letter.original.topic in self._beside:
            return f"of topic {letter.original.topic}: it holds no events"
        return None

    def _replay(self, window: list[Letter]) -> None:
        # In the order of the originals: events of a key stay in theirs.
        for letter in sorted(window, key=lambda letter: letter.original):
            if self._failure is not None:
                return
            self._one(letter)

    def _one(self, letter: Letter) -> None:
        if letter.original in self._once:
            self._skip(letter, SECOND_TIME)
            return
        original = self._originals.fetch(letter.original)
        state = compared(letter, original)
        if state == OriginalState.CHANGED:
            self.did.changed += 1
            self._say(f"{letter.original}: another record lies there now; not replayed", False)
            return
        if original is None:
            if not letter.complete:
                self.did.gone += 1
                self._say(
                    f"{letter.original}: its topic has it no more, and the letter holds "
                    f"{len(letter.value or b''):,} of {letter.value_size:,} bytes; not replayed",
                    False,
                )
                return
            original = Original(letter.key, letter.value, letter.timestamp, [])
            self.did.from_letters += 1
        first = first_place(original.headers, letter.original)
        if first in self._once:
            self._skip(letter, SECOND_TIME)
            return
        self._once.add(first, letter.original)
        if letter.stage in AFTER_STATE and not self._dedupes:
            self.did.counted += 1
        self._send(letter, original, str(first).encode())
        self._say(f"{letter.original}: {'would be ' if self._dry else ''}replayed", True)

    def _skip(self, letter: Letter, why: str) -> None:
        assert self.did.why is not None
        self.did.skipped += 1
        self.did.why[why] += 1
        self._say(f"{letter.original}: skipped, {why}", True)

    def _send(self, letter: Letter, original: Original, first: bytes) -> None:
        if self._producer is None:
            self.did.replayed += 1
            return
        place = letter.original
        kept = place.topic == self._topic and place.partition < self._partitions
        headers = [each for each in original.headers if each[0] != REPLAYED_HEADER]
        where = {"partition": place.partition} if kept else {}
        when = {"timestamp": original.timestamp} if original.timestamp > 0 else {}
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=original.key,
                    value=original.value,
                    headers=[*headers, (REPLAYED_HEADER, first)],
                    on_delivery=self._delivered,
                    **where,
                    **when,
                )
                self._producer.poll(0)
                return
            except BufferError:
                if not len(self._producer):
                    raise KafkaError(
                        f"{place}: {len(original.value or b''):,} bytes are more than a replay "
                        "sends; send it by your own means"
                    ) from None
                self._producer.poll(0.1)
            except KafkaException as error:
                self._failure = self._failure or error.args[0]
                return

    def _delivered(self, error: Code | None, _record: Any) -> None:
        if error is None:
            self.did.replayed += 1
        else:
            self._failure = self._failure or error

    def _flush(self) -> None:
        if self._producer is not None and self._producer.flush(FLUSH_S):
            raise KafkaError(f"{self._topic}: not all was acknowledged within {FLUSH_S:g} s")
