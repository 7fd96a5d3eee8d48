"""Bad input on both engines: each bad record is a dead letter, and the stream goes on behind it."""

import hashlib
import importlib.util
import io
import json
import logging
import math
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from verdict.operators.events import schema as schemas
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS, SCORE_JOB
from verdict.operators.records.dead_letter import MAX_LETTER, MAX_RAW
from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.jobs import score
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.settings import Settings
from verdict.pipelines.topology import topics_of

RUN_FLINK = Path(__file__).with_name("run_flink.py")
DEADLINE_S = 120
DAY = 86_400_000
STAMP = int(time.time() * 1000) - DAY
"""Kafka's timestamp of every record: a broker takes none from the future."""
LARGE = 12_000_000
"""Of the largest record; the topic says so, the clients' own limits do not matter for reading."""

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
TIME = {"type": "long", "logicalType": "timestamp-millis"}
SCHEMA = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": ["null", "string"]},
        {"name": "at", "type": ["null", TIME]},
        {"name": "card", "type": ["null", "string"]},
        {"name": "amount", "type": ["null", DECIMAL]},
        {"name": "km", "type": ["null", "double"]},
        {"name": "note", "type": ["null", "string"]},
        {"name": "unread", "type": ["null", "string"]},
    ],
}
PIPELINE = {
    "events": {
        "schema": "payment.avsc",
        "id": "id",
        "time": "at",
        "max_ahead": "1d",
        "dedupe": "7d",
        "amount": {"field": "amount", "currency": "EUR"},
        "fields": {"amount": {"max": 1_000_000, "outside": "dead-letter"}},
    },
    "entities": {"card": "card"},
    "features": {
        "amount": "amount",
        "km": {"expr": "km", "default": 0},
        "card_count_1h": {"count": "*", "over": "1h", "by": "card"},
    },
    "model": "model",
    "decide": {
        "rules": [{"name": "noted", "when": "note == 'x'"}],
        "thresholds": [{"at": 0.5, "action": "review"}],
    },
}


Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Case:
    """One record, and what becomes of it: a dead letter, or without a stage a decision."""

    name: str
    value: bytes | None
    stage: str = ""
    kind: str = ""
    reason: str = ""
    key: bytes | None = b"c"
    stamp: int = STAMP
    headers: Headers = ()
    carried: Headers = ()


EVENT = {
    "at": STAMP,
    "card": "c",
    "amount": 1250,
    "km": 1.5,
    "note": "",
    "unread": None,
}


@cache
def parsed() -> Any:
    return fastavro.parse_schema(schemas.without_logical_types(SCHEMA))


def avro(name: str, **changes: Any) -> bytes:
    """Encode an event as Confluent's clients do."""
    event = {"id": name, **EVENT, **changes}
    amount = event["amount"]
    if isinstance(amount, int):
        event["amount"] = amount.to_bytes(8, "big", signed=True)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parsed(), event)
    return b"\0\0\0\0\1" + body.getvalue()


def text(name: str, **changes: Any) -> bytes:
    """Write an event as JSON; None leaves a field out."""
    event = {"id": name, **EVENT, "amount": "12.50", **changes}
    return json.dumps({k: v for k, v in event.items() if v is not None}).encode()


def common(make: Callable[..., bytes]) -> list[Case]:
    """List what is bad in every format."""
    seconds, year_9999 = STAMP // 1000, 253_402_300_799_999
    return [
        Case("empty", b"", "decode", "empty", "the record's value is empty"),
        Case("tombstone", None, "decode", "tombstone", "a tombstone"),
        Case("no id", make(None), "validate", "missing-field", "field 'id' is missing"),
        Case("empty id", make(""), "validate", "missing-field", "field 'id' is missing"),
        Case("no time", make("b", at=None), "validate", "missing-field", "field 'at' is missing"),
        Case("no key", make("b", card=None), "validate", "missing-field", "field 'card' is"),
        Case("infinite", make("b", km=math.inf), *NOT_FINITE[make]),
        Case("minus infinite", make("b", km=-math.inf), *NOT_FINITE[make]),
        Case("no number", make("b", km=math.nan), *NOT_FINITE[make]),
        Case("seconds", make("b", at=seconds), "validate", "time-in-seconds", "the event's time"),
        Case("9999", make("b", at=year_9999), "validate", "ahead", "the event's time lies"),
        Case("10000", make("b", at=year_9999 + 1), "validate", "time-range", "field 'at' lies"),
        Case("ahead", make("b", at=STAMP + DAY + 1), "validate", "ahead", "the event's time lies"),
        Case("old record", make("b"), "validate", "ahead", "the event's time lies", stamp=1),
        Case("long id", make("i" * 900_000), "validate", "too-large", "the event's id has 900,000"),
        Case(
            "long key",
            make("b", card="c" * 900_000),
            *("validate", "too-large", "the event's key 1 has 900,000 bytes"),
            key=b"c" * 900_000,
        ),
        Case(
            "long text",
            make("b", note="€" * 300_000),
            *("validate", "too-large", "field 'note' has 900,000 bytes"),
        ),
        Case("ahead by all it may", make("on time", at=STAMP + DAY)),
        Case("not read", make("unread", unread="u" * 300_000)),
        Case("id as long as it may", make("i" * 1_024)),
        Case("large header", make("header"), headers=(("traceparent", b"t" * 900_000),)),
        Case(
            "large headers",
            b"",
            *("decode", "empty", "the record's value is empty"),
            headers=(("reply-topic", b"r" * 5_000), ("traceparent", b"t" * 5_000)),
        ),
        Case(
            "null header",
            make("null header"),
            headers=(("traceparent", None), ("correlation-id", b"\xff"), ("other", b"o")),
            carried=(("correlation-id", b"\xff"),),
        ),
        Case("first", make("again")),
        Case("repeat", make("again")),
        Case("reused", make("again", amount=None), "validate", "id-reused", "event id 'again'"),
    ]


