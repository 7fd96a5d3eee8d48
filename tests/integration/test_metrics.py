"""Metrics of jobs that run: what a scrape says is what lies in the topics; and they log nothing."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from tests.integration import flink_jobs
from tests.integration.flink_topics import DEADLINE_S, Reader, Topics, start_job, until
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS
from verdict.pipelines.engines.flink.cluster import FlinkCluster
from verdict.pipelines.engines.flink.prepare import prepare
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.engines.flink.submit import SHORT_LIVED_JAVA
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars
from verdict.pipelines.local.ports import free_port
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.telemetry.server import Endpoint

ROOT = Path(__file__).parents[2]

# PyFlink's own, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXAMPLE = ROOT / "examples" / "card-fraud"
EVENT_COUNT, BROKEN = 800, 0.03
HOPS = ("customer", "terminal")
TASK_MANAGER = "flink_taskmanager_Status"


def sums(port: int, *by: str) -> Counter[tuple[str, ...]]:
    """Scrape a page: name and some labels -> sum of the samples. Empty until it is served."""
    found: Counter[tuple[str, ...]] = Counter()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return found
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [sample.labels[label] for label in by if label in sample.labels]
            found[sample.name, *labels] += sample.value  # type: ignore[assignment]  # a float
    return found


class Running:
    """A pipeline whose events are in its topic, and its score job in a process of its own."""

    def __init__(self, kafka: LocalKafka, generator: ModuleType, folder: Path, *more: str) -> None:
        self.port, self.flink_port = free_port(), free_port()
        name = "metered-flink" if more else "metered-embedded"
        self.pipeline = self._pipeline(kafka, folder, name)
        made = clients(self.pipeline.spec.settings)
        create_topics(made, list(self.pipeline.topics.values()))
        producer = Producer(made.producer)
        world = generator.World(days=None, seed=5, broken=BROKEN)
        for transaction in islice(generator.transactions(world), EVENT_COUNT):
            producer.produce(
                self.pipeline.topics[EVENTS], generator.encode(transaction), transaction.key
            )
        assert producer.flush(30) == 0
        self._bootstrap = kafka.bootstrap
        self.err = folder / "stderr"
        with self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "verdict",
                    "run",
                    str(self.pipeline.path),
                    *more,
                ],
                stdout=subprocess.DEVNULL,
                stderr=err,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def _pipeline(self, kafka: LocalKafka, folder: Path, name: str) -> Pipeline:
        for each in ("transaction.avsc", "models"):
            (folder / each).symlink_to(EXAMPLE / each)
        data = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())
        data["pipeline"] = name
        data["events"]["topic"] = f"{name}-events"
        data["topics"] = {stream.value: f"{name}-{stream}" for stream in (DECISIONS, DEAD_LETTERS)}
        data["settings"] = {
            "kafka": {"bootstrap.servers": kafka.bootstrap},
            "checkpoint_interval": "200ms",
            "metrics": {"ports": self.port, "flink_ports": self.flink_port},
        }
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
        return load(folder / "pipeline.yaml")

    def sums(self, port: int, *by: str) -> Counter[tuple[str, ...]]:
        assert self.process.poll() is None, self.err.read_text()
        return sums(port, *by)

    def decided(self) -> bool:
        made = self.sums(self.port)
        return made["verdict_decisions_total",] + made["verdict_dead_letters_total",] == EVENT_COUNT

    def check(self) -> None:
        """Compare what is counted with what lies in the topics."""
        until(self.decided)
        topics, settings = self.pipeline.topics, self.pipeline.spec.settings
        actions = Counter(
            ("verdict_decisions_total", stream_decoder(DECISIONS, settings)(record.value)["action"])
            for record in Reader(self._bootstrap, topics[DECISIONS]).read()
        )
        letters = Counter(
            ("verdict_dead_letters_total", letter["stage"], letter["kind"])
            for record in Reader(self._bootstrap, topics[DEAD_LETTERS]).read()
            for letter in [stream_decoder(DEAD_LETTERS, settings)(record.value)]
        )
        assert sum(letters.values()) > 10 and len(letters) > 2
        made = self.sums(self.port, "action", "kind", "hop", "stage")
        by_action = self.sums(self.port, "action")
        assert {key: by_action[key] for key in actions} == actions
        by_kind = self.sums(self.port, "stage", "kind")
        assert {key: by_kind[key] for key in letters} == letters
        assert made["verdict_events_total", "customer"] == EVENT_COUNT
        decisions = sum(actions.values())
        assert made["verdict_events_total", "terminal"] == decisions
        for hop in HOPS:
            hits = made["verdict_state_cache_hits_total", hop]
            assert 0 < hits <= EVENT_COUNT
            assert made["verdict_hop_seconds_count", hop] == made["verdict_events_total", hop]
            assert 0 < made["verdict_hop_seconds_sum", hop] < DEADLINE_S
        assert made["verdict_end_to_end_seconds_count", "terminal"] == decisions
        assert made["verdict_model_info", "terminal"] == 1
        stages = {key[2] for key in made if key[0] == "verdict_stage_seconds_count"}
        stages |= {key[1] for key in made if key[0] == "verdict_stage_seconds_count"}
        assert {"decode", "features", "formulas", "score", "decide", "encode"} <= stages

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == 0
        assert self.err.read_text() == ""

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def embedded(kafka: LocalKafka, generator: ModuleType, tmp_path: Path) -> Iterator[Running]:
    running = Running(kafka, generator, tmp_path)
    yield running
    running.kill()


@pytest.fixture
def on_flink(kafka: LocalKafka, generator: ModuleType, tmp_path: Path) -> Iterator[Running]:
    prepare(flink_jars())
    running = Running(kafka, generator, tmp_path, "--engine", "flink")
    yield running
    running.kill()


def test_embedded_shows_what_it_decided_and_what_waits(embedded: Running) -> None:
    embedded.check()
    until(lambda: embedded.sums(embedded.port)["verdict_commit_seconds_count",] > 0)
    until(lambda: embedded.sums(embedded.port)["verdict_oldest_undecided_seconds",] == 0)
    made = embedded.sums(embedded.port, "topic", "partition")
    topic = embedded.pipeline.topics[EVENTS]
    assert made["verdict_consumer_lag_records", topic, "0"] == 0
    assert ("verdict_consumer_lag_records", topic, "0") in made
    embedded.stop()


def test_a_job_that_flink_starts_again_is_shown_at_the_same_port(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    """The interpreter stays, and with it what the first attempt left behind."""
    topics = Topics(kafka, "once", flink_jobs.failing_once())
    topics.send("events", [(b"k", b"%d" % n) for n in range(5)])
    where = Endpoint("127.0.0.1", port := free_port(), port)
    settings = FlinkSettings(
        kafka.bootstrap,
        tmp_path / "flink",
        tmp_path / "checkpoints",
        flink_jars(),
        restarts=1,
        metrics=str(where),
        python_path=(ROOT,),
        java_options=SHORT_LIVED_JAVA,
    )
    printed = tmp_path / "printed"
    process = start_job(topics, settings, printed, "failing_once")

    def total() -> float:
        assert process.poll() is None, printed.read_text()
        return sums(port)["verdict_events_total",]

    try:
        until(lambda: total() == 5)
        # What the first attempt made may be in the topic, or may not have left it.
        until(lambda: {out.value for out in topics.outputs()} == {b"%d" % n for n in range(5)})
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 0, printed.read_text()


def test_flink_shows_the_same_and_its_own_beside_it(on_flink: Running) -> None:
    on_flink.check()

    def checkpoints() -> float:
        return on_flink.sums(on_flink.flink_port)[
            "flink_jobmanager_job_numberOfCompletedCheckpoints",
        ]

    until(lambda: checkpoints() > 1)
    names = {key[0] for key in on_flink.sums(on_flink.flink_port)}
    task = "flink_taskmanager_job_task_"
    assert {
        "flink_jobmanager_job_lastCheckpointDuration",
        "flink_jobmanager_job_lastCheckpointSize",
        "flink_jobmanager_job_numRestarts",
        f"{task}backPressuredTimeMsPerSecond",
        f"{task}operator_pendingRecords",
        f"{task}operator_batches",
    } <= names
    on_flink.stop()


@pytest.mark.long
def test_a_standalone_cluster_shows_its_own_from_each_process(tmp_path: Path) -> None:
    port = free_port()
    ports = range(port, port + 10)
    with FlinkCluster(tmp_path, flink_jars(), metrics_ports=f"{ports[0]}-{ports[-1]}"):

        def shown() -> set[str]:
            return {name for port in ports for name, *_ in sums(port)}

        wanted = {"flink_jobmanager_numRegisteredTaskManagers", f"{TASK_MANAGER}_JVM_Threads_Count"}
        until(lambda: wanted <= shown())
