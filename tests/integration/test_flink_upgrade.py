"""A standalone cluster through its life: upgrades, rescaling, roll-back, crashes."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.integration import flink_jobs
from tests.integration.flink_topics import COMMITTED, DEADLINE_S, UNCOMMITTED, Reader, Topics, until
from verdict.pipelines.deployment import exchange as exchanging
from verdict.pipelines.deployment import submit
from verdict.pipelines.deployment.exchange import STOP_S, come_up, exchange
from verdict.pipelines.deployment.program import Program, home_of, program
from verdict.pipelines.deployment.record import Submitted
from verdict.pipelines.engines.flink.cluster import JOB_MANAGER_NAME, FlinkCluster
from verdict.pipelines.engines.flink.offsets import read_up_to
from verdict.pipelines.engines.flink.prepare import prepare
from verdict.pipelines.engines.flink.rest import ENDED, Rest
from verdict.pipelines.engines.flink.settings import SAVEPOINTS, FlinkSettings
from verdict.pipelines.engines.flink.submit import SHORT_LIVED_JAVA, Submitter, submitting
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.history.backfill import batches
from verdict.pipelines.history.bootstrap_flink import bootstrap
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """Two slots; what TaskManagers unpack comes to lie in the folder's ``cache``."""
    jars = flink_jars()
    prepare(jars)
    folder = tmp_path_factory.mktemp("cluster")
    variables = {"VERDICT_CACHE": str(folder / "cache")}
    with FlinkCluster(
        folder,
        jars,
        2,
        python_path=(ROOT,),
        variables=variables,
        java_options=SHORT_LIVED_JAVA,
    ) as running:
        yield running


@pytest.fixture
def settings(kafka: LocalKafka, tmp_path: Path) -> FlinkSettings:
    return FlinkSettings(
        kafka.bootstrap,
        tmp_path / "flink",
        tmp_path / "checkpoints",
        flink_jars(),
        checkpoint_interval_ms=3_600_000,  # none but those that a test asks for
        slot_groups=True,
        python_path=(ROOT,),
    )


@pytest.fixture
def client(cluster: FlinkCluster, settings: FlinkSettings) -> Iterator[Submitter]:
    with submitting(cluster.address, settings) as found:
        yield found


@pytest.fixture(autouse=True)
def slots_are_given_back(cluster: FlinkCluster) -> Iterator[None]:
    """Cancel what a test that failed leaves, so that it fails alone; `cards` goes on to the end."""
    yield
    rest = Rest(cluster.address)
    for job in rest.get("/jobs/overview")["jobs"]:
        if job["state"] not in ENDED and job["name"] != "cards/score":
            rest.cancel(job["jid"])
            until(partial(lambda job_id: rest.state(job_id) in ENDED, job["jid"]))


def counts(topics: Topics, isolation: str = COMMITTED) -> list[tuple[bytes, int, bytes]]:
    """Read what `Count` put out: key, its number of the event, the event."""
    found = []
    for out in topics.outputs(isolation):
        if out.stream == "seen":
            number, value = (out.value or b"").split()[:2]
            found.append((out.key or b"", int(number[1:]), value))
    return found


@pytest.mark.long
def test_savepoint_takes_an_output_more_and_another_parallelism(
    kafka: LocalKafka, cluster: FlinkCluster, settings: FlinkSettings, client: Submitter
) -> None:
    topics = Topics(kafka, "exchanged", flink_jobs.copying(), partitions=2)
    rest = Rest(cluster.address)
    one = Program(flink_jobs.counting(), topics.names, settings)
    two = Program(flink_jobs.copying(), topics.names, replace(settings, parallelism=2))
    keys = [b"k%d" % number for number in range(8)]

    def decided(rounds: int) -> None:
        """Send an event more of each key: who reads committed waits for a checkpoint."""
        before = counts(topics)
        topics.send("events", [(key, b"%d" % rounds) for key in keys])
        wanted = [(key, turn, b"%d" % turn) for key in keys for turn in range(1, rounds + 1)]
        until(lambda: sorted(counts(topics, UNCOMMITTED)) == sorted(wanted))
        assert counts(topics) == before
        rest.checkpoint(job_id)
        until(lambda: sorted(counts(topics)) == sorted(wanted))

    job_id = client.prepare(one.job, one.topics, one.settings)()
    come_up(rest, job_id)
    decided(1)
    job_id = exchange(client, rest, job_id, one, two).job_id
    decided(2)
    assert len(topics.read("copies", COMMITTED)) == len(keys)
    assert rest.tasks(job_id)["RUNNING"] > len(rest.get(f"/jobs/{job_id}")["vertices"])
    job_id = exchange(client, rest, job_id, two, replace(two, settings=settings)).job_id
    decided(3)
    assert len(topics.read("copies", COMMITTED)) == 2 * len(keys)
    rest.cancel(job_id)


