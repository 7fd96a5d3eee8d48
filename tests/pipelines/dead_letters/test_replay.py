"""Dead letters: their originals sent again, on a real broker."""

import json
import time
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.pipelines.dead_letters.shop import NOW, Verdict, event, read
from verdict.operators.errors import BadRecord
from verdict.operators.names import DEAD_LETTERS, BadKind
from verdict.operators.records.dead_letter import dead_letter
from verdict.pipelines.dead_letters.letter import LetterFilter
from verdict.pipelines.dead_letters.read import letters
from verdict.pipelines.dead_letters.replay import WINDOW, LetterReplay
from verdict.pipelines.formats.streams import stream_encoder
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.coordinates import Coordinates, coordinates
from verdict.pipelines.kafka.fetch import RecordFetcher


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
