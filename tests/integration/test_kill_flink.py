"""A standalone Flink cluster killed in the midst: nothing lost, nothing twice, repeats told."""

import json
import random
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from confluent_kafka import Producer

from tests.integration.flink_topics import COMMITTED, UNCOMMITTED, Reader, until
from verdict.operators.events.schema import without_logical_types
from verdict.operators.records.streams import decoder, encoder
from verdict.pipelines.deployment.submit import submit
from verdict.pipelines.engines.flink.cluster import FlinkCluster
from verdict.pipelines.engines.flink.prepare import prepare
from verdict.pipelines.engines.flink.rest import Rest
from verdict.pipelines.engines.flink.submit import SHORT_LIVED_JAVA
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars
from verdict.pipelines.outputs.repeats import Repeats
from verdict.pipelines.outputs.repeats_read import SHOWN, read
from verdict.pipelines.parity.check import check
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EVENT_COUNT = 60_000
"""Of the run with one partition."""
RACING_COUNT = 8_000
"""Of the run with four."""
BEGIN_MS = 1_700_000_000_000
SPAN_MS = 7_200_000
"""Of event time: less than the lateness allowed, so that no order makes an event too late."""
SCHEMA = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "card", "type": "string"},
        {"name": "terminal", "type": ["null", "string"]},
        {
            "name": "amount",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        },
        {"name": "km", "type": "double"},
    ],
}
DECISION = without_logical_types(definition("decisions"))
WINDOWS = {
    "card_count_1h": ("count", "*", 3_600_000, "card"),
    "card_sum_10m": ("sum", "amount", 600_000, "card"),
    "terminal_count_10m": ("count", "*", 600_000, "terminal"),
    "terminal_mean_1h": ("mean", "amount", 3_600_000, "terminal"),
    "terminal_far_1h": ("sum", "km", 3_600_000, "terminal"),
    "terminal_way_10m": ("mean", "km", 600_000, "terminal"),
}
"""Feature -> aggregate, argument, milliseconds, entity. The model takes the first of them."""


class Payment(NamedTuple):
    """An event."""

    id: str
    time: int
    card: str
    terminal: str | None
    cents: int
    km: float


def payments(count: int, cards: int, terminals: int) -> list[Payment]:
    """Draw events in the order of their times, some of them online."""
    source = random.Random(11)
    return [
        Payment(
            f"p{number:06}",
            BEGIN_MS + number * SPAN_MS // count,
            f"card{source.randrange(cards)}",
            None if source.random() < 0.1 else f"t{source.randrange(terminals)}",
            source.randrange(100, 40_000),
            source.expovariate(0.1),
        )
        for number in range(count)
    ]


