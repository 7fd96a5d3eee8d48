"""Tables that follow a topic of a real broker, and the pipelines that ask them."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from verdict.operators.features.lookups import RowReader
from verdict.operators.names import EVENTS
from verdict.pipelines.errors import KafkaError, SpecError
from verdict.pipelines.formats.avro_file import read_records
from verdict.pipelines.history import backfill
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.package import pack, unpack
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.tables import followed, open, place, shared

DEADLINE_S = 30.0
Ran = Any
"""Of conftest's: what a command left behind."""
ROW = {
    "type": "record",
    "name": "Merchant",
    "fields": [
        {"name": "shop", "type": "string"},
        {"name": "risk", "type": ["null", "double"], "default": None},
        {"name": "name", "type": ["null", "string"], "default": None},
        {"name": "until", "type": ["null", "long"], "default": None},
    ],
}
EVENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "card_id", "type": "string"},
        {
            "name": "amount",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        },
        {"name": "shop", "type": ["null", "string"]},
    ],
}
"""As `verdict init` has it, and a shop."""
T0 = 1_700_000_000_000


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Case:
    """The tiny pipeline with a table of merchants and a list of blocked cards."""

    def __init__(self, folder: Path, kafka: LocalKafka | None = None, prefix: str = "x") -> None:
        self.folder, self.prefix = folder, prefix
        self.file = folder / "pipeline.yaml"
        (folder / "merchant.avsc").write_text(json.dumps(ROW))
        (folder / "event.avsc").write_text(json.dumps(EVENT))
        self.data = yaml.safe_load(self.file.read_text())
        self.data["lookups"] = {
            "merchants": {"schema": "merchant.avsc", "format": "json", "key": "shop"},
            "blocked": {
                **{"schema": "merchant.avsc", "format": "json"},
                **{"key": "card_id", "row_key": "shop", "expires": "until"},
            },
        }
        self.data["features"] |= {
            "risk": {"lookup": "merchants", "field": "risk", "default": 0.25},
            "blocked": {"listed_in": "blocked"},
            "risky_amount": "amount * risk",
        }
        self.data["decide"] = {
            "rules": [{"name": "on_list", "when": "blocked == 1", "action": "stop"}]
        }
        if kafka is None:
            for name in self.data["lookups"]:
                self.data["lookups"][name]["files"] = [f"{name}.jsonl"]
        else:
            self.data["pipeline"] = prefix
            del self.data["events"]["files"]
            self.data["events"]["topic"] = f"{prefix}-events"
            for name in self.data["lookups"]:
                self.data["lookups"][name]["topic"] = f"{prefix}-{name}"
            streams = ("decisions", "dead-letters", "shadow-scores", "drift", "comparison")
            self.data["topics"] = {stream: f"{prefix}-{stream}" for stream in streams}
            self.data["settings"] = {"kafka": {"bootstrap.servers": kafka.bootstrap}}
            self.bootstrap = kafka.bootstrap
            self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
        self.write()

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.data, sort_keys=False))

    def make_topics(self, partitions: int = 1) -> Pipeline:
        pipeline = load(self.file)
        names = [*pipeline.topics.values(), *pipeline.lookup_topics]
        create_topics(clients(pipeline.spec.settings), names, partitions)
        return pipeline

    def put(self, table: str, key: str | None, row: dict[str, Any] | bytes | None) -> None:
        value = json.dumps({"shop": key, **row}).encode() if isinstance(row, dict) else row
        self.producer.produce(f"{self.prefix}-{table}", value, None if key is None else key)
        assert self.producer.flush(10) == 0

    def send(self, number: int, card: str = "c1", shop: str | None = "m1", at: int = T0) -> None:
        self.producer.produce(f"{self.prefix}-{EVENTS}", payment(number, card, shop, at), card)
        assert self.producer.flush(10) == 0


def payment(number: int, card: str = "c1", shop: str | None = "m1", at: int = T0) -> bytes:
    event = {"id": f"e{number}", "time": at, "card_id": card, "amount": 10.0, "shop": shop}
    return json.dumps(event).encode()