NOT_A_NUMBER = ("validate", "wrong-type", "field 'km' has the wrong type")
NOT_FINITE = {avro: NOT_A_NUMBER, text: ("decode", "not-json", "not JSON: ")}


def confluent_cases() -> list[Case]:
    good = avro("b")
    nested = b"\0\0\0\0\3" + b"\2" * 500_000
    return [
        *common(avro),
        Case("truncated", good[:-3], "decode", "not-avro", "not Avro of the schema: "),
        Case("trailing", good + b"xx", "decode", "surplus-bytes", "2 bytes are left over"),
        Case("magic", b"\1" + good[1:], "decode", "wire-format", "not Confluent's wire format"),
        Case("short", good[:3], "decode", "wire-format", "not Confluent's wire format"),
        Case("header", good[:5], "decode", "not-avro", "not Avro of the schema: "),
        Case("id", b"\0\0\0\0\x63" + good[5:], "decode", "unknown-schema", "unknown schema id 99"),
        Case("scale", b"\0\0\0\0\2" + good[5:], "decode", "schema-mismatch", "schema id 2: field"),
        Case("nested", nested, "decode", "schema-mismatch", "schema id 3: record 'Node' is within"),
        Case("bad text", good.replace(b"\2c", b"\2\xff"), "decode", "not-avro", "not Avro of the"),
        Case("large", b"\0\0\0\0\1" + b"\xfe" * 10_000_000, "decode", "not-avro", "not Avro of"),
        Case("key", good, "validate", "key-mismatch", "the record's key is", key=b"\xff\xfe"),
        Case("other key", good, "validate", "key-mismatch", "the record's key is", key=b"d"),
        Case("without key", good, "validate", "key-mismatch", "the record's key is", key=None),
        Case(
            "large amount",
            avro("b", amount=10**9),
            *("validate", "implausible", "field 'amount' is implausible: 10000000.0"),
        ),
        Case(
            "amount of nine bytes",
            avro("b", amount=b"\1" + bytes(8)),
            *("validate", "wrong-type", "field 'amount' has the wrong type: "),
        ),
        Case("without amount", avro("b", amount=None), "features", "no-value", "feature 'amount'"),
    ]


def json_cases() -> list[Case]:
    good = text("b")

    def wrong(name: str, value: Any) -> Case:
        made = text("b", **{name: value})
        return Case(f"{name} {value!r}"[:30], made, "validate", "wrong-type", f"field '{name}' has")

    bad = ("decode", "not-json", "not JSON: ")
    return [
        *common(text),
        Case("truncated", good[:-3], *bad),
        Case("trailing", good + b"}", *bad),
        Case("not UTF-8", good.replace(b'"c"', b'"\xff"'), *bad),
        Case("nested", b"[" * 500_000, *bad),
        Case("large", b"\xfe" * 10_000_000, *bad),
        Case("large number", good.replace(b"1.5", b"1" * 5_000), *bad),
        Case("large exponent", good.replace(b"1.5", b"1e99999999999999999999"), *bad),
        Case("a list", b"[]", "decode", "not-a-record", "a JSON object is wanted, not list"),
        Case("1e999", good.replace(b"1.5", b"1e999"), *NOT_A_NUMBER),
        wrong("km", "1.5"),
        wrong("km", True),
        wrong("km", []),
        wrong("at", "noon"),
        wrong("at", 1.5),
        wrong("card", 5),
        wrong("card", {"id": "c"}),
        wrong("id", ["b"]),
        wrong("id", "\ud800"),
        wrong("note", 5),
        wrong("amount", "12.505"),
        wrong("amount", True),
        Case("huge", good.replace(b'"12.50"', b"1e999999999"), "validate", "wrong-type", "field"),
        Case("without amount", text("b", amount=None), "features", "no-value", "feature 'amount'"),
        Case("any key", text("any key"), key=b"\xff\xfe"),
        Case("no key at all", text("no key"), key=None),
    ]