class Stage:
    """A pipeline of two hops on topics of its own, and a job of it on a cluster."""

    def __init__(
        self,
        cluster: FlinkCluster,
        kafka: LocalKafka,
        folder: Path,
        name: str,
        windows: Sequence[str],
        **settings: Any,
    ) -> None:
        self.cluster, self.kafka, self.rest = cluster, kafka, Rest(cluster.address)
        self.state = folder / "state"
        self.folder = folder / name
        self.folder.mkdir()
        shutil.copytree(resource("init/model"), self.folder / "model")
        (self.folder / "event.avsc").write_text(json.dumps(SCHEMA))
        spec = {
            "pipeline": name,
            "events": {
                "topic": f"{name}-events",
                "schema": "event.avsc",
                "id": "id",
                "time": "time",
                "keyed_by": "card",
                "allowed_lateness": "1d",
            },
            "entities": {"card": "card", "terminal": "terminal"},
            "features": {
                "amount": "amount",
                **{
                    feature: {op: argument, "over": f"{over // 60_000}m", "by": by, "default": 0}
                    for feature, (op, argument, over, by) in WINDOWS.items()
                    if feature in windows
                },
            },
            "model": "model",
            "decide": {"thresholds": [{"at": 0.5, "action": "review"}]},
            "topics": {"decisions": f"{name}-decisions", "dead-letters": f"{name}-dead-letters"},
            "settings": {
                "kafka": {"bootstrap.servers": kafka.bootstrap},
                "checkpoint_interval": "2s",
                **settings,
            },
        }
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        self.job_id = ""

    @property
    def pipeline(self) -> Pipeline:
        return load(self.folder / "pipeline.yaml")

    def send(self, events: Sequence[Payment], partitions: int) -> None:
        """Make the topics, and put the events into theirs."""
        pipeline = self.pipeline
        made = clients(pipeline.spec.settings)
        create_topics(made, [pipeline.topics["events"]], partitions=partitions)
        create_topics(made, [pipeline.topics[name] for name in ("decisions", "dead-letters")])
        encode = encoder(without_logical_types(SCHEMA))
        producer = Producer({**made.producer, "linger.ms": 20})
        for event in events:
            amount = event.cents.to_bytes(4, "big")
            value = encode({**event._asdict(), "amount": amount})
            producer.produce(pipeline.topics["events"], value, event.card.encode())
            producer.poll(0)
        assert producer.flush(30) == 0

    def submit(self) -> None:
        self.job_id = submit(
            self.pipeline, "score", self.state, self.cluster.address, bounded=False
        )

    def worker(self, hop: str) -> str:
        """Return the name of a TaskManager that runs a hop."""
        uid = f"{self.pipeline.spec.pipeline}/score/{hop}"
        vertices = self.rest.get(f"/jobs/{self.job_id}")["vertices"]
        [vertex] = [each for each in vertices if each["name"].partition(" -> ")[0] == uid]
        found = self.rest.get(f"/jobs/{self.job_id}/vertices/{vertex['id']}")["subtasks"][0]
        said = f"Starting TaskManager with ResourceID: {found['taskmanager-id']}"
        logs = self.cluster.folder / "log"
        [name] = [name for name in self.cluster.pids if said in (logs / f"{name}.log").read_text()]
        return name

    @contextmanager
    def followed(self) -> Iterator[Repeats]:
        """Count the decisions while they come, as `verdict repeats --follow` does."""
        seen, stop = Repeats(), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read, self.pipeline, seen, stop, follow=True)
            try:
                yield seen
            finally:
                stop.set()
            reading.result()

    def reader(self, isolation: str) -> Reader:
        return Reader(self.kafka.bootstrap, self.pipeline.topics["decisions"], isolation)

    def committed(self, count: int, fields: int | None = None) -> list[Any]:
        """Wait until so many decisions are committed; return them, or their first fields."""
        reader = self.reader(COMMITTED)
        until(lambda: len(reader.read()) >= count)
        decode = decoder({**DECISION, "fields": DECISION["fields"][:fields]})
        return [decode(record.value) for record in reader.read()]


def by_key(decisions: Sequence[Any], hop: int) -> dict[str, list[Any]]:
    """Put each key's decisions in the order in which the hop saw its events: 1, 2, to the last."""
    found: dict[str, list[Any]] = defaultdict(list)
    for decision in decisions:
        if decision["hops"][hop]["key"] is not None:
            found[decision["hops"][hop]["key"]].append(decision)
    for ordered in found.values():
        ordered.sort(key=lambda decision: int(decision["hops"][hop]["hop_seq"]))
        seqs = [decision["hops"][hop]["hop_seq"] for decision in ordered]
        assert seqs == list(range(1, len(ordered) + 1))
    return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker that may be killed."""
    with LocalKafka(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """Two slots; `enlarge` adds more while nothing else is to be done."""
    jars = flink_jars()
    prepare(jars)
    with FlinkCluster(
        tmp_path_factory.mktemp("cluster"), jars, 2, java_options=SHORT_LIVED_JAVA
    ) as running:
        yield running


def enlarge(cluster: FlinkCluster, slots: int) -> None:
    """Start TaskManagers, without waiting for them."""
    while len(cluster.pids) < 1 + slots:
        cluster.add_task_manager()


Begin = Callable[..., Stage]


@pytest.fixture
def begin(cluster: FlinkCluster, broker: LocalKafka, tmp_path: Path) -> Iterator[Begin]:
    """Makes a stage: ``begin(name, windows, **settings)``; its job ends with the test."""
    stages = []

    def make(name: str, windows: Sequence[str], **settings: Any) -> Stage:
        stages.append(Stage(cluster, broker, tmp_path, name, windows, **settings))
        return stages[-1]

    yield make
    for stage in stages:
        if stage.job_id:
            stage.rest.cancel(stage.job_id)


@pytest.mark.long
def test_both_hops_and_the_broker_killed_in_the_midst(
    begin: Begin, cluster: FlinkCluster, broker: LocalKafka
) -> None:
    # Little state of each key: all are decided in ten to twenty seconds.
    stage = begin("kill", ["card_count_1h", "terminal_count_10m"])
    events = payments(EVENT_COUNT, cards=20_000, terminals=10_000)
    stage.send(events, partitions=1)
    killed, decided = [], []

    with stage.followed() as seen:
        stage.submit()
        for part, hop in ((1 / 3, "card"), (2 / 3, "terminal")):
            until(partial(lambda wanted: seen.decisions >= wanted, part * EVENT_COUNT))
            killed.append(stage.worker(hop))
            cluster.kill(killed[-1])
            if hop == "terminal":  # and at once, for an outage the less, what it writes to
                broker.kill()
            decided.append(seen.decisions / EVENT_COUNT)
            enlarge(cluster, 2 + len(killed))
            broker.start()
        until(lambda: seen.decisions == EVENT_COUNT)
        found = stage.committed(EVENT_COUNT, fields=5)  # up to the hops

    assert len(set(killed)) == 2
    assert 1 / 3 <= decided[0] < 2 / 3 <= decided[1] < 1, decided
    assert seen.repeats > 0
    assert seen.repeat_differs == 0
    assert seen.decisions == EVENT_COUNT
    assert sorted(each["event_id"] for each in found) == [event.id for event in events]
    assert sum(map(len, by_key(found, 0).values())) == EVENT_COUNT
    paid_there = sum(event.terminal is not None for event in events)
    assert sum(map(len, by_key(found, 1).values())) == paid_there


def expected(feature: str, before: Sequence[Payment]) -> float:
    """Compute a feature of the last of a key's events from all of them."""
    op, argument, over, _ = WINDOWS[feature]
    now = before[-1].time
    inside = [each for each in before if now - over < each.time <= now]
    if op == "count":
        return float(len(inside))
    count = len(inside) if op == "mean" else 1
    if argument == "km":
        return fsum(each.km for each in inside) / count
    return float(Fraction(sum(each.cents for each in inside), 100 * count))


