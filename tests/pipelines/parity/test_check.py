"""What was decided is held against a replay in the recorded order: files, topics, races."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.pipelines.races import (
    BEGIN,
    DAY_MS,
    SPEC,
    compared,
    drawn,
    in_order,
    interleaved,
    live,
    one_by_one,
    write,
)
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
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import topics_of


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
    said = json.loads(ran.out)
    assert (ran.code, said["ok"], said["differences"]) == (0, True, 0)
    assert said["compared"] == said["equal"] == said["decisions"] > 1_000
    assert said["events"] == said["compared"] + said["without_decision"] + said["undecided"]
    kept = AvroFile(tmp_path / "kept.avro", definition(DECISIONS), 0)
    bodies = list(read_bodies(decisions, definition(DECISIONS)))
    kept.append([*bodies[:500], *bodies[501:]])
    kept.close()
    ran = verdict(*command[:-1], tmp_path / "kept.avro", "--json")
    less = json.loads(ran.out)
    assert (ran.code, less["lost"], less["differences"]) == (1, 1, 1)
    assert less["without_decision"] == said["without_decision"] + 1
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
    said = json.loads(ran.out)
    assert (ran.code, said["shown"]) == (0, [])
    assert said["compared"] == said["decisions"] > 1_000
    assert said["events"] == len(example.messages)

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
    said = json.loads(ran.out)
    assert ran.code == 1
    assert [each["feature"] for each in said["shown"]] == [name]
    assert said["shown"][0]["event_id"] == decision["event_id"]
    assert said["shown"][0]["decided"] == decision["features"][name]
    assert said["shown"][0]["replayed"] == decision["features"][name] - 1.0


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
    said = json.loads(ran.out)
    assert (ran.code, said["ok"], said["lost"], said["equal"]) == (1, False, 1, 11)
    [shown] = said["shown"]
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