CASES = {"confluent": confluent_cases, "json": json_cases}


@dataclass(frozen=True)
class Stage:
    """A pipeline, its topics, and the records that were sent: `cases`, a good one behind each."""

    pipeline: Pipeline
    clients: Clients
    name: str
    folder: Path
    cases: list[Case] = field(default_factory=list)

    @property
    def topics(self) -> Mapping[str, str]:
        return self.pipeline.topics

    def to(self, engine: str) -> dict[str, str]:
        """Make the output topics of an engine."""
        job = score.score(self.pipeline)
        written = {stream: f"{self.topics[stream]}-{engine}" for stream in job.outputs}
        create_topics(self.clients, list(written.values()))
        return written


def stage_of(folder: Path, name: str, kafka: LocalKafka, events: Any, settings: Any) -> Stage:
    (folder / "payment.avsc").write_text(json.dumps(SCHEMA))
    shutil.copytree(resource("init") / "model", folder / "model")
    spec = {
        **PIPELINE,
        "pipeline": name,
        "events": {**PIPELINE["events"], "topic": f"{name}-events", **events},  # type: ignore[dict-item]
        "topics": {stream.value: f"{name}-{stream}" for stream in (DECISIONS, DEAD_LETTERS)},
        "settings": settings,
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    pipeline = load(folder / "pipeline.yaml")
    # A topic's end is told by an answer without records, with which a broker takes its time.
    config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap, "fetch.wait.max.ms": 50}
    made = clients(Settings(kafka=config))
    create_topics(made, [f"{name}-events"], config={"max.message.bytes": str(LARGE)})
    return Stage(pipeline, made, name, folder)


def send(stage: Stage, records: Sequence[Case]) -> None:
    producer = Producer({**stage.clients.producer, "message.max.bytes": LARGE})
    for record in records:
        producer.produce(
            stage.topics[EVENTS],
            record.value,
            record.key,
            timestamp=record.stamp,
            partition=0,
            headers=list(record.headers),
        )
    assert producer.flush(60) == 0


def run_embedded(stage: Stage, written: dict[str, str], **more: Any) -> int:
    job = score.score(stage.pipeline)
    return run_kafka(
        job,
        lambda offsets: KafkaBroker(
            stage.clients,
            topics_of(job.inputs, stage.topics),
            written,
            offsets,
            job.carry,
            job.first,
        ),
        stage.folder / "state",
        **{"stop": threading.Event(), "bounded": True, **more},
    )


def asked(stage: Stage, written: dict[str, str]) -> list[str]:
    request = {
        "pipeline": str(stage.pipeline.path),
        "job": SCORE_JOB,
        "topics": {**stage.topics, **written},
        "folder": str(stage.folder / "flink"),
        "bootstrap": stage.clients.servers,
    }
    return [sys.executable, str(RUN_FLINK), json.dumps(request)]


Found = tuple[bytes | None, bytes, Headers]


def read(stage: Stage, topic: str) -> dict[str, Found]:
    """Read a topic whole: source -> key, value, other headers; there is one for each source."""
    ours = {"group.id": "read", "enable.partition.eof": True}
    consumer = Consumer({**stage.clients.consumer, **ours})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: dict[str, Found] = {}
    while True:
        record = consumer.poll(10)
        assert record is not None, f"{topic} has no end after {len(found)} records"
        if record.error() is not None:
            assert record.error().code() == KafkaError._PARTITION_EOF
            break
        headers = dict(record.headers())
        source = headers.pop("source").decode()
        assert source not in found
        found[source] = (record.key(), record.value(), tuple(sorted(headers.items())))
    consumer.close()
    return found


