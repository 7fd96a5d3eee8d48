"""What was decided is held against a replay in the recorded order, and a difference is found."""

import json
import random
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, Producer
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.message import NEXT, Message
from operators.records import DECISIONS
from pipelines import jobs, parity, resources
from pipelines.broker import KafkaBroker, topics_of
from pipelines.embedded import run_files, run_kafka
from pipelines.files import AvroFile, read_bodies
from pipelines.kafka import create_topics
from pipelines.parity import Summary
from pipelines.pipeline import Pipeline, load
from pipelines.streams import EVENTS, definition, stream_decoder, stream_encoder
from state.keyed import MemoryState

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


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Two keyed hops over a topic."""
    return write(tmp_path_factory.mktemp("race"), SPEC)


def write(folder: Path, spec: dict[str, Any], name: str = "pipeline.yaml") -> Pipeline:
    if not (folder / "model").exists():
        shutil.copytree(resources.path("init") / "model", folder / "model")
    (folder / "event.avsc").write_text(json.dumps(SCHEMA))
    (folder / name).write_text(yaml.safe_dump(spec, sort_keys=False))
    return load(folder / name)


Decided = list[parity.Told]


def live(
    pipeline: Pipeline, partitions: Sequence[Sequence[Message]], choose: random.Random
) -> Decided:
    """Decide as a job of two subtasks a hop does, whoever of them is first; in the order of output.

    What a subtask sends to another arrives in its order, and that is all that is certain.
    """
    hops = [hop.operator() for hop in jobs.score(pipeline).hops]
    states: dict[tuple[int, bytes], MemoryState] = {}
    sources = [deque(partition) for partition in partitions]
    channels: dict[tuple[int, int], deque[Message]] = {}
    found: Decided = []

    def run(hop: int, subtask: int, message: Message) -> None:
        state = states.setdefault((hop, message.key or b""), MemoryState())
        for output, key, value in hops[hop](message, state):
            if output == NEXT:
                following = message._replace(key=key, value=value)
                channels.setdefault((subtask, hash(key) % 2), deque()).append(following)
            elif output == DECISIONS:
                at = f"{message.topic}/{message.partition}/{message.offset}"
                found.append((at.encode(), value, len(found)))

    while True:
        ready = [("source", line) for line in sources if line]
        ready += [("channel", line) for line in channels.values() if line]
        if not ready:
            return found
        kind, line = choose.choice(ready)
        message = line.popleft()
        run(0 if kind == "source" else 1, hash(message.key) % 2, message)


def interleaved(
    partitions: Sequence[Sequence[Message]], choose: random.Random
) -> Callable[[], Iterator[Message]]:
    """Read partitions in any order of theirs, another one each time."""

    def read() -> Iterator[Message]:
        lines = [deque(partition) for partition in partitions]
        while any(lines):
            yield choose.choice([line for line in lines if line]).popleft()

    return read


def compared(
    pipeline: Pipeline, decisions: Decided, events: Callable[[], Iterator[Message]], **more: Any
) -> Summary:
    return parity.compare(
        pipeline, iter(decisions), events, by_id=False, stop=threading.Event(), **more
    )


@st.composite
def topics(draw: st.DrawFn) -> list[list[Message]]:
    """Three partitions: ties, late events, silence beyond every window, retries, dead letters."""
    count = draw(st.integers(1, 40))
    partitions: list[list[Message]] = [[], [], []]
    at, sent = BEGIN, []
    for number in range(count):
        at += draw(st.sampled_from([0, 1_000, 1_800_000, DAY_MS, 3 * DAY_MS]))
        if sent and draw(st.integers(0, 9)) == 0:
            card, value = draw(st.sampled_from(sent))
        else:
            card = draw(st.sampled_from(["c1", "c2", "c3", "c4"]))
            event = {
                "id": f"p{number}",
                "time": at - draw(st.sampled_from([0, 0, 0, 10_000, DAY_MS])),
                "card": card,
                "terminal": draw(st.sampled_from([None, "t1", "t2"])),
                "amount": draw(st.sampled_from([None, 1.5, 2.25, 80.0])),
            }
            value = json.dumps(event).encode()
        sent.append((card, value))
        partition = partitions[int(card[1]) % 3]
        number_there = len(partition)
        key, where = card.encode(), partitions.index(partition) if partition else int(card[1]) % 3
        partition.append(Message(EVENTS, key, value, "race-events", where, number_there, at))
    return partitions


@settings(max_examples=150)
@given(partitions=topics(), seed=st.integers(0, 1 << 32))
def test_any_race_is_replayed_as_it_was(
    race: Pipeline, partitions: list[list[Message]], seed: int
) -> None:
    choose = random.Random(seed)
    decisions = live(race, partitions, choose)
    found = compared(race, decisions, interleaved(partitions, choose))
    assert found.shown == []
    assert found.compared == len(decisions) == found.decisions
    assert (found.without_event, found.forced, found.repeats) == (0, 0, 0)
    undecided = sum(map(len, partitions)) - len(decisions)
    assert found.without_decision + found.undecided == undecided
    if not undecided:
        assert found.equal == found.compared
