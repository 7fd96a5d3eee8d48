"""The embedded engine: whatever stops it, what comes out is what an uninterrupted run makes."""

import json
from collections.abc import Iterator
from pathlib import Path

import fastavro

from verdict.operators.message import NEXT, Emit, Message
from verdict.operators.names import DECISIONS, EVENTS
from verdict.pipelines.engines.embedded.from_files import run_files
from verdict.pipelines.engines.embedded.runner import Runner
from verdict.pipelines.jobs import score
from verdict.pipelines.spec.load import load
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.keyed import KeyedState
from verdict.state.store.rocks import RocksStore


class Twice:
    """Hands a record on under two keys."""

    def __call__(self, message: Message, state: KeyedState) -> Iterator[Emit]:
        for key in (b"a", b"b"):
            yield Emit(NEXT, key, message.value or b"")


class Count:
    """Counts the records of its key."""

    def __call__(self, message: Message, state: KeyedState) -> Iterator[Emit]:
        count = int(state.get() or b"0") + 1
        state.put(b"%d" % count)
        yield Emit(DECISIONS, message.key or b"", b"%s %d" % (message.value, count))


COUNT_JOB = Job(
    "count", "p", (EVENTS,), (Hop("twice", False, Twice), Hop("count", True, Count)), (DECISIONS,)
)


def test_a_record_runs_through_the_hops_and_keeps_its_coordinates(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    runner = Runner(COUNT_JOB, store)
    found = [
        output
        for offset in range(2)
        for output in runner(Message(EVENTS, None, b"v", "t", 3, offset, 7))
    ]
    store.close()
    assert [(output.key, output.value) for output in found] == [
        (b"a", b"v 1"),
        (b"b", b"v 1"),
        (b"a", b"v 2"),
        (b"b", b"v 2"),
    ]
    assert {output.cause[3:7] for output in found} == {("t", 3, 0, 7), ("t", 3, 1, 7)}


def test_a_silent_entity_is_deleted_and_begins_anew(tiny: Path) -> None:
    """The longest window and two days pass; then twice that, and whoever is silent is gone."""
    pipeline = load(tiny / "pipeline.yaml")
    day = 2 * 86_400_000  # of silence
    cards = [(0, "idle"), (1, "late"), *((n * day // 20, "busy") for n in range(1, 91))]
    lines = [
        json.dumps({"id": f"e{i}", "time": at, "card_id": card, "amount": 1})
        for i, (at, card) in enumerate([*cards, (3 * day, "late"), (4 * day, "idle")])
    ]
    folder = tiny / "state"

    def decided() -> list[tuple[str, int]]:
        run_files(
            [score.score(pipeline)],
            [tiny / "events.jsonl"],
            pipeline.schema,
            pipeline.topics,
            folder,
            tiny / "out",
            pace=lambda _: 5,  # events between two commits
        )
        with (tiny / "out/decisions.avro").open("rb") as file:
            hops = [dict(decision)["hops"][0] for decision in fastavro.reader(file)]
        return [(hop["key"], hop["hop_seq"]) for hop in hops]

    def kept() -> set[bytes]:
        store = RocksStore(folder)
        found = {key.rpartition(b"\0")[2] for key, _ in store.items(b"h") if key[:1] == b"h"}
        store.close()
        return found

    (tiny / "events.jsonl").write_text("".join(f"{line}\n" for line in lines[:92]))
    assert decided()[-1] == ("busy", 90)
    assert kept() == {b"busy"}
    (tiny / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    found = decided()
    assert found[-2:] == [("late", 1), ("idle", 1)]  # forgotten, deleted or not
    assert kept() == {b"late", b"idle", b"busy"}


def test_one_event_from_far_ahead_costs_no_other_entity_its_state(tiny: Path) -> None:
    """Events of files have no timestamp to measure their time by."""
    pipeline = load(tiny / "pipeline.yaml")
    cards = [*((n, f"c{n}") for n in range(30)), (10**13, "broken")]
    cards += [(100 + n, f"c{n % 30}") for n in range(60)]
    (tiny / "events.jsonl").write_text(
        "".join(
            json.dumps({"id": f"e{i}", "time": at, "card_id": card, "amount": 1}) + "\n"
            for i, (at, card) in enumerate(cards)
        )
    )
    run_files(
        [score.score(pipeline)],
        [tiny / "events.jsonl"],
        pipeline.schema,
        pipeline.topics,
        tiny / "state",
        tiny / "out",
        pace=lambda _: 5,
    )
    with (tiny / "out/decisions.avro").open("rb") as file:
        hops = [dict(decision)["hops"][0] for decision in fastavro.reader(file)]
    assert [hop["hop_seq"] for hop in hops[-30:]] == [3] * 30
