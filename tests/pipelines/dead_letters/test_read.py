"""Dead letters: listed, shown, and their originals sent again, on a real broker."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from verdict.operators.errors import BadRecord
from verdict.operators.message import Message
from verdict.operators.names import DEAD_LETTERS, EVENTS, BadKind
from verdict.operators.records.dead_letter import dead_letter
from verdict.pipelines.dead_letters.letter import Letter, LetterFilter
from verdict.pipelines.dead_letters.read import letters, newest, summary
from verdict.pipelines.dead_letters.replay import WINDOW, LetterReplay
from verdict.pipelines.dead_letters.text import table
from verdict.pipelines.errors import FileError, KafkaError
from verdict.pipelines.formats.streams import stream_encoder
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.kafka.coordinates import Coordinates, coordinates
from verdict.pipelines.kafka.fetch import RecordFetcher
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

Verdict = Callable[..., Any]
STREAMS = ("decisions", "dead-letters", "shadow-scores", "drift", "comparison")
NOW = 1_790_000_000_000


@dataclass(frozen=True)
class Shop:
    """The example's pipeline, reading JSON, on topics of its own of two partitions."""

    file: Path
    pipeline: Pipeline
    clients: Clients
    events: str
    letters: str

    def send(self, value: bytes | None, **more: Any) -> Coordinates:
        """Produce an event; say where it lies."""
        return send(self.clients, self.events, value, **more)

    def letter(self, message: Message, job: str = "score", **changes: Any) -> None:
        """Write a dead letter of a record."""
        error = BadRecord(BadKind.NOT_JSON, "not JSON: made for a test")
        made = dead_letter(
            self.pipeline.spec.pipeline, job, message, error, message.key, message.value
        )
        value = stream_encoder(DEAD_LETTERS)({**made, **changes})
        send(self.clients, self.letters, value, key=message.key, timestamp=0)

    def message(self, place: Coordinates, value: bytes | None, key: bytes | None = b"c") -> Message:
        return Message(EVENTS, key, value, *place, NOW)


PRODUCERS: dict[str, Any] = {}
"""One a broker: each takes half a second to be given its id."""


def send(clients: Clients, topic: str, value: bytes | None, **more: Any) -> Coordinates:
    places: list[Coordinates] = []

    def delivered(error: Any, record: Any) -> None:
        assert error is None, error
        places.append(Coordinates(record.topic(), record.partition(), record.offset()))

    if clients.servers not in PRODUCERS:
        large = {"message.max.bytes": 30_000_000}
        PRODUCERS[clients.servers] = Producer({**clients.producer, **large})
    more = {"key": b"c", "partition": 0, "timestamp": NOW, **more}
    PRODUCERS[clients.servers].produce(topic, value=value, on_delivery=delivered, **more)
    assert PRODUCERS[clients.servers].flush(20) == 0
    return places[0]


@pytest.fixture
def shop(variant: Any, kafka: LocalKafka, tmp_path: Path) -> Callable[..., Shop]:
    """Makes the pipeline: ``shop("name", amount={...})``."""

    def make(name: str, create: bool = True, **amount: Any) -> Shop:
        wide = {"min": 0.01, "max": 100_000, "outside": "dead-letter"}
        file = variant(
            tmp_path / f"{name}.yaml",
            pipeline=name,
            events={
                "topic": f"{name}-events",
                "format": "json",
                "fields": {"amount": {**wide, **amount}},
            },
            topics={stream: f"{name}-{stream}" for stream in (*STREAMS, "state-commands")},
            settings={"kafka": {"bootstrap.servers": kafka.bootstrap}},
        )
        pipeline = load(file)
        made = clients(pipeline.spec.settings)
        if create:
            config = {"max.message.bytes": "30000000"}
            create_topics(made, [f"{name}-events"], partitions=2, config=config)
            create_topics(made, list(pipeline.topics.values()), partitions=2)
        return Shop(file, pipeline, made, f"{name}-events", f"{name}-dead-letters")

    return make


def event(number: int, **changes: Any) -> bytes:
    """Make a card payment."""
    made = {
        "transaction_id": f"t{number}",
        "event_time": NOW + number,
        "customer_id": "c",
        "terminal": None,
        "channel": "online",
        "amount": "12.50",
        "currency": "EUR",
        "merchant_category": "books",
    }
    return json.dumps(made | changes).encode()


@dataclass(frozen=True)
class Record:
    """What is read back."""

    place: Coordinates
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes]]


