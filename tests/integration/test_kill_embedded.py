"""The embedded engine killed, told to stop, out of space: nothing is lost, repeats are equal."""

import json
import subprocess
import sys
from collections import defaultdict
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from tests.integration.flink_topics import Reader
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.settings import Settings

HERE = Path(__file__).parent

EXAMPLE = HERE.parents[1] / "examples" / "card-fraud" / "pipeline.yaml"
EVENT_COUNT = 15_000
DEADLINE_S = 120


class Events(NamedTuple):
    """Events in a topic, and what an undisturbed run made of them: source -> bytes."""

    bootstrap: str
    topic: str
    wanted: dict[bytes, bytes]


def start(
    events: Events, name: str, state: Path, **options: Any
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the job, killed as often as asked, to topics of its own."""
    topics: dict[str, str] = {EVENTS: events.topic}
    topics |= {stream: f"{name}-{stream}" for stream in (DECISIONS, DEAD_LETTERS)}
    made = clients(Settings(kafka={"bootstrap.servers": events.bootstrap}))
    create_topics(made, list(topics.values()))
    asked = {
        "pipeline": str(EXAMPLE),
        "bootstrap": events.bootstrap,
        "topics": topics,
        "state": str(state),
        "times": 0,
        "after": [50, 2500],
        "seed": 7,
        **options,
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_embedded.py"), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done, topics


def made(events: Events, topics: dict[str, str]) -> dict[bytes, list[bytes]]:
    """Read what came of each event, decision or dead letter: source -> every copy."""
    found = defaultdict(list)
    for stream in (DECISIONS, DEAD_LETTERS):
        for record in Reader(events.bootstrap, topics[stream], "read_uncommitted").read():
            found[dict(record.headers)["source"]].append(record.value)
    return found


@pytest.fixture(scope="module")
def events(
    kafka: LocalKafka, generator: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Events:
    config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap}
    create_topics(clients(Settings(kafka=config)), ["kill-events"])
    producer = Producer(config)
    world = generator.World(days=None, seed=5, broken=0.01)
    for transaction in islice(generator.transactions(world), EVENT_COUNT):
        producer.produce("kill-events", generator.encode(transaction), transaction.key)
        producer.poll(0)
    assert producer.flush(30) == 0
    events = Events(kafka.bootstrap, "kill-events", {})
    done, topics = start(events, "kill-none", tmp_path_factory.mktemp("state"))
    assert done.returncode == 0, done.stderr
    wanted = made(events, topics)
    assert all(len(copies) == 1 for copies in wanted.values())
    assert len(wanted) == EVENT_COUNT
    return events._replace(wanted={source: copies[0] for source, copies in wanted.items()})


def assert_nothing_is_lost(events: Events, topics: dict[str, str]) -> int:
    """Every event has its decision, and every repeat is the same; return how many there are."""
    found = made(events, topics)
    assert found.keys() == events.wanted.keys()
    for source, copies in found.items():
        assert set(copies) == {events.wanted[source]}
    return sum(map(len, found.values())) - len(found)


def test_killed_at_twelve_points(events: Events, tmp_path: Path) -> None:
    done, topics = start(events, "kill-often", tmp_path, times=12)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5  # in the midst of it: 2,500 events more each time, at most
    assert assert_nothing_is_lost(events, topics) > 0


def test_told_to_stop_in_mid_batch(events: Events, tmp_path: Path) -> None:
    done, topics = start(events, "kill-softly", tmp_path, times=5, signal="SIGTERM")
    assert done.returncode == 0, done.stderr
    assert assert_nothing_is_lost(events, topics) == 0


def test_out_of_space(events: Events, tmp_path: Path) -> None:
    done, topics = start(events, "kill-full", tmp_path, file_size=200_000)
    assert done.returncode == 1
    assert "StateError: the state in " in done.stderr
    assert "File too large" in done.stderr
    done, topics = start(events, "kill-full", tmp_path)
    assert done.returncode == 0, done.stderr
    assert_nothing_is_lost(events, topics)