@pytest.fixture(scope="module", params=list(CASES))
def stage(
    request: pytest.FixtureRequest, kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory
) -> Stage:
    """Send every case, and a good event behind it; let the embedded engine decide them."""
    name = f"bad-{request.param}"
    folder = tmp_path_factory.mktemp(name)
    events: dict[str, Any] = {"format": request.param}
    settings: dict[str, Any] = {}
    make = text
    if request.param == "confluent":
        make, events["keyed_by"], settings["schemas"] = avro, "card", {"folder": "schemas"}
        (folder / "schemas").mkdir()
        node = {"type": "record", "name": "Node", "fields": [{"name": "n", "type": "null"}]}
        node["fields"][0]["type"] = ["null", "Node"]  # type: ignore[index]
        other = json.loads(json.dumps(SCHEMA).replace('"scale": 2', '"scale": 4'))
        for number, schema in enumerate((SCHEMA, other, node), 1):
            (folder / f"schemas/{number}.avsc").write_text(json.dumps(schema))
    made = stage_of(folder, name, kafka, events, settings)
    for number, case in enumerate(CASES[request.param]()):
        made.cases.append(case)
        made.cases.append(Case(f"behind {case.name}", make(f"good {number}")))
    send(made, made.cases)
    run_embedded(made, made.to("embedded"))
    return made


def test_each_is_a_dead_letter_and_the_event_behind_it_is_decided(stage: Stage) -> None:
    decoders = {s: stream_decoder(s, Settings()) for s in (DECISIONS, DEAD_LETTERS)}
    decisions, letters = (
        read(stage, f"{stage.topics[stream]}-embedded") for stream in (DECISIONS, DEAD_LETTERS)
    )
    assert len(decisions) + len(letters) == len(stage.cases)
    counted = 0.0
    for offset, case in enumerate(stage.cases):
        source = f"{stage.topics[EVENTS]}/0/{offset}"
        assert (source in letters) is bool(case.stage), case.name
        if case.stage:
            key, encoded, carried = letters[source]
            assert carried == case.carried, case.name
            letter = decoders[DEAD_LETTERS](encoded)
            found = letter["stage"], letter["kind"], letter["reason"][: len(case.reason)]
            assert found == (case.stage, case.kind, case.reason), case.name
            place = letter["topic"], letter["partition"], letter["offset"], letter["timestamp"]
            assert place == (stage.topics[EVENTS], 0, offset, case.stamp)
            value = case.value
            assert letter["key"] == (case.key and case.key[:MAX_RAW])
            assert letter["value"] == (value if value is None else value[:MAX_RAW])
            assert letter["value_size"] == (-1 if value is None else len(value))
            digest = None if value is None else hashlib.sha256(value).hexdigest()
            assert letter["value_sha256"] == digest
            assert len(encoded) + len(key or b"") <= MAX_LETTER
            if case.stage == "features":
                counted += 1  # it was logged before it failed
            continue
        _, encoded, carried = decisions[source]
        assert carried == case.carried, case.name
        decision = decoders[DECISIONS](encoded)
        assert decision["repeated"] is (case.name == "repeat")
        counted += not decision["repeated"]
        # So no bad record has touched the state, and none was lost.
        if case.name != "ahead by all it may" and not decision["repeated"]:
            assert decision["hops"][0]["hop_seq"] == counted, case.name
        numbers = [decision["score"], *decision["features"].values()]
        assert all(map(math.isfinite, numbers))


# JSON is decoded by the same operator, in less time.
@pytest.mark.parametrize("stage", ["confluent"], indirect=True, scope="module")
def test_flink_puts_out_the_same_bytes(stage: Stage) -> None:
    written = stage.to("flink")
    done = subprocess.run(
        asked(stage, written), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    for stream, topic in written.items():
        assert read(stage, topic) == read(stage, f"{stage.topics[stream]}-embedded"), stream


# Events that nobody thought of

ROOT = Path(__file__).parents[2]
MUTATED = 10_000


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """`load-tests/fuzz.py`, where a million of them are run."""
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "load-tests" / "fuzz.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_each_of_ten_thousand_mutated_events_is_decided_or_a_dead_letter(
    fuzz: ModuleType, tmp_path: Path
) -> None:
    report = fuzz.fuzz(MUTATED, 20_260_105, tmp_path)
    assert report.decisions + report.dead_letters == report.events >= MUTATED
    assert min(report.decisions, report.unscored, report.repeated) > 0
    page = (ROOT / "docs" / "semantics.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \| `([\w-]+)` \|", page, re.MULTILINE))
    found = {tuple(kind.split("/")) for kind in report.kinds}
    assert len(found) > 12
    assert found <= listed


