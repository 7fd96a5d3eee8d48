"""What was decided is held against a replay in the recorded order, and a difference is found."""

import json
import random
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml
from confluent_kafka import Consumer, Producer
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from verdict.operators.message import NEXT, Message
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS
from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_files import run_files
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.formats.avro_file import AvroFile, read_bodies
from verdict.pipelines.formats.streams import definition, stream_decoder, stream_encoder
from verdict.pipelines.jobs import score
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.parity import check, compare
from verdict.pipelines.parity.check import Summary
from verdict.pipelines.parity.lost import Settled
from verdict.pipelines.parity.text import told as told_of
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import topics_of
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


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Two keyed hops over a topic."""
    return write(tmp_path_factory.mktemp("race"), SPEC)


def write(folder: Path, spec: dict[str, Any], name: str = "pipeline.yaml") -> Pipeline:
    if not (folder / "model").exists():
        shutil.copytree(resource("init") / "model", folder / "model")
    (folder / "event.avsc").write_text(json.dumps(SCHEMA))
    (folder / name).write_text(yaml.safe_dump(spec, sort_keys=False))
    return load(folder / name)


Decided = list[check.Told]


def live(
    pipeline: Pipeline,
    partitions: Sequence[Sequence[Message]],
    choose: random.Random,
    lost: int | None = None,
) -> Decided:
    """Decide as a job of two subtasks a hop does, whoever of them is first; in the order of output.

    What a subtask sends to another arrives in its order, and that is all that is certain; but for
    the record of the offset ``lost``, which no hop behind the first ever gets.
    """
    hops = [hop.operator() for hop in score.score(pipeline).hops]
    states: dict[tuple[int, bytes], MemoryState] = {}
    sources = [deque(partition) for partition in partitions]
    channels: dict[tuple[int, int], deque[Message]] = {}
    found: Decided = []

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
                found.append((at.encode(), value, len(found)))

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


def compared(
    pipeline: Pipeline, decisions: Decided, events: Callable[[], Iterator[Message]], **more: Any
) -> Summary:
    return check.compare(
        pipeline, iter(decisions), events, by_id=False, stop=threading.Event(), **more
    )


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


@settings(max_examples=14, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 1 << 32))
def test_any_race_is_replayed_as_it_was(race: Pipeline, seed: int) -> None:
    choose = random.Random(seed)
    partitions = drawn(choose, nulls=False)
    decisions = live(race, partitions, choose)
    found = compared(race, decisions, interleaved(partitions, choose))
    assert found.shown == []
    assert found.compared == found.equal == found.decisions == len(decisions)
    assert found.events == sum(map(len, partitions))
    assert (found.without_event, found.without_decision, found.forced) == (0, 0, 0)


@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 1 << 32))
def test_dead_letters_keep_their_place_in_the_first_hop(race: Pipeline, seed: int) -> None:
    """In the second one several of them may have been anywhere: then it says that it guesses."""
    choose = random.Random(seed)
    partitions = drawn(choose, nulls=True)
    decisions = live(race, partitions, choose)
    found = compared(race, decisions, interleaved(partitions, choose), shown=1_000)
    assert found.compared == len(decisions)
    undecided = sum(map(len, partitions)) - len(decisions)
    assert found.without_decision + found.undecided + found.before_decisions == undecided
    assert found.lost == 0
    assert not any("card" in each.feature for each in found.shown)
    for name in ("card_count_1h", "hop_seq of card", "late at card"):
        assert found.features[name].get("same", 0) == len(decisions)


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


def in_order(decisions: Decided) -> Decided:
    """Put the decisions of one partition in the order of their events."""
    return sorted(decisions, key=lambda told: int((told[0] or b"").rpartition(b"/")[2]))


def altered(pipeline: Pipeline, told: check.Told, **changes: Any) -> check.Told:
    """Return a decision with some of its fields changed."""
    decision = stream_decoder(DECISIONS, pipeline.spec.settings)(told[1])
    for name, value in changes.items():
        if isinstance(value, dict):
            value = {**decision[name], **value}
        decision[name] = value
    return told[0], stream_encoder(DECISIONS)(decision), told[2]


def test_an_altered_decision_is_found(race: Pipeline) -> None:
    partitions = one_by_one(30)
    decisions = in_order(live(race, partitions, random.Random(1)))
    decisions[7] = altered(race, decisions[7], features={"terminal_last_1h": 7.500000000000001})
    decisions[9] = altered(race, decisions[9], action="approve-all")
    found = compared(race, decisions, lambda: iter(partitions[0]))
    first, second = found.shown
    assert (first.event_id, first.source) == ("p7", "race-events/0/7")
    assert (first.feature, first.decided, first.replayed) == (
        "terminal_last_1h",
        7.500000000000001,
        7.5,
    )
    assert (second.event_id, second.feature, second.decided) == ("p9", "action", "approve-all")
    assert (found.compared, found.equal, found.differing, found.differences) == (30, 28, 2, 2)
    assert found.features["terminal_last_1h"] == {"same": 29, "differs": 1}


def lost(found: Summary) -> list[tuple[str, str, Any]]:
    return [
        (each.event_id, each.source, each.replayed)
        for each in found.shown
        if each.feature == compare.LETTER and each.why == compare.LOST
    ]


def test_a_decision_that_was_lost_is_found(race: Pipeline) -> None:
    partitions = one_by_one(20)
    decisions = in_order(live(race, partitions, random.Random(1)))
    events = lambda: iter(partitions[0])  # noqa: E731
    kept = decisions[:7] + decisions[8:]
    action = stream_decoder(DECISIONS, race.spec.settings)(decisions[7][1])["action"]
    found = compared(race, kept, events)
    assert lost(found) == [("p7", "race-events/0/7", action)]
    assert (found.compared, found.equal, found.differing, found.differences) == (19, 19, 0, 1)
    assert (found.without_decision, found.lost) == (1, 1)
    assert "1 events that the replay decides and nobody did" in "\n".join(told_of(found))
    # Its dead letter is there: what kept it from being decided is known.
    found = compared(race, kept, events, letters=lambda: iter(["race-events/0/7"]))
    assert (found.shown, found.without_decision, found.lost) == ([], 1, 0)
    # Before the first and behind the last there may be others, once.
    found = compared(race, decisions[3:17], events)
    assert (found.shown, found.lost, found.without_decision) == ([], 0, 0)
    assert (found.before_decisions, found.undecided) == (3, 3)
    # Or where another partition of the decisions begins later, or is not read as far.
    for whole in (Settled(since=decisions[8][2]), Settled(until=decisions[6][2])):
        found = compared(race, kept, events, whole=whole)
        assert (found.shown, found.lost, found.without_decision) == ([], 0, 1)


@settings(max_examples=10, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 1 << 32))
def test_any_lost_decision_is_found_in_any_race(race: Pipeline, seed: int) -> None:
    choose = random.Random(seed)
    partitions = drawn(choose, nulls=False)
    decisions = live(race, partitions, choose)
    out = choose.randrange(len(decisions))
    source = (decisions[out][0] or b"").decode()
    which, offset = (int(part) for part in source.split("/")[1:])
    told = stream_decoder(DECISIONS, race.spec.settings)(decisions[out][1])
    kept = decisions[:out] + decisions[out + 1 :]
    found = compared(race, kept, interleaved(partitions, choose), shown=1_000)
    edges = (offset == 0, offset == len(partitions[which]) - 1)
    assert [each[:2] for each in lost(found)] == (
        [] if any(edges) else [(told["event_id"], source)]
    )
    assert (found.before_decisions, found.undecided) in {
        (0, 0) if not any(edges) else (0, 1) if edges[1] else (1, 0)
    }


def test_the_decision_of_a_retry_is_missed_too(race: Pipeline) -> None:
    events = one_by_one(10)[0]
    events[6] = events[2]._replace(offset=6, timestamp=events[6].timestamp)
    decisions = in_order(live(race, [events], random.Random(1)))
    found = compared(race, decisions[:6] + decisions[7:], lambda: iter(events))
    assert [each[:2] for each in lost(found)] == [("p2", "race-events/0/6")]
    assert (found.differences, found.equal) == (1, 9)


def test_an_event_that_a_hop_never_got_is_lost(race: Pipeline) -> None:
    events = one_by_one(20)[0]
    decisions = in_order(live(race, [events], random.Random(1), lost=7))
    found = compared(race, decisions, lambda: iter(events))
    assert [each[:2] for each in lost(found)] == [("p7", "race-events/0/7")]
    assert (found.compared, found.equal, found.differences) == (19, 19, 1)


def test_a_copy_is_left_out_and_the_first_one_counts(race: Pipeline) -> None:
    partitions = one_by_one(5)
    decisions = in_order(live(race, partitions, random.Random(1)))
    again = altered(race, decisions[2], features={"terminal_count_1d": 99.0})
    found = compared(race, [*decisions, again], lambda: iter(partitions[0]))
    assert (found.repeats, found.differences, found.compared) == (1, 0, 5)


def test_what_retention_took_is_never_called_wrong(race: Pipeline) -> None:
    partitions = one_by_one(200)
    decisions = in_order(live(race, partitions, random.Random(1)))
    kept = partitions[0][50:]
    found = compared(race, decisions, lambda: iter(kept))
    assert found.shown == []
    assert (found.without_event, found.compared) == (50, 150)
    # An hour on, the hour's windows see what is there alone; those of a day never do.
    counts = found.features["card_count_1h"]
    assert counts["history"] == 60
    assert counts["same"] == 90
    assert found.features["terminal_count_1d"] == {"history": 150}
    assert found.features["terminal_faded"] == {"history": 150}
    assert found.features["hop_seq of terminal"] == {"same": 150}
    assert found.features["action"] == {"history": 150}
    # What is wrong among the rest is found all the same.
    decisions[180] = altered(race, decisions[180], features={"card_count_1h": 3.0})
    found = compared(race, decisions, lambda: iter(kept))
    assert [(each.event_id, each.feature) for each in found.shown] == [("p180", "card_count_1h")]


def test_a_state_that_was_lost_is_found(race: Pipeline) -> None:
    partitions = one_by_one(40)
    before = live(race, [partitions[0][:20]], random.Random(1))
    after = live(race, [partitions[0][20:]], random.Random(1))
    decisions = [*before, *((source, value, when + 20) for source, value, when in after)]
    found = compared(race, decisions, lambda: iter(partitions[0]))
    assert found.differing == 20
    assert found.shown[0].event_id == "p20"
    assert found.shown[0].feature == "hop_seq of card"
    assert (found.shown[0].decided, found.shown[0].replayed) == (1, 11)
    assert "began anew" in found.shown[0].why


def test_cold_and_unknown_features_are_counted_apart(race: Pipeline) -> None:
    partitions = one_by_one(6)
    decisions = in_order(live(race, partitions, random.Random(1)))
    decode = stream_decoder(DECISIONS, race.spec.settings)
    hops = decode(decisions[3][1])["hops"]
    cold = [{**hops[0], "cold": ["card_count_1h"]}, hops[1]]
    decisions[3] = altered(race, decisions[3], hops=cold, features={"card_count_1h": 1.0})
    without = decode(decisions[4][1])
    del without["features"]["terminal_last_1h"]
    decisions[4] = (decisions[4][0], stream_encoder(DECISIONS)(without), 4)
    other = decode(decisions[5][1])["model"] | {"version": "2", "sha256": "other"}
    decisions[5] = altered(race, decisions[5], model=other, score=0.75)
    found = compared(race, decisions, lambda: iter(partitions[0]))
    assert found.shown == []
    assert found.features["card_count_1h"] == {"cold": 1, "same": 5}
    assert found.features["ratio"] == {"cold": 1, "same": 5}
    assert found.features["terminal_last_1h"] == {"absent": 1, "same": 5}
    assert found.features["score"] == {"cold": 1, "absent": 1, "model": 1, "same": 3}


def test_files_from_end_to_end(
    example: Any, variant: Callable[..., Path], verdict: Callable[..., Any], tmp_path: Path
) -> None:
    file = variant(tmp_path / "pipeline.yaml")
    pipeline = over(load(file), [example.events])
    topics = pipeline.topics
    run_files(
        [score.score(pipeline)],
        [example.events],
        pipeline.schema,
        topics,
        tmp_path / "state",
        tmp_path,
    )
    decisions = tmp_path / "decisions.avro"
    command = ["parity", file, "--events", example.events, "--decisions", decisions]
    ran = verdict(*command, "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["ok"], told["differences"]) == (0, True, 0)
    assert told["compared"] == told["equal"] == told["decisions"] > 1_000
    assert told["events"] == told["compared"] + told["without_decision"] + told["undecided"]
    kept = AvroFile(tmp_path / "kept.avro", definition(DECISIONS), 0)
    bodies = list(read_bodies(decisions, definition(DECISIONS)))
    kept.append([*bodies[:500], *bodies[501:]])
    kept.close()
    ran = verdict(*command[:-1], tmp_path / "kept.avro", "--json")
    less = json.loads(ran.out)
    assert (ran.code, less["lost"], less["differences"]) == (1, 1, 1)
    assert less["without_decision"] == told["without_decision"] + 1
    windows = {"customer_count_1d": {"count": "*", "over": "12h", "by": "customer"}}
    variant(file, features=windows)
    ran = verdict(*command)
    assert ran.code == 1
    first = ran.out.splitlines()[1]
    assert "customer_count_1d" in first
    assert "1.0" in first and "2.0" in first
    assert "decisions compared with their replay" in ran.out


def test_usage_is_exit_code_2(
    tiny: Path, verdict: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = verdict("parity", tiny)
    assert ran.code == 2
    assert "cannot read out/decisions.avro" in ran.err
    empty = AvroFile(tmp_path / "none.avro", definition(DECISIONS), 0)
    empty.close()
    ran = verdict("parity", tiny, "--decisions", "none.avro", "--json")
    assert ran.code == 2
    assert "nothing was compared" in json.loads(ran.out)["errors"][0]
    letters = AvroFile(tmp_path / "letters.avro", definition("dead-letters"), 0)
    letters.append([])
    letters.close()
    ran = verdict("parity", tiny, "--decisions", "letters.avro")
    assert (ran.code, "no Decisions" in ran.err) == (2, True)


def test_three_partitions_of_kafka(
    example: Any, on_kafka: Callable[..., Any], verdict: Callable[..., Any], tmp_path: Path
) -> None:
    made = on_kafka(tmp_path, "parity-3", create=False)
    topics = made.pipeline.topics
    create_topics(made.clients, list(topics.values()), partitions=3)
    producer = Producer(made.clients.producer)
    for key, value in example.messages:
        producer.produce(topics[EVENTS], value, key)
    assert producer.flush(30) == 0
    job = score.score(made.pipeline)
    run_kafka(
        job,
        lambda offsets: KafkaBroker(
            made.clients,
            topics_of(job.inputs, topics),
            topics_of(job.outputs, topics),
            offsets,
            first=job.first,
        ),
        tmp_path / "state",
        stop=threading.Event(),
        bounded=True,
    )
    ran = verdict("parity", made.file, "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["shown"]) == (0, [])
    assert told["compared"] == told["decisions"] > 1_000
    assert told["events"] == len(example.messages)

    # Someone alters a decision: of an event that is decided for the first time, so its copy counts.
    at = first_of(made, topics[DECISIONS])
    decision = stream_decoder(DECISIONS, made.pipeline.spec.settings)(at[1])
    name = "terminal_mean_7d"
    decision["features"][name] += 1.0
    remade = f"{topics[DECISIONS]}-altered"
    create_topics(made.clients, [remade])
    value = stream_encoder(DECISIONS)(decision)
    producer.produce(remade, value, headers=[("source", at[0])])
    assert producer.flush(30) == 0
    text = made.file.read_text().replace(f"decisions: {topics[DECISIONS]}", f"decisions: {remade}")
    made.file.write_text(text)
    ran = verdict("parity", made.file, "--json")
    told = json.loads(ran.out)
    assert ran.code == 1
    assert [each["feature"] for each in told["shown"]] == [name]
    assert told["shown"][0]["event_id"] == decision["event_id"]
    assert told["shown"][0]["decided"] == decision["features"][name]
    assert told["shown"][0]["replayed"] == decision["features"][name] - 1.0


def test_what_nobody_decided_is_looked_for_among_the_dead_letters_of_kafka(
    kafka: LocalKafka, verdict: Callable[..., Any], tmp_path: Path
) -> None:
    streams = {"decisions": "lost-decisions", "dead-letters": "lost-letters"}
    spec = {
        **SPEC,
        "topics": streams,
        "settings": {"kafka": {"bootstrap.servers": kafka.bootstrap}},
    }
    spec["events"] = {**SPEC["events"], "topic": "lost-events"}
    pipeline = write(tmp_path, spec)
    made = clients(pipeline.spec.settings)
    create_topics(made, ["lost-events", *streams.values()])
    producer = Producer(made.producer)
    [events] = one_by_one(12)
    for each in events:
        producer.produce("lost-events", each.value, each.key, timestamp=each.timestamp)
    decisions = in_order(live(pipeline, [events], random.Random(1)))
    old = BEGIN + DAY_MS
    for number, (source, value, _) in enumerate(decisions):
        headers = [("source", (source or b"").replace(b"race-events", b"lost-events"))]
        if number != 5:
            producer.produce("lost-decisions", value, timestamp=old, headers=headers)
    assert producer.flush(30) == 0
    ran = verdict("parity", tmp_path / "pipeline.yaml", "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["ok"], told["lost"], told["equal"]) == (1, False, 1, 11)
    [shown] = told["shown"]
    assert (shown["event_id"], shown["source"]) == ("p5", "lost-events/0/5")
    assert (shown["feature"], shown["decided"]) == ("decision", None)

    letter = {"stage": "score", "kind": "k", "reason": "r", "topic": "lost-events", "partition": 0}
    letter |= {"pipeline": "race", "offset": 5, "timestamp": old, "key": None, "value": None}
    letter |= {"value_size": -1, "value_sha256": None}
    encode = stream_encoder(DEAD_LETTERS)
    for job, code in (("shadow", 1), ("score", 0)):
        producer.produce("lost-letters", encode({**letter, "job": job}))
        assert producer.flush(30) == 0
        ran = verdict("parity", tmp_path / "pipeline.yaml", "--json")
        assert (ran.code, json.loads(ran.out)["without_decision"]) == (code, 1)


def first_of(made: Any, topic: str) -> tuple[bytes, bytes]:
    """Return source and value of a decision of an event that is the first of both its keys."""
    decode = stream_decoder(DECISIONS, made.pipeline.spec.settings)
    consumer = Consumer(
        {**made.clients.consumer, "group.id": "first", "auto.offset.reset": "smallest"}
    )
    consumer.subscribe([topic])
    try:
        while True:
            record = consumer.poll(10)
            assert record is not None and record.error() is None
            if all(hop["hop_seq"] == 1 for hop in decode(record.value())["hops"]):
                return dict(record.headers())["source"], record.value()
    finally:
        consumer.close()