def test_what_is_not_written_any_more_is_collected(
    kafka: LocalKafka, cluster: FlinkCluster, settings: FlinkSettings, client: Submitter
) -> None:
    ttl_ms = 3_000
    topics = Topics(kafka, "collected", flink_jobs.counting())
    rest = Rest(cluster.address)
    job = flink_jobs.counting()
    hops = tuple(replace(hop, state_ttl=ttl_ms) for hop in job.hops)
    program = Program(replace(job, hops=hops), topics.names, settings)
    job_id = client.prepare(program.job, program.topics, program.settings)()
    come_up(rest, job_id)
    topics.send("events", [(b"idle", b"1"), (b"busy", b"1")])
    until(lambda: len(counts(topics, UNCOMMITTED)) == 2)
    written = time.monotonic()
    rest.checkpoint(job_id)
    until(lambda: time.monotonic() > written + ttl_ms / 1000)
    for number in range(2, 10):  # each checkpoint makes a file, and four of them a compaction
        topics.send("events", [(b"busy", b"%d" % number)])
        until(partial(lambda wanted: len(counts(topics, UNCOMMITTED)) == wanted, number + 1))
        rest.checkpoint(job_id)
    # From a savepoint, for the process that counted has the heads in memory.
    job_id = exchange(client, rest, job_id, program, program).job_id
    topics.send("events", [(b"idle", b"2"), (b"busy", b"10")])
    until(lambda: len(counts(topics, UNCOMMITTED)) == 12)
    assert sorted(counts(topics, UNCOMMITTED))[-2:] == [(b"idle", 1, b"1"), (b"idle", 1, b"2")]
    assert (b"busy", 10, b"10") in counts(topics, UNCOMMITTED)
    rest.cancel(job_id)


TEXT = """
pipeline: cards
events:
  topic: cards-events
  format: json
  schema: event.avsc
  id: id
  time: time
  keyed_by: card
entities: {card: card_id}
features:
  amount: amount
  card_count_1h: {count: "*", over: 30d, by: card}
model: model
decide:
  thresholds: [{at: 0.0, action: review}]
topics: {decisions: cards-decisions, dead-letters: cards-dead-letters}
settings:
  checkpoint_interval: 300ms
"""
LABEL = """{"type": "record", "name": "Label", "fields": [
  {"name": "id", "type": "string"}, {"name": "fraud", "type": "boolean"},
  {"name": "time", "type": "long"}, {"name": "card_id", "type": "string"}]}"""
LABELS = """labels:
  {topic: TOPIC, format: json, schema: label.avsc, event_id: id, value: fraud, known_at: time,
   event_time: time, keys: {card: card_id}}
model: """
LABELLED = "  card_frauds_1h: {sum: label, over: 1h, delay: 50ms, by: card}\n"
UNSTARTABLE = """
import sys

# PyFlink's bridge, which there is in a TaskManager alone.
if "pemja" in sys.modules:
    raise ImportError("this feature was meant not to load in a worker")


def one(event):
    return 1.0
"""