def test_a_failure_gives_the_bytes_that_it_takes_to_see_it_again(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decided(_self: Any, decision: Any, _size: int) -> None:
        assert decision["event_id"] is None, "made to fail"

    monkeypatch.setattr(fuzz.Check, "_decided", decided)
    with pytest.raises(fuzz.Failure, match="made to fail") as caught:
        fuzz.fuzz(MUTATED, 7, tmp_path)
    first, event, value = fuzz.told(caught.value, 7)
    assert first.startswith("seed 7, events ")
    (message,) = [m for m in caught.value.events if event.startswith(f"event {m.offset}: ")]
    assert bytes.fromhex(value) == message.value


# A registry that is away


class Registry(ThreadingHTTPServer):
    """Answers for the payment's schema, under every id up to `known`."""

    daemon_threads = True

    def __init__(self, port: int = 0, known: int = 1) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.known = known
        self.broken = False
        self.asked = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked += 1
        wanted = int(self.path.partition("?")[0].rpartition("/")[2])
        status, answer = 200, {"schema": json.dumps(SCHEMA)}
        if self.server.broken:
            status, answer = 503, {"error_code": 50302, "message": "not now"}  # type: ignore[dict-item]
        elif wanted > self.server.known:
            status, answer = 404, {"error_code": 40403, "message": "not found"}  # type: ignore[dict-item]
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    yield server
    server.close()


def behind_registry(kafka: LocalKafka, folder: Path, name: str, port: int) -> Stage:
    events = {"format": "confluent", "keyed_by": "card"}
    schemas = {"schemas": {"registry": f"http://127.0.0.1:{port}"}}
    return stage_of(folder, name, kafka, events, schemas)


def numbered(ids: Sequence[int], start: int = 0) -> list[Case]:
    """Make good events whose schemas have these ids."""
    return [
        Case("", b"\0" + schema_id.to_bytes(4, "big") + avro(f"e{number}")[5:])
        for number, schema_id in enumerate(ids, start)
    ]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Running:
    """The embedded engine in a thread."""

    stage: Stage
    written: dict[str, str]
    stop: threading.Event = field(default_factory=threading.Event)
    failed: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> "Running":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert self.failed == []

    def _run(self) -> None:
        try:
            run_embedded(self.stage, self.written, stop=self.stop, bounded=False)
        except BaseException as error:
            self.failed.append(error)

    def count(self, stream: str = DECISIONS) -> int:
        return len(read(self.stage, self.written[stream]))


def test_a_registry_that_is_away_holds_the_embedded_engine_back(
    kafka: LocalKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server = Registry()
    port = server.server_port
    stage = behind_registry(kafka, tmp_path, "away", port)
    written = stage.to("embedded")

    def said() -> list[str]:
        return [
            r.getMessage()
            for r in caplog.records
            if r.name == "verdict.pipelines.engines.embedded.from_kafka"
        ]

    with Running(stage, written) as running:
        send(stage, numbered([1, 1, 1]))
        until(lambda: running.count() == 3)
        server.close()
        send(stage, numbered([1, 2, 1, 2], start=3))
        until(lambda: len(said()) == 1)
        assert f"http://127.0.0.1:{port} does not answer" in said()[0]
        assert "nothing is lost" in said()[0]
        assert running.count() == 4  # what came before the first unknown id is not held back

    # Told to stop, it stops; started again, it waits where it was.
    assert len(said()) == 1
    caplog.clear()
    with Running(stage, written) as running:
        until(lambda: len(said()) == 1)
        assert running.count() == 4
        server = Registry(port, known=2)
        try:
            until(lambda: running.count() == 7)
            until(lambda: len(said()) == 2)
            assert "going on" in said()[1]
            send(stage, numbered([3], start=7))  # an id that there is not, is no reason to wait
            until(lambda: running.count(DEAD_LETTERS) == 1)
        finally:
            server.close()
    decode = stream_decoder(DECISIONS, Settings())
    found = [decode(value) for _, value, _ in read(stage, written[DECISIONS]).values()]
    assert [each["event_id"] for each in found] == [f"e{number}" for number in range(7)]
    assert [each["hops"][0]["hop_seq"] for each in found] == list(range(1, 8))
    assert len(said()) == 2


@pytest.mark.long
def test_a_registry_that_is_away_holds_flink_back(
    kafka: LocalKafka, registry: Registry, tmp_path: Path
) -> None:
    stage = behind_registry(kafka, tmp_path, "away-flink", registry.server_port)
    send(stage, numbered([1, 1, 1]))
    registry.broken = True
    written = stage.to("flink")
    # A bounded run ends at its first failure: when it does not, it has waited.
    run = subprocess.Popen(asked(stage, written), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until(lambda: registry.asked >= 3 or run.poll() is not None)
        registry.broken = False
        _, said = run.communicate(timeout=DEADLINE_S)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, said.decode()
    assert len(read(stage, written[DECISIONS])) == 3
    assert read(stage, written[DEAD_LETTERS]) == {}
