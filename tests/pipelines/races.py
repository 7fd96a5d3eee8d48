"""Races: what jobs of several subtasks decide of partitions, in whatever order they come to it."""

import json
import random
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import yaml

from verdict.operators.message import NEXT, Message
from verdict.operators.names import DECISIONS, EVENTS
from verdict.pipelines.formats.streams import stream_decoder, stream_encoder
from verdict.pipelines.jobs import score
from verdict.pipelines.parity import check
from verdict.pipelines.parity.summary import ParitySummary
from verdict.pipelines.paths import resource
from verdict.pipelines.replay.sources import Recorded, Sources
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.keyed import MemoryState

DAY_MS = 86_400_000
BEGIN = 1_700_000_000_000
SCHEMA = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "card", "type": "string"},
        {"name": "terminal", "type": ["null", "string"]},
        {"name": "amount", "type": ["null", "double"]},
    ],
}
SPEC: dict[str, Any] = {
    "pipeline": "race",
    "events": {
        "topic": "race-events",
        "schema": "event.avsc",
        "format": "json",
        "id": "id",
        "time": "time",
        "keyed_by": "card",
        "allowed_lateness": "1h",
        "dedupe": "1d",
    },
    "entities": {"card": "card", "terminal": "terminal"},
    "features": {
        "amount": "amount",  # without one the event is a dead letter, and logged all the same
        "card_count_1h": {"count": "*", "over": "1h", "by": "card"},
        "terminal_count_1d": {"count": "*", "over": "1d", "by": "terminal", "default": 0},
        "terminal_last_1h": {"last": "amount", "over": "1h", "by": "terminal", "default": -1},
        "terminal_faded": {"sum": "amount", "half_life": "1h", "by": "terminal", "default": 0},
        "ratio": "card_count_1h / (terminal_count_1d + 1)",
    },
    "model": "model",
    "decide": {
        "rules": [{"name": "busy", "when": "ratio > 2", "action": "review"}],
        "thresholds": [{"at": 0.5, "action": "decline"}],
    },
}


def write(folder: Path, spec: dict[str, Any], name: str = "pipeline.yaml") -> Pipeline:
    if not (folder / "model").exists():
        shutil.copytree(resource("init") / "model", folder / "model")
    (folder / "event.avsc").write_text(json.dumps(SCHEMA))
    (folder / name).write_text(yaml.safe_dump(spec, sort_keys=False))
    return load(folder / name)


def live(
    pipeline: Pipeline,
    partitions: Sequence[Sequence[Message]],
    choose: random.Random,
    lost: int | None = None,
) -> list[Recorded]:
    """Decide as a job of two subtasks a hop does, whoever of them is first; in the order of output.

    What a subtask sends to another arrives in its order, and that is all that is certain; but for
    the record of the offset ``lost``, which no hop behind the first ever gets.
    """
    hops = [hop.operator() for hop in score.score(pipeline).hops]
    states: dict[tuple[int, bytes], MemoryState] = {}
    sources = [deque(partition) for partition in partitions]
    channels: dict[tuple[int, int], deque[Message]] = {}
    found: list[Recorded] = []

    def run(hop: int, subtask: int, message: Message) -> None:
        state = states.setdefault((hop, message.key or b""), MemoryState())
        for output, key, value in hops[hop](message, state):
            if output == NEXT and message.offset == lost:
                continue
            if output == NEXT:
                following = message._replace(key=key, value=value)
                channels.setdefault((subtask, crc32(key) % 2), deque()).append(following)
            elif output == DECISIONS:
                at = f"{message.topic}/{message.partition}/{message.offset}"
                found.append(Recorded(at.encode(), value, len(found)))

    while True:
        ready = [("source", line) for line in sources if line]
        ready += [("channel", line) for line in channels.values() if line]
        if not ready:
            return found
        kind, line = choose.choice(ready)
        message = line.popleft()
        run(0 if kind == "source" else 1, crc32(message.key or b"") % 2, message)


def interleaved(
    partitions: Sequence[Sequence[Message]], choose: random.Random
) -> Callable[[], Iterator[Message]]:
    """Read partitions in any order of theirs, another one each time."""

    def read() -> Iterator[Message]:
        lines = [deque(partition) for partition in partitions]
        while any(lines):
            yield choose.choice([line for line in lines if line]).popleft()

    return read


def drawn(choose: random.Random, nulls: bool) -> list[list[Message]]:
    """Three partitions: ties, late events, silence beyond every window, retries, dead letters."""
    partitions: list[list[Message]] = [[], [], []]
    at, sent = BEGIN, list[tuple[str, bytes]]()
    for number in range(choose.randint(1, 40)):
        at += choose.choice([0, 1_000, 1_800_000, DAY_MS, DAY_MS, 3 * DAY_MS])
        if sent and choose.random() < 0.1:
            card, value = choose.choice(sent)
        else:
            card = choose.choice(["c1", "c2", "c3", "c4"])
            event = {
                "id": f"p{number}",
                "time": at - choose.choice([0, 0, 0, 10_000, DAY_MS]),
                "card": card,
                "terminal": choose.choice([None, "t1", "t2"]),
                "amount": choose.choice([1.5, 2.25, 80.0, None if nulls else 7.0]),
            }
            value = json.dumps(event).encode()
        sent.append((card, value))
        which = int(card[1]) % 3
        there = partitions[which]
        there.append(Message(EVENTS, card.encode(), value, "race-events", which, len(there), at))
    return partitions


def one_by_one(count: int) -> list[list[Message]]:
    """One partition, an event a minute, of two cards at one terminal."""
    return [
        [
            Message(
                EVENTS,
                f"c{number % 2}".encode(),
                json.dumps(
                    {
                        "id": f"p{number}",
                        "time": BEGIN + number * 60_000,
                        "card": f"c{number % 2}",
                        "terminal": "t",
                        "amount": number + 0.5,
                    }
                ).encode(),
                "race-events",
                0,
                number,
                BEGIN + number * 60_000,
            )
            for number in range(count)
        ]
    ]


def in_order(decisions: list[Recorded]) -> list[Recorded]:
    """Put the decisions of one partition in the order of their events."""
    return sorted(decisions, key=lambda each: int((each.source or b"").rpartition(b"/")[2]))


def altered(pipeline: Pipeline, recorded: Recorded, **changes: Any) -> Recorded:
    """Return a decision with some of its fields changed."""
    decision = stream_decoder(DECISIONS, pipeline.spec.settings)(recorded.value)
    for name, value in changes.items():
        if isinstance(value, dict):
            value = {**decision[name], **value}
        decision[name] = value
    return recorded._replace(value=stream_encoder(DECISIONS)(decision))


def sources_of(
    decisions: Sequence[Recorded], events: Callable[[], Iterator[Message]], **more: Any
) -> Sources:
    """Have decisions and events in memory as what is replayed."""
    return Sources(decisions=lambda: iter(decisions), events=events, **more)


def compared(
    pipeline: Pipeline,
    decisions: Sequence[Recorded],
    events: Callable[[], Iterator[Message]],
    **more: Any,
) -> ParitySummary:
    letters = more.pop("letters", lambda: iter(()))
    sources = sources_of(decisions, events)
    return check.compare(pipeline, sources, letters, stop=threading.Event(), **more)