class Cards:
    """A pipeline of one hop, and what it decided."""

    def __init__(self, kafka: LocalKafka, folder: Path, topics: str = "cards") -> None:
        self.kafka, self.folder, self.state = kafka, folder, folder.parent / "state"
        self.topics = topics
        shutil.copytree(resource("init"), folder)
        config = {"bootstrap.servers": kafka.bootstrap}
        self._producer = Producer({**config, "log_level": 0, "partitioner": "murmur2_random"})
        self.write("pipeline: cards", "pipeline: cards")
        self._decode = stream_decoder("decisions", self.load().spec.settings)
        made = clients(self.load().spec.settings)
        create_topics(made, [f"{topics}-events"], partitions=2)
        names = ("others", "decisions", "dead-letters")
        create_topics(made, [f"{topics}-{name}" for name in names])
        self.sent: list[str] = []
        self._readers: dict[str, Reader] = {}
        self._decided: dict[str, list[Any]] = {COMMITTED: [], UNCOMMITTED: []}

    def write(self, old: str, new: str) -> None:
        """Write the pipeline file with a change."""
        assert old in TEXT
        text = TEXT.replace(old, new).replace("cards-", f"{self.topics}-")
        text += f"  kafka: {{bootstrap.servers: '{self.kafka.bootstrap}'}}"
        (self.folder / "pipeline.yaml").write_text(text)

    def load(self) -> Pipeline:
        return load(self.folder / "pipeline.yaml")

    def event(self, number: int) -> dict[str, Any]:
        """Make the n-th event."""
        time, card = 1_700_000_000_000 + number, f"card{number % 3}"
        return {"id": f"e{number}", "time": time, "card_id": card, "amount": 12.5}

    def send(self, count: int) -> None:
        """Send events of three cards."""
        for _ in range(count):
            number = len(self.sent)
            card = f"card{number % 3}"
            self._producer.produce(
                f"{self.topics}-events", json.dumps(self.event(number)), card.encode()
            )
            self.sent.append(card)
        assert self._producer.flush(30) == 0

    def decisions(self, isolation: str = COMMITTED) -> list[Any]:
        reader = self._readers.get(isolation)
        if reader is None:
            reader = Reader(self.kafka.bootstrap, f"{self.topics}-decisions", isolation)
            self._readers[isolation] = reader
        found = self._decided[isolation]
        found += [self._decode(record.value) for record in reader.read()[len(found) :]]
        return list(found)

    def places(self) -> dict[str, tuple[str, int]]:
        """Return where each decided event lies: id -> topic/partition, offset."""
        found = {}
        for record in self._readers[COMMITTED].read():
            partition, _, offset = dict(record.headers)["source"].decode().rpartition("/")
            found[self._decode(record.value)["event_id"]] = (partition, int(offset))
        return found

    def settle(self) -> list[Any]:
        """Wait until all is decided, each event once, and nothing was forgotten meanwhile."""
        until(lambda: len(self.decisions()) >= len(self.sent))
        found = sorted(self.decisions(), key=lambda decision: int(decision["event_id"][1:]))
        assert [decision["event_id"] for decision in found] == [
            f"e{number}" for number in range(len(self.sent))
        ]
        seqs = [decision["hops"][0]["hop_seq"] for decision in found]
        assert seqs == [self.sent[: i + 1].count(card) for i, card in enumerate(self.sent)]
        return found


def test_savepoint_says_up_to_where_it_has_read(
    kafka: LocalKafka, cluster: FlinkCluster, settings: FlinkSettings, client: Submitter
) -> None:
    topics = Topics(kafka, "offsets", flink_jobs.counting(), partitions=3)
    rest = Rest(cluster.address)
    program = Program(flink_jobs.counting(), topics.names, replace(settings, parallelism=2))
    producer = Producer(topics.config)
    for partition, count in ((0, 7), (2, 300)):
        for number in range(count):
            producer.produce(topics.names["events"], b"%d" % number, b"k", partition=partition)
    assert producer.flush(30) == 0
    job_id = client.prepare(program.job, program.topics, program.settings)()
    come_up(rest, job_id)  # whichever subtask has no events, too
    until(lambda: len(counts(topics, UNCOMMITTED)) == 307)
    savepoint = rest.stop(job_id, settings.checkpoint_folder / SAVEPOINTS, STOP_S)
    wanted = {"offsets-events/0": 7, "offsets-events/1": 0, "offsets-events/2": 300}
    assert read_up_to(savepoint) == wanted
    (savepoint / "_metadata").write_bytes(b"no savepoint")
    with pytest.raises(FlinkError, match=f"^{savepoint}: its offsets cannot be read"):
        read_up_to(savepoint)