def test_features_are_what_the_recorded_order_says(begin: Begin, cluster: FlinkCluster) -> None:
    enlarge(cluster, 5)  # the last takes the place of the one that will be killed
    stage = begin("race", list(WINDOWS), parallelism=2)
    events = {event.id: event for event in payments(RACING_COUNT, cards=200, terminals=40)}
    stage.send(list(events.values()), partitions=4)
    with stage.followed() as seen:
        stage.submit()
        until(lambda: seen.decisions > 0)
        worker = stage.worker("terminal")
        until(lambda: seen.decisions >= RACING_COUNT / 2)
        cluster.kill(worker)
        assert seen.decisions < 0.9 * RACING_COUNT
        until(lambda: seen.decisions == RACING_COUNT)
        found = stage.committed(RACING_COUNT)
    assert sorted(decision["event_id"] for decision in found) == list(events)
    for hop, entity in enumerate(("card", "terminal")):
        for ordered in by_key(found, hop).values():
            before = [events[decision["event_id"]] for decision in ordered]
            for number, decision in enumerate(ordered, 1):
                for feature, (*_, of) in WINDOWS.items():
                    if of == entity:
                        wanted = expected(feature, before[:number])
                        assert wanted.hex() == decision["features"][feature].hex()
    parity = check(stage.pipeline, None, None, stop=threading.Event())
    assert parity.shown == []
    assert parity.compared == parity.equal == parity.events == RACING_COUNT

    copies: dict[bytes, list[bytes]] = defaultdict(list)
    for record in stage.reader(UNCOMMITTED).read():
        copies[dict(record.headers)["source"]].append(record.value)
    differ = [sum(each != first for each in again) for first, *again in copies.values()]
    command = ["repeats", str(stage.folder), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "verdict", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)
    assert said["decisions"] == seen.decisions == len(copies) == RACING_COUNT
    assert said["repeats"] == seen.repeats == sum(len(each) - 1 for each in copies.values()) > 0
    assert said["repeat_differs"] == seen.repeat_differs == sum(differ)
    assert said["last_differs"] == sum(each[0] != each[-1] for each in copies.values())
    assert len(said["differing"]) == min(sum(differ), SHOWN)
    assert done.returncode == bool(sum(differ)), done.stderr
    # The first hop's order is that of a partition.
    for each in said["differing"]:
        assert not any("card" in field or field.startswith("hops.0.") for field in each["fields"])