def read(clients: Clients, topic: str) -> list[Record]:
    """Read a topic's two partitions whole."""
    consumer = Consumer({**clients.consumer, "group.id": "test"})
    found: list[Record] = []
    assigned = []
    left = 0
    for partition in (TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)):
        low, high = consumer.get_watermark_offsets(partition, timeout=10)
        assigned.append(TopicPartition(topic, partition.partition, low))
        left += high - low
    consumer.assign(assigned)
    while len(found) < left:
        record = consumer.poll(20)
        assert record is not None and record.error() is None
        place = Coordinates(topic, record.partition(), record.offset())
        stamp = record.timestamp()[1]
        headers = record.headers() or []
        found.append(Record(place, record.key(), record.value(), stamp, headers))
    consumer.close()
    return sorted(found, key=lambda record: record.place)


# Places, bytes, times


@pytest.mark.parametrize(
    ("text", "place"),
    [("a/0/1", Coordinates("a", 0, 1)), ("a/b.avro/3/44", Coordinates("a/b.avro", 3, 44))],
)
def test_a_place(text: str, place: Coordinates) -> None:
    assert coordinates(text) == place
    assert str(place) == text


@pytest.mark.parametrize("text", ["", "a", "a/0", "a/x/1", "a/0/-1", "/0/1", "a/0/1.5", "a/0/"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(KafkaError, match="is no place of a record; write TOPIC/PARTITION/OFFSET"):
        coordinates(text)


def letter(at: int = 5, **changes: Any) -> Letter:
    place = Coordinates("t", 0, at)
    made = Letter(at, "p", "score", "decode", "not-json", "bad", place, 7, b"k", b"v", 1, None)
    return replace(made, **changes)


def test_the_newest_are_those_and_without_values() -> None:
    found = newest([letter(at) for at in (3, 9, 1, 7, 9)], 3)
    assert [each.at for each in found] == [7, 9, 9]
    assert {each.value for each in found} == {None}


def test_a_summary_counts_by_stage_kind_and_job() -> None:
    found = [letter(5), letter(3), letter(9, job="shadow"), letter(-1, kind="empty")]
    tallies = summary(found)
    assert [(t.kind, t.job, t.count, t.first, t.last) for t in tallies] == [
        ("not-json", "score", 2, 3, 5),
        ("not-json", "shadow", 1, 9, 9),
        ("empty", "score", 1, -1, -1),
    ]
    assert table(tallies)[-1].endswith("score   -                         -")
    assert tallies[-1].as_json()["first"] is None


# Listed and shown


def test_letters_of_files(verdict: Verdict, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = tmp_path / "events.jsonl"
    events.write_bytes(b'nonsense\n{"id": "a\\u001b[2J"}\n{}\n')
    assert verdict("run", tiny, "--events", events, "--to", out).code == 0

    ran = verdict("dlq", "list", tiny, "--from", out)
    assert ran.code == 0
    first, second, third = ran.out.splitlines()
    assert first.startswith("events.jsonl/0/0 score decode/not-json: not JSON: ")
    assert second.startswith("events.jsonl/0/1 score validate/missing-field: field 'time'")
    assert third.startswith("events.jsonl/0/2 score validate/missing-field: field 'id' is missing")

    ran = verdict("dlq", "list", tiny, "--from", out, "--stage", "validate", "-n", "1", "--json")
    (found,) = map(json.loads, ran.out.splitlines())
    assert (found["topic"], found["offset"], found["kind"]) == ("events.jsonl", 2, "missing-field")
    assert found["at"] is None and found["timestamp"] is None and "value" not in found

    ran = verdict("dlq", "list", tiny, "--from", out, "--summary")
    assert [line.split()[:4] for line in ran.out.splitlines()] == [
        ["count", "stage", "kind", "job"],
        ["2", "validate", "missing-field", "score"],
        ["1", "decode", "not-json", "score"],
    ]
    ran = verdict("dlq", "list", tiny, "--from", out, "--summary", "--kind", "not-json", "--json")
    assert [each["count"] for each in json.loads(ran.out)] == [1]

    ran = verdict("dlq", "show", tiny, "events.jsonl/0/0", "--from", out)
    assert ran.code == 0
    assert ran.out.splitlines()[-2:] == ["value:", "  nonsense"]
    assert f"sha256        {hashlib.sha256(b'nonsense').hexdigest()}" in ran.out
    assert "size          8 bytes\n" in ran.out

    ran = verdict("dlq", "list", tiny, "--from", out, "--kind", "none-such")
    assert (ran.code, ran.out, ran.err) == (0, "", "No dead letter fits.\n")


def test_what_files_cannot_answer(verdict: Verdict, tiny: Path, tmp_path: Path) -> None:
    verdict("run", tiny, "--to", tmp_path)
    for arguments, says in [
        (("list", tiny, "--from", tmp_path, "--since", "1h"), "a file has none"),
        (("list", tiny, "--from", tmp_path / "no"), "run the pipeline first"),
        (("list", tiny, "--from", tmp_path, "--since", "soon"), "'soon' is no duration"),
        (("show", tiny, "x/0/1", "--from", tmp_path), "no dead letter is of x/0/1"),
        (("show", tiny, "x", "--from", tmp_path), "'x' is no place of a record"),
        (("replay", tiny), "mend the files, and run them again"),
    ]:
        ran = verdict("dlq", *arguments)
        assert (ran.code, ran.out) == (1, ""), arguments
        assert says in ran.err
    assert verdict("dlq", "list", tiny, "--stage", "nowhere").code == 2


def test_letters_of_a_topic_are_listed_newest_last(verdict: Verdict, shop: Any) -> None:
    made = shop("listed")
    place = made.send(b"\xff\x00rubbish")
    for offset in range(6):
        there = made.message(
            place._replace(offset=offset, partition=offset % 2), b"\xff\x00rubbish"
        )
        made.letter(there, job="shadow" if offset == 5 else "score")
    send(made.clients, made.letters, b"no letter", key=None)

    ran = verdict("dlq", "list", made.file)
    assert len(ran.out.splitlines()) == 6
    assert ran.err == "listed-dead-letters/0/6 is no dead letter of this release; left out\n"
    ran = verdict("dlq", "list", made.file, "-n", "2", "--json")
    assert [json.loads(row)["offset"] for row in ran.out.splitlines()] == [4, 5]
    assert verdict("dlq", "list", made.file, "--since", "1h", "--json").out.count("\n") == 6
    ran = verdict("dlq", "list", made.file, "--summary")
    assert [row.split()[0] for row in ran.out.splitlines()] == ["count", "5", "1"]

    written = list(letters(made.pipeline, LetterFilter()))
    after = max(each.at for each in written) + 1
    assert list(letters(made.pipeline, LetterFilter(since=after))) == []
    assert len(list(letters(made.pipeline, LetterFilter(kind="not-json", stage="decode")))) == 6
    assert list(letters(made.pipeline, LetterFilter(stage="score"))) == []


def test_a_letter_is_shown_beside_its_original(verdict: Verdict, shop: Any) -> None:
    made = shop("shown")
    binary, text = made.send(b"\xff\x00rubbish"), made.send(b'{"id": 1}')
    made.letter(made.message(binary, b"\xff\x00rubbish"))
    made.letter(made.message(text, b'{"id": 2}'))
    made.letter(made.message(text._replace(offset=99), b"x" * 70_000))

    ran = verdict("dlq", "show", made.file, str(binary))
    assert "original      shown-events/0/0, still there, the same\n" in ran.out
    assert "  00000000  ff 00 72 75 62 62 69 73 68" in ran.out
    assert "its timestamp 2026-09-21T14:13:20.000Z\n" in ran.out
    ran = verdict("dlq", "show", made.file, str(text))
    assert "shown-events/0/1, another record lies there now\n" in ran.out
    assert ran.out.endswith('value:\n  {"id": 2}\n')
    ran = verdict("dlq", "show", made.file, "shown-events/0/99")
    assert "shown-events/0/99, gone from its topic\n" in ran.out
    assert "70,000 bytes, of which the letter holds 65,536\n" in ran.out
    assert "… 61,440 characters more\n" in ran.out
    ran = verdict("dlq", "show", made.file, str(binary), "--json")
    found = json.loads(ran.out)
    assert (found["original"], found["value_base64"]) == ("there", "/wBydWJiaXNo")


# Replayed


def test_a_mended_cause_and_its_letters_replayed_are_decisions(verdict: Verdict, shop: Any) -> None:
    narrow = shop("mended", max=100)
    large = [narrow.send(event(n, amount="250.00"), partition=n % 2) for n in (1, 2, 3)]
    long = narrow.send(event(4, amount="400.00", note="x" * 200_000), headers=[("trace", b"t4")])
    nonsense = narrow.send(b"nonsense")
    ahead = narrow.send(event(6, event_time=NOW + 20_000 * 86_400_000))
    good = narrow.send(event(7))
    assert verdict("run", narrow.file, "--bounded").code == 0
    ran = verdict("dlq", "list", narrow.file, "--summary", "--json")
    counts = {each["kind"]: each["count"] for each in json.loads(ran.out)}
    assert counts == {"implausible": 4, "not-json": 1, "ahead": 1}

    wide = shop("mended", create=False)
    ran = verdict("dlq", "replay", wide.file, "--kind", "implausible", "--dry-run")
    assert ran.out.splitlines() == [
        *(f"{place}: would be replayed" for place in sorted([*large, long])),
        "4 would be replayed, 0 gone, 0 changed, 0 skipped",
    ]
    assert len(read(wide.clients, wide.events)) == 7

    ran = verdict("dlq", "replay", wide.file, "--kind", "implausible")
    assert (ran.code, ran.out, ran.err) == (0, "4 replayed, 0 gone, 0 changed, 0 skipped\n", "")
    found = read(wide.clients, wide.events)
    before = {record.place: record for record in found}
    replayed = [record for record in found if "replayed-from" in dict(record.headers)]
    assert len(replayed) == 4
    for record in replayed:
        headers = dict(record.headers)
        first = before[coordinates(headers.pop("replayed-from").decode())]
        assert (record.key, record.value, record.timestamp, headers) == (
            first.key,
            first.value,
            NOW,
            dict(first.headers),
        )
        assert record.place.partition == first.place.partition

    assert verdict("run", wide.file, "--bounded").code == 0
    ran = verdict("tail", wide.file, "decisions", "-n", "99", "--json")
    decided = {json.loads(row)["event_id"] for row in ran.out.splitlines()}
    assert decided == {"t1", "t2", "t3", "t4", "t7"}

    # What is not mended fails again, and means the same: the event is as far ahead as it was.
    ran = verdict("dlq", "replay", wide.file, str(nonsense), str(ahead), "--json")
    assert json.loads(ran.out) == {
        "replayed": 2, "gone": 0, "changed": 0, "skipped": 0, "from_letters": 0, "counted": 0,
        "why": {}, "dry_run": False,
    }  # fmt: skip
    assert verdict("run", wide.file, "--bounded").code == 0
    ran = verdict("dlq", "list", wide.file, "--json")
    again = [json.loads(row) for row in ran.out.splitlines()][-8:]
    assert sorted(each["kind"] for each in again).count("ahead") == 2

    # A letter of a replayed event is of the first one: the two are one event.
    ran = verdict("dlq", "replay", wide.file, "--kind", "ahead", "--json")
    assert (ran.code, json.loads(ran.out)["replayed"], json.loads(ran.out)["skipped"]) == (0, 1, 1)
    newest = [r for r in read(wide.clients, wide.events) if r.place.partition == 0][-1]
    assert dict(newest.headers)["replayed-from"] == str(ahead).encode()
    assert good not in [coordinates(dict(r.headers)["replayed-from"].decode()) for r in replayed]


def test_what_cannot_be_fetched_again(verdict: Verdict, shop: Any) -> None:
    made = shop("removed")
    short, long = made.send(b"short"), made.send(b"x" * 70_000)
    changed, there = made.send(b"another"), made.send(b"y" * 70_000, timestamp=NOW + 1)
    made.letter(made.message(short, b"short"))
    made.letter(made.message(short, b"short"))
    made.letter(made.message(long, b"x" * 70_000))
    made.letter(made.message(changed, b"this one"))
    made.letter(made.message(there, b"y" * 70_000))
    made.letter(made.message(there, b"y" * 70_000), pipeline="other")
    made.letter(made.message(Coordinates("removed-decisions", 0, 0), b"d"), job="shadow")
    made.letter(made.message(Coordinates("removed-state-commands", 0, 0), b"c"))
    made.letter(made.message(Coordinates("no-such-topic", 7, 0), b"elsewhere"))
    admin = AdminClient(made.clients.admin)
    future = admin.delete_records([TopicPartition(made.events, 0, 2)])
    assert all(each.result(20) for each in future.values())

    with RecordFetcher(made.clients) as originals:
        assert originals.fetch(short) is None
        assert originals.fetch(there._replace(partition=9)) is None
        fetched = originals.fetch(there)
        assert fetched is not None and fetched.value == b"y" * 70_000
        assert originals.fetch(there._replace(offset=there.offset + 1)) is None
        more = made.send(b"later")  # the end that was seen before is no end now
        later = originals.fetch(more)
        assert later is not None and later.value == b"later"
        again = originals.fetch(changed)
        assert again is not None and again.value == b"another"

    ran = verdict("dlq", "replay", made.file)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "3 replayed, 1 gone, 1 changed, 4 skipped",
        "  2 of them from their letters: the originals are gone",
        "  1 skipped: of pipeline other",
        "  1 skipped: of job shadow: its input is no event",
        "  1 skipped: of topic removed-state-commands: it holds no events",
        "  1 skipped: replayed in this run already",
    ]
    assert sorted(ran.err.splitlines()) == [
        "removed-events/0/1: its topic has it no more, and the letter holds 65,536 of 70,000 bytes;"
        " not replayed",
        "removed-events/0/2: another record lies there now; not replayed",
    ]
    replayed = {
        dict(record.headers)["replayed-from"].decode(): record
        for record in read(made.clients, made.events)
        if record.headers
    }
    assert replayed.keys() == {str(short), str(there), "no-such-topic/7/0"}
    assert replayed[str(short)].value == b"short"
    assert replayed[str(short)].timestamp == NOW
    assert replayed[str(there)].timestamp == NOW + 1
    assert replayed["no-such-topic/7/0"].place.partition in (0, 1)

    ran = verdict("dlq", "replay", made.file, str(short), "removed-events/0/77")
    assert ran.code == 1
    assert "no dead letter is of removed-events/0/77" in ran.err
    assert ran.out.splitlines()[0] == "1 replayed, 0 gone, 0 changed, 1 skipped"


def test_events_that_windows_have_counted_are_told(verdict: Verdict, shop: Any) -> None:
    made = shop("counted")
    place = made.send(event(1))
    made.letter(made.message(place, event(1)), stage="score", kind="not-finite")
    ran = verdict("dlq", "replay", made.file, "--dry-run")
    assert "1 of them had failed after the windows had counted them, and count twice now" in ran.out


def test_a_broker_that_refuses_an_event_is_said(verdict: Verdict, shop: Any) -> None:
    made = shop("refused")
    place = made.send(b"z" * 2_000_000)
    made.letter(made.message(place, b"z" * 2_000_000))
    create_topics(made.clients, ["refused-small"])
    text = made.file.read_text().replace("topic: refused-events", "topic: refused-small")
    made.file.write_text(text)
    ran = verdict("dlq", "replay", made.file)
    assert ran.code == 1
    assert ran.out == "0 replayed, 0 gone, 0 changed, 0 skipped\n"
    assert "refused-small does not take a replayed event" in ran.err


def test_an_interrupt_leaves_nothing_half_done(
    verdict: Verdict, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop("interrupted")
    for number in range(5):
        value = b"bad %d" % number
        made.letter(made.message(made.send(value), value))
    fetch, calls = RecordFetcher.fetch, []

    def interrupted(self: RecordFetcher, place: Coordinates) -> Any:
        calls.append(place)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fetch(self, place)

    monkeypatch.setattr(RecordFetcher, "fetch", interrupted)
    ran = verdict("dlq", "replay", made.file)
    assert ran.code == 130
    assert ran.out == "3 replayed, 0 gone, 0 changed, 0 skipped\n"
    assert len(read(made.clients, made.events)) == 5 + 3


def test_many_letters_are_replayed_in_the_order_of_their_events(shop: Any) -> None:
    made = shop("many")
    producer = Producer(made.clients.producer)
    values = [b"bad %d" % number for number in range(3 * WINDOW)]
    for number, value in enumerate(values):
        producer.produce(made.events, value, b"c", partition=number % 2, timestamp=NOW)
    encode = stream_encoder(DEAD_LETTERS)
    error = BadRecord(BadKind.NOT_JSON, "made for a test")
    for number, value in enumerate(values):
        place = Coordinates(made.events, number % 2, number // 2)
        record = dead_letter("many", "score", made.message(place, value), error, b"c", value)
        producer.produce(made.letters, encode(record), b"c", partition=0)
    assert producer.flush(20) == 0
    started = time.monotonic()
    with LetterReplay(made.pipeline) as replay:
        did = replay.run(letters(made.pipeline, LetterFilter()))
    assert did.replayed == len(values)
    assert time.monotonic() - started < 20
    again = [record for record in read(made.clients, made.events) if record.headers]
    for partition in (0, 1):
        order = [record.value for record in again if record.place.partition == partition]
        assert order == values[partition::2]


def test_a_folder_without_letters_is_said(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="run the pipeline first"):
        list(letters(load(tiny / "pipeline.yaml"), LetterFilter(), tmp_path))