FEATURE = "features:\n  card_sum_30d: {sum: amount, over: 30d, by: card}\n"


def labelled(cards: Cards) -> Path:
    """Add the first feature over labels: of the events so far, behind 8,000 of other cards.

    Returns a file of the same labels.
    """
    topic = f"{cards.topics}-labels"
    create_topics(clients(cards.load().spec.settings), [topic], partitions=2)
    producer = Producer(
        {"bootstrap.servers": cards.kafka.bootstrap, "partitioner": "murmur2_random"}
    )
    others = [{**cards.event(n), "id": f"other{n}", "card_id": f"other{n}"} for n in range(8_000)]
    labels = []
    for event in [*others, *(cards.event(n) for n in range(len(cards.sent)))]:
        labels.append(json.dumps({**event, "fraud": True}))
        producer.produce(topic, labels[-1], event["card_id"])
    assert producer.flush(30) == 0
    file = cards.folder / "labels.jsonl"
    file.write_text("\n".join(labels) + "\n")
    (cards.folder / "label.avsc").write_text(LABEL)
    pipeline = cards.folder / "pipeline.yaml"
    text = pipeline.read_text().replace("features:\n", f"features:\n{LABELLED}")
    pipeline.write_text(text.replace("model: ", LABELS.replace("TOPIC", topic), 1))
    return file


@pytest.mark.parametrize("over_labels", [False, pytest.param(True, marks=pytest.mark.long)])
def test_new_feature_is_warm_while_the_old_job_decides(
    over_labels: bool, kafka: LocalKafka, cluster: FlinkCluster, tmp_path: Path
) -> None:
    """Added by an upgrade it is cold; after a bootstrap it is what a backfill says, at once.

    So is one over labels, none of which is overtaken by the events that come after them.
    """
    name = "told" if over_labels else "warm"
    cards = Cards(kafka, tmp_path / "pipeline", name)
    rest, address = Rest(cluster.address), cluster.address
    cards.write("pipeline: cards", f"pipeline: {name}")
    submit.submit(cards.load(), "score", cards.state, address, bounded=False)
    cards.send(200)
    cards.settle()
    text = (cards.folder / "pipeline.yaml").read_text()
    (cards.folder / "pipeline.yaml").write_text(text.replace("features:\n", FEATURE))
    submit.upgrade(cards.load(), "score", cards.state, address)
    cards.send(3)
    assert [hop["cold"] for d in cards.settle()[-3:] for hop in d["hops"]] == [["card_sum_30d"]] * 3

    labels = [labelled(cards)] if over_labels else None
    home = home_of(cards.load(), "score", cards.state)
    stop = threading.Event()

    def play() -> None:
        while not stop.wait(0.05):
            cards.send(5)

    player = threading.Thread(target=play)
    player.start()
    told: list[tuple[int, int]] = []
    try:
        done = bootstrap(
            cards.load(), cards.state, address, tell=lambda read, of: told.append((read, of))
        )
        decided = len(cards.decisions())
        until(lambda: len(cards.decisions()) > decided + 50)
    finally:
        stop.set()
        player.join()
    found = cards.settle()  # none lost, none decided twice, none missing in the new state

    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(cards.event(n)) + "\n" for n in range(len(cards.sent))))
    rows = [
        row
        for batch in batches(cards.load(), [events], features_only=True, labels=labels)
        for row in batch.to_pylist()
    ]
    places = cards.places()
    live = 0
    for decision, row in zip(found, rows, strict=True):
        partition, offset = places[decision["event_id"]]
        if offset >= done.decided[partition]:
            live += 1
            if over_labels:
                assert decision["features"]["card_frauds_1h"] == row["card_frauds_1h"] > 60
            assert decision["features"]["card_sum_30d"] == row["card_sum_30d"]
            assert decision["hops"][0]["cold"] == []
        elif "card_sum_30d" in decision["features"]:
            assert decision["features"]["card_sum_30d"] < row["card_sum_30d"]
            assert decision["hops"][0]["cold"] == ["card_sum_30d"]
    assert live > 50
    assert told[-1][0] == told[-1][1] >= 203

    assert list(rest.jobs(f"{name}/score")) == [done.job_id]
    assert Submitted.read(home)[0].job_id == done.job_id
    # Whatever starts it from now on, and from whatever checkpoint, decides nothing again.
    assert program(cards.load(), "score", cards.state).settings.silent == done.decided
    assert not (home / "checkpoints-silent").exists()
    rest.cancel(done.job_id)
    until(lambda: rest.slots().free == 2)