def opened(pipeline: Pipeline) -> dict[str, followed.Followed]:
    found = open.lookups(pipeline, place.place(pipeline))
    assert found is not None
    return {table.name: table for table in found.tables if isinstance(table, followed.Followed)}


@pytest.fixture
def case(tiny: Path, kafka: LocalKafka, request: pytest.FixtureRequest) -> Case:
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")
    return Case(tiny, kafka, name[:60].strip("-"))


def test_a_table_is_full_before_it_is_asked_and_follows_its_topic(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = case.make_topics(partitions=3)
    for number in range(3_000):
        case.producer.produce(
            f"{case.prefix}-merchants", b'{"shop": "", "risk": 1}', b"%d" % number
        )
    case.put("merchants", "gone", {"risk": 0.5})
    case.put("merchants", "gone", None)
    tables = opened(pipeline)
    with closing(tables["blocked"]), closing(tables["merchants"]) as table:
        assert table.rows == 3_000
        assert table.get(b"0") is not None and table.get(b"gone") is None
        case.put("merchants", "new", {"risk": 0.5})
        until(lambda: table.get(b"new") is not None)
        before = table.get(b"new")
        with caplog.at_level(logging.WARNING):
            case.put("merchants", "new", b"no row at all")
            case.put("merchants", None, {"risk": 1})
            case.put("merchants", "new", {"risk": "a text"})
            until(lambda: table.bad == 3)
        assert table.get(b"new") == before, "a bad row leaves the one that was there"
        assert len(caplog.messages) == 3
        assert all("merchants" in said and "a text" not in said for said in caplog.messages)
        case.put("merchants", "new", None)
        until(lambda: table.get(b"new") is None)
        until(lambda: table.lag == 0)
        assert table.rows == 3_000


def test_it_goes_on_where_it_was_unless_that_was_long_ago_or_otherwise_packed(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = case.make_topics()
    packed: list[bytes] = []

    def counting(self: RowReader, value: bytes) -> Any:
        packed.append(value)
        return whole(self, value)

    whole = RowReader.pack
    monkeypatch.setattr(RowReader, "pack", counting)

    def start(pipeline: Pipeline) -> tuple[int, int]:
        packed.clear()
        tables = opened(pipeline)
        found = tables["merchants"].rows, len(packed)
        for table in tables.values():
            table.close()
        return found

    case.put("merchants", "m1", {"risk": 0.5})
    case.put("merchants", "m2", {"risk": 0.5})
    assert start(pipeline) == (2, 2)
    case.put("merchants", "m3", {"risk": 0.5})
    assert start(pipeline) == (3, 1), "only what is new is read"
    with monkeypatch.context() as later, caplog.at_level(logging.WARNING):
        later.setattr(followed, "OLDEST_S", 0.0)
        assert start(pipeline) == (3, 3)
    assert "filled anew" in caplog.text
    case.data["features"]["other"] = {"lookup": "merchants", "field": "until", "default": 0}
    case.write()
    assert start(load(case.file)) == (3, 3), "a further field of the row is read"


def test_hops_of_a_process_share_a_table_and_another_has_its_own(case: Case) -> None:
    pipeline = case.make_topics()
    one, two = opened(pipeline)["blocked"], opened(pipeline)["blocked"]
    assert one is two
    one.close()
    case.put("blocked", "c1", {})
    until(lambda: two.get(b"c1") is not None)
    folder = case.folder / ".verdict" / case.prefix / "lookups" / "blocked"
    assert sorted(path.name for path in folder.iterdir()) == ["0"]
    # The other user of a folder would be another process; it sees the same lock.
    beside = shared.claim(folder, "elsewhere")
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1"]
    beside.close()
    for table in list(shared.tables.values()):
        table.users = 1
        table.close()
    assert not shared.tables


def test_a_cluster_has_its_tables_where_the_pipeline_is_unpacked(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = case.make_topics()
    case.put("merchants", "m1", {"risk": 0.5})
    where = place.place(pipeline)
    package = pack(pipeline)
    (case.folder / "merchant.avsc").unlink()
    monkeypatch.setenv("VERDICT_CACHE", str(tmp_path / "cache"))
    found = open.lookups(load(unpack(package)), where)
    assert found is not None
    assert sorted((table.name, table.rows) for table in found.tables) == [
        ("blocked", 0),
        ("merchants", 1),
    ]
    for table in found.tables:
        table.close()
    assert (tmp_path / "cache" / "lookups" / case.prefix / "merchants" / "0").is_dir()
    assert not (case.folder / ".verdict").exists()


def test_a_missing_topic_and_a_topic_that_says_nothing_are_errors(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load(case.file)
    with pytest.raises(KafkaError, match=r"merchants' does not exist .*topics create"):
        opened(pipeline)
    pipeline = case.make_topics()
    case.put("merchants", "m1", {"risk": 0.5})
    monkeypatch.setattr(followed, "READY_S", -1.0)
    monkeypatch.setattr(followed, "LOOK_S", 0.0)
    with pytest.raises(KafkaError, match=r"records of topic '.*' are still to be read"):
        opened(pipeline)
    assert not shared.tables, "what was opened is let go of"


def test_a_table_that_cannot_follow_answers_no_more(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = opened(case.make_topics())
    table = tables["merchants"]

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(table._table, "apply", full)
    case.put("merchants", "m1", {"risk": 0.5})
    until(lambda: table.failed)
    with pytest.raises(Exception, match=r"cannot follow .*no space left"):
        table.get(b"m1")
    for each in tables.values():
        each.close()


def test_topics_create_makes_the_followed_ones_compacted(
    case: Case, verdict: Callable[..., Ran]
) -> None:
    ran = verdict("topics", "create", case.file)
    assert ran.code == 0 and f"{case.prefix}-merchants: created" in ran.out
    admin = AdminClient({"bootstrap.servers": case.bootstrap})

    def policy(topic: str) -> str:
        resource = ConfigResource(ResourceType.TOPIC, f"{case.prefix}-{topic}")
        found = admin.describe_configs([resource])[resource].result(timeout=10)
        return str(found["cleanup.policy"].value)

    assert (policy("merchants"), policy("events")) == ("compact", "delete")


def over_files(folder: Path) -> Case:
    case = Case(folder)
    rows = [{"shop": "m1", "risk": 0.5}, {"shop": "m2", "risk": 0.1}, {"shop": "m1", "risk": 0.75}]
    (folder / "merchants.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    blocked = {"shop": "c9", "until": T0 + 5}
    (folder / "blocked.jsonl").write_text(json.dumps(blocked) + "\n{broken\n")
    events = [
        payment(1),
        payment(2, shop="m7"),
        payment(3, card="c9", shop=None, at=T0 + 4),
        payment(4, card="c9", shop="m2", at=T0 + 5),
    ]
    (folder / "events.jsonl").write_bytes(b"\n".join(events))
    return case


def test_rows_of_files_are_there_before_the_first_event(
    tiny: Path, verdict: Callable[..., Ran], tmp_path: Path
) -> None:
    case = over_files(tiny)
    ran = verdict("run", case.file, "--to", tmp_path / "out", "--state", tmp_path / "state")
    assert ran.code == 0, ran.err
    found = list(read_records(tmp_path / "out" / "decisions.avro"))
    values = [(d["features"]["risk"], d["features"]["blocked"], d["action"]) for d in found]
    assert values == [
        (0.75, 0.0, "approve"),
        (0.25, 0.0, "approve"),
        (0.25, 1.0, "stop"),
        (0.1, 0.0, "approve"),
    ]
    assert [d["features"]["risky_amount"] for d in found] == [7.5, 2.5, 2.5, 1.0]
    (trained,) = backfill.batches(load(case.file), [tiny / "events.jsonl"], features_only=True)
    names = list(found[0]["features"])
    assert trained.select(names).to_pylist() == [d["features"] for d in found]
    assert not (tiny / ".verdict").exists(), "--state says where tables are, too"

    # Tables move on; what was derived from a row is held against the row that was found then.
    for table in ("merchants.jsonl", "blocked.jsonl"):
        (tiny / table).write_text("")
    ran = verdict("parity", case.file, "--decisions", tmp_path / "out" / "decisions.avro", "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["compared"], told["shown"]) == (0, 4, [])
    assert told["features"]["risk"] == {"lookup": 4}
    assert told["features"]["risky_amount"] == told["features"]["action"] == {"same": 4}


FAULTS: list[tuple[list[str], Any, str]] = [
    (["features", "risk", "lookup"], "merchant", "no lookup. Did you mean 'merchants'?"),
    (["features", "risk", "field"], "rsk", "the rows' schema has no field 'rsk'. Did you mean"),
    (["features", "risk", "field"], "name", "'name' is a string, no number"),
    (["lookups", "merchants", "key"], "amount", "'amount' is a decimal; a key is a string or"),
    (["lookups", "merchants", "key"], "time", "'time' is a time; a key is a string or"),
    (["lookups", "merchants", "key"], "shp", "no field 'shp'. Did you mean 'shop'?"),
    (["lookups", "blocked", "row_key"], "risk", "'risk' is a number; a key is a string or"),
    (["lookups", "blocked", "expires"], "name", "'name' is no long: a time is one"),
    (["lookups", "blocked", "expires"], "til", "the rows' schema has no field 'til'"),
    (["lookups", "merchants", "schema"], "no.avsc", "no.avsc"),
    (["lookups", "merchants", "files"], ["m.avro"], "format json lie in .jsonl files"),
    (["lookups", "merchants", "files"], [], "say 'topic', or 'files'"),
    (["lookups", "merchants", "topic"], "decisions", "is the topic of events or of an output"),
    (["lookups", "merchants", "format"], "confluent", "confluent wants settings.schemas"),
    (["features", "risk", "field"], None, "say which 'field'"),
    (["features", "blocked", "default"], 0, "never needs a default"),
]


@pytest.mark.parametrize(("place", "value", "says"), FAULTS)
def test_check_finds_what_is_wrong_and_its_line(
    tiny: Path, place: list[str], value: Any, says: str
) -> None:
    case = over_files(tiny)
    inner = case.data
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    case.write()
    with pytest.raises(SpecError) as refused:
        load(case.file)
    message = next(each for each in refused.value.messages if says in each)
    section, name = place[:2]
    line = int(message.removeprefix(f"{case.file}:").partition(":")[0])
    lines = case.file.read_text().splitlines()
    first = lines.index(f"  {name}:", lines.index(f"{section}:")) + 1
    assert first <= line <= first + len(inner) + 1


def test_events_and_rows_come_from_the_same_kind_of_place(tiny: Path) -> None:
    case = over_files(tiny)
    case.data["lookups"]["merchants"] |= {"topic": "merchants"}
    del case.data["lookups"]["merchants"]["files"]
    case.write()
    with pytest.raises(SpecError, match="'merchants' names none: a topic says what is true now"):
        load(case.file)
    del case.data["events"]["files"]
    case.data["events"]["topic"] = "payments"
    case.write()
    with pytest.raises(SpecError, match="come from a topic, and lookup 'blocked' names none"):
        load(case.file)
    case.data["lookups"]["blocked"]["topic"] = "blocked"
    case.write()
    pipeline = load(case.file)
    assert pipeline.lookup_topics == ["merchants", "blocked"]
    with pytest.raises(SpecError, match="lookup 'merchants' names none"):
        over(pipeline, [tiny / "events.jsonl"])


def test_a_list_can_do_without_a_schema(tiny: Path) -> None:
    case = over_files(tiny)
    case.data["lookups"] = {"blocked": {"topic": "blocked", "key": "card_id"}}
    for name in ("risk", "risky_amount"):
        del case.data["features"][name]
    del case.data["events"]["files"]
    case.data["events"]["topic"] = "payments"
    case.write()
    load(case.file)
    case.data["features"]["risk"] = {"lookup": "blocked", "field": "risk"}
    case.write()
    with pytest.raises(SpecError, match="reads 'risk' of a row: say the 'schema'"):
        load(case.file)