@pytest.fixture(scope="module")
def cards(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Cards:
    return Cards(kafka, tmp_path_factory.mktemp("cards") / "pipeline")


def test_pipeline_is_changed_while_it_decides(cards: Cards, cluster: FlinkCluster) -> None:
    def change(**options: Any) -> exchanging.Upgraded:
        return submit.upgrade(cards.load(), "score", cards.state, cluster.address, **options)

    submit.submit(cards.load(), "score", cards.state, cluster.address, bounded=False)
    with pytest.raises(FlinkError, match=f"^cards/score runs on {cluster.address} already"):
        submit.submit(cards.load(), "score", cards.state, cluster.address, bounded=False)
    cards.send(10)
    assert {decision["action"] for decision in cards.settle()} == {"review"}

    cards.write("at: 0.0", "at: 2.0")
    done = change()
    cards.send(10)
    assert [decision["action"] for decision in cards.settle()] == ["review"] * 10 + ["approve"] * 10
    assert done.savepoint.parent == cards.state / "cards/score-flink/checkpoints/savepoints"

    shutil.copytree(cards.folder / "model", cards.folder / "other")
    card = cards.folder / "other" / "model.yaml"
    card.write_text(card.read_text().replace("version: '1'", "version: '2'"))
    cards.write("model: model", "model: other")
    change()
    cards.send(10)
    versions = [decision["model"]["version"] for decision in cards.settle()]
    assert versions == ["1"] * 20 + ["2"] * 10


def test_bootstrap_that_is_broken_off_or_refused_leaves_the_job_as_it_was(
    cards: Cards, cluster: FlinkCluster
) -> None:
    rest = Rest(cluster.address)
    running = rest.jobs("cards/score")
    command = ["bootstrap", str(cards.folder), "--cluster", cluster.address]
    with subprocess.Popen(
        [sys.executable, "-m", "verdict", *command, "--state", str(cards.state)],
        stderr=subprocess.PIPE,
        text=True,
    ) as asked:
        until(lambda: list(rest.jobs("cards/score, silent").values()) == ["RUNNING"])
        asked.send_signal(signal.SIGINT)
        _, said = asked.communicate(timeout=DEADLINE_S)
    assert asked.returncode == 130
    assert "the one that decides goes on as it was" in said
    assert rest.jobs("cards/score, silent") == {}
    for old, new, said in (
        ("topic: cards-events", "topic: cards-others", "events would be read from 'cards-others'"),
        ("settings:", "settings:\n  parallelism: 3", "would need 3 slots beside .* has 1 free"),
    ):
        text = (cards.folder / "pipeline.yaml").read_text()
        cards.write(old, new)
        with pytest.raises(FlinkError, match=said):
            bootstrap(cards.load(), cards.state, cluster.address)
        (cards.folder / "pipeline.yaml").write_text(text)
    assert rest.jobs("cards/score") == running
    cards.send(5)
    cards.settle()


def test_upgrade_that_cannot_keep_the_state_is_refused_and_stops_nothing(
    cards: Cards, cluster: FlinkCluster
) -> None:
    rest = Rest(cluster.address)
    running = rest.jobs("cards/score")
    for old, new, said in (
        ("topic: cards-events", "topic: cards-others", "events would be read from 'cards-others'"),
        ("card: card_id", "card: id", "entity card: its key was card_id and is id"),
        ("settings:", "settings:\n  parallelism: 3", "would need 3 slots, .* has 1 free and 1 of"),
        ("pipeline: cards", "pipeline: others", "this state knows of no job"),
    ):
        text = (cards.folder / "pipeline.yaml").read_text()
        cards.write(old, new)
        with pytest.raises(FlinkError, match=said):
            submit.upgrade(cards.load(), "score", cards.state, cluster.address)
        (cards.folder / "pipeline.yaml").write_text(text)
    assert rest.jobs("cards/score") == running


def test_command_goes_back_to_a_job_that_comes_up(cards: Cards, cluster: FlinkCluster) -> None:
    (cards.folder / "mine.py").write_text(UNSTARTABLE)
    cards.write("model: model", '  mine: {python: "mine.py:one", reads: [amount]}\nmodel: model')
    command = ["upgrade", str(cards.folder), "--cluster", cluster.address, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "verdict", *command, "--state", str(cards.state)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert "this feature was meant not to load in a worker" in said["rolled_back"]
    assert list(Rest(cluster.address).jobs("cards/score")) == [said["id"]]
    cards.send(10)
    assert cards.settle()[-1]["model"]["version"] == "2"


@pytest.mark.long
def test_nothing_is_lost_and_nothing_committed_twice_when_processes_die(
    cards: Cards, cluster: FlinkCluster
) -> None:
    stop = threading.Event()

    def play() -> None:
        while not stop.wait(0.02):
            cards.send(5)

    player = threading.Thread(target=play)
    player.start()
    try:
        until(lambda: len(cards.decisions()) > 100)
        for name in [name for name in cluster.pids if name != JOB_MANAGER_NAME]:
            cluster.kill(name)
        cluster.add_task_manager()
        decided = len(cards.decisions())
        until(lambda: len(cards.decisions()) > decided)

        cluster.kill(JOB_MANAGER_NAME)
        cluster.restart_job_manager()
        cards.write("model: model", "model: other")
        submit.submit(cards.load(), "score", cards.state, cluster.address, bounded=False)
        decided = len(cards.decisions())
        until(lambda: len(cards.decisions()) > decided)
    finally:
        stop.set()
        player.join()
    cards.settle()
    hot = [decision["event_id"] for decision in cards.decisions(UNCOMMITTED)]
    assert set(hot) == {f"e{number}" for number in range(len(cards.sent))}
    assert len(hot) > len(cards.sent)


@pytest.mark.long
def test_worker_needs_nothing_of_the_pipeline_but_what_the_job_carries(
    cards: Cards, cluster: FlinkCluster
) -> None:
    shutil.rmtree(cards.folder)
    for name in cluster.pids:
        if name != JOB_MANAGER_NAME:
            cluster.kill(name)
    shutil.rmtree(cluster.folder / "cache")
    cluster.add_task_manager()
    cards.send(10)
    cards.settle()
    assert list((cluster.folder / "cache" / "pipelines").glob("*/pipeline.yaml"))


@pytest.mark.long
def test_application_mode_goes_on_by_itself_when_the_job_manager_comes_again(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    cards = Cards(kafka, tmp_path / "pipeline", "application")
    asked = ["score", "--pipeline", str(cards.folder), "--state", str(cards.state)]
    with FlinkCluster(
        tmp_path / "cluster", flink_jars(), java_options=SHORT_LIVED_JAVA, application=asked
    ) as cluster:
        cards.send(10)
        cards.settle()
        cluster.kill(JOB_MANAGER_NAME)
        cards.send(10)
        cluster.restart_job_manager()
        cards.settle()
        assert len(cards.decisions(UNCOMMITTED)) >= 20
