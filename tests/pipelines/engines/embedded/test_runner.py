"""The embedded engine: whatever stops it, what comes out is what an uninterrupted run makes."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest

from verdict.operators.message import NEXT, Emit, Message
from verdict.operators.names import DECISIONS, EVENTS, LABELS_JOB
from verdict.pipelines.engines.embedded import from_files
from verdict.pipelines.engines.embedded.from_files import BATCH, paced, run_files
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import Output, Runner
from verdict.pipelines.errors import FileError, KafkaError
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.jobs import catalog, score
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Hop, Job
from verdict.state.errors import StateError
from verdict.state.store.keyed import KeyedState
from verdict.state.store.rocks import RocksStore

STREAMS = ("decisions", "dead-letters", "shadow-scores", "drift", "comparison")


EVERY = [name for name in catalog.JOBS if name != LABELS_JOB]


class Crash(Exception):
    """Stands for the death of the process."""


class Always:
    """Asks to stop, so a run ends after its first batch."""

    def is_set(self) -> bool:
        return True


def run(
    pipeline: Pipeline, files: Sequence[Path], folder: Path, names: Sequence[str], **more: Any
) -> int:
    moved = over(pipeline, files)
    chosen = [catalog.job(moved, name) for name in names]
    return run_files(
        chosen, files, moved.schema, moved.topics, folder / "state", folder / "out", **more
    )


Blocks = dict[str, list[tuple[int, bytes]]]


def blocks(folder: Path) -> Blocks:
    """Read the blocks of every output; but for them, files differ by their random sync marker."""
    found: Blocks = {}
    for path in sorted((folder / "out").iterdir()):
        with path.open("rb") as file:
            found[path.stem] = [
                (block.num_records, block.bytes_.getvalue())
                for block in fastavro.block_reader(file)
            ]
    return found


@pytest.fixture(scope="module")
def whole(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Blocks:
    """What all jobs make of the example's events in one go."""
    folder = tmp_path_factory.mktemp("whole")
    seen: list[int] = []
    done = run(
        example.pipeline,
        [example.events],
        folder,
        EVERY,
        watch=lambda outputs: seen.append(len(outputs)),
    )
    found = blocks(folder)
    assert done > 3 * BATCH
    assert len(seen) == -(-done // BATCH)
    assert sum(seen) == sum(count for stream in found.values() for count, _ in stream)
    return found


def test_each_job_feeds_those_behind_it(whole: Blocks, example: Any) -> None:
    counts = {stream: sum(count for count, _ in found) for stream, found in whole.items()}
    assert counts.keys() == set(STREAMS)
    assert counts["decisions"] + counts["dead-letters"] == len(
        [tx for tx in example.transactions if tx.broken not in ("truncated", "garbage")]
    )
    assert counts["shadow-scores"] == counts["decisions"]
    assert counts["drift"] % 15 == 0 and counts["drift"] > 0  # 14 features and the score
    assert counts["comparison"] > 0


def test_stopped_and_crashed_at_every_batch_it_makes_the_same_bytes(
    example: Any, whole: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each boundary once after the outputs were written but not committed, once after both."""
    commit = RocksStore.commit
    crashing = False

    def commit_or_crash(store: RocksStore, meta: Mapping[str, bytes]) -> None:
        if crashing:
            raise Crash
        commit(store, meta)

    monkeypatch.setattr(RocksStore, "commit", commit_or_crash)
    done, crashes = 0, 0
    while True:
        crashing = not crashing
        if crashing:
            before = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.avro"))
        try:
            now = run(example.pipeline, [example.events], tmp_path, EVERY, stop=Always())
        except Crash:
            crashes += 1
            after = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.avro"))
            assert after > before  # it did die between the two
            continue
        if now == done:
            break
        assert now - done <= BATCH
        done = now
    assert crashes == -(-done // BATCH)
    assert blocks(tmp_path) == whole


def test_with_nothing_new_nothing_changes(example: Any, tmp_path: Path) -> None:
    done = run(example.pipeline, [example.events], tmp_path, ["score"])
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    seen: list[Sequence[Output]] = []
    assert run(example.pipeline, [example.events], tmp_path, ["score"], watch=seen.append) == done
    assert seen == []
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def part(example: Any, path: Path, start: int, end: int | None) -> Path:
    """Write some of the example's events into a container; return it."""
    with example.events.open("rb") as file:
        records = list(fastavro.reader(file))[start:end]
    with path.open("a+b") as file:
        fastavro.writer(file, example.pipeline.schema.definition, records)
    return path


def decisions(folder: Path) -> list[bytes]:
    with (folder / "out" / "decisions.avro").open("rb") as file:
        return [block.bytes_.getvalue() for block in fastavro.block_reader(file)]


def test_a_file_that_grew_and_one_that_follows_go_on_where_the_last_ended(
    example: Any, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(example.pipeline, [part(example, tmp_path / "all.avro", 0, 900)], one, ["score"])
    first = part(example, tmp_path / "first.avro", 0, 300)
    assert run(example.pipeline, [first], two, ["score"]) == 300
    part(example, first, 300, 500)
    assert run(example.pipeline, [first], two, ["score"]) == 500
    second = part(example, tmp_path / "second.avro", 500, 900)
    assert run(example.pipeline, [first, second], two, ["score"]) == 900
    assert run(example.pipeline, [second], two, ["score"]) == 900
    assert b"".join(decisions(one)) == b"".join(decisions(two))


def test_other_files_are_not_taken_for_those_already_read(example: Any, tmp_path: Path) -> None:
    first = part(example, tmp_path / "a.avro", 0, 300)
    other = part(example, tmp_path / "b.avro", 300, 500)
    run(example.pipeline, [first], tmp_path, ["score"])
    assert run(example.pipeline, [other], tmp_path, ["score"]) == 500


def test_another_folder_for_the_outputs_is_refused(example: Any, tmp_path: Path) -> None:
    run(example.pipeline, [example.events], tmp_path, ["score"], stop=Always())
    (tmp_path / "out").rename(tmp_path / "moved")
    with pytest.raises(FileError, match=r"is shorter than it was.*an empty state folder"):
        run(example.pipeline, [example.events], tmp_path, ["score"])


def test_a_damaged_file_stops_the_run_and_keeps_what_was_committed(
    example: Any, tmp_path: Path
) -> None:
    damaged = tmp_path / "events.avro"
    part(example, damaged, 0, 700)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-9])
    with pytest.raises(FileError, match=r"events\.avro: damaged after \d+ records"):
        run(example.pipeline, [damaged], tmp_path, ["score"])
    damaged.write_bytes(content)
    assert run(example.pipeline, [damaged], tmp_path, ["score"]) == 700
    run(example.pipeline, [damaged], tmp_path / "whole", ["score"])
    assert b"".join(decisions(tmp_path)) == b"".join(decisions(tmp_path / "whole"))


HOLD = """
import sys
from pathlib import Path
from verdict.state.store.rocks import RocksStore
store = RocksStore(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_another_process_holds_is_refused_in_words(
    example: Any, tmp_path: Path
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "state")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=r"state is in use by another process: stop that one"):
            run(example.pipeline, [example.events], tmp_path, ["score"])
        assert not (tmp_path / "out").exists()
    finally:
        holder.communicate("", timeout=20)
    assert run(example.pipeline, [example.events], tmp_path, ["score"], stop=Always()) == BATCH


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


class Topic:
    """A topic in memory, and what was sent; acknowledged by `flush`, which may fail."""

    def __init__(self, count: int, sent: list[Output], fail_at: int = -1) -> None:
        self.records = [Message(EVENTS, None, b"%d" % n, "t", 0, n, 0) for n in range(count)]
        self.sent = sent
        self.fail_at = fail_at
        self.next = 0
        self.polled: list[int] = []
        self.closed = False

    def __call__(self, offsets: Mapping[str, int]) -> "Topic":
        self.next = offsets.get("t/0", 0)
        return self

    def poll(self, most: int, timeout: float) -> list[Message]:
        batch = self.records[self.next : self.next + min(most, 4)]
        self.next += len(batch)
        self.polled.append(len(batch))
        return batch

    def send(self, output: Output) -> None:
        self.sent.append(output)

    def flush(self) -> None:
        if len(self.polled) == self.fail_at:
            raise KafkaError("an output was not acknowledged")

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        return offsets.get("t/0", 0) >= len(self.records)

    def close(self) -> None:
        self.closed = True


def test_nothing_is_committed_before_it_is_acknowledged(tmp_path: Path) -> None:
    sent: list[Output] = []
    topic = Topic(10, sent, fail_at=2)
    with pytest.raises(KafkaError, match="not acknowledged"):
        run_kafka(COUNT_JOB, topic, tmp_path, stop=threading.Event(), bounded=True, commit_s=0)
    assert topic.closed
    lost = len(sent)
    again = Topic(10, sent)
    assert run_kafka(COUNT_JOB, again, tmp_path, stop=threading.Event(), bounded=True) == 6
    repeats = sent[lost : lost + 8]
    assert [(o.key, o.value, o.cause.offset) for o in sent[lost - 8 : lost]] == [
        (o.key, o.value, o.cause.offset) for o in repeats
    ]
    values = {output.value for output in sent}
    assert values == {b"%d %d" % (n, n + 1) for n in range(10)}


def test_a_bounded_run_with_nothing_new_ends_at_once(tmp_path: Path) -> None:
    for wanted in (3, 0):
        topic = Topic(3, [])
        read = run_kafka(COUNT_JOB, topic, tmp_path, stop=threading.Event(), bounded=True)
        assert read == wanted
    assert topic.polled == []


def test_a_run_that_is_asked_to_stop_ends_after_its_batch(tmp_path: Path) -> None:
    stop = threading.Event()
    topic = Topic(10, [])
    topic.flush = stop.set  # type: ignore[method-assign]
    assert run_kafka(COUNT_JOB, topic, tmp_path, stop=stop, commit_s=0) == 8
    assert topic.closed


def test_batches_are_committed_together_until_it_is_time(tmp_path: Path) -> None:
    topic, flushed = Topic(10, []), []
    topic.flush = lambda: flushed.append(topic.next)  # type: ignore[method-assign]
    run_kafka(COUNT_JOB, topic, tmp_path, stop=threading.Event(), bounded=True, commit_s=60)
    assert flushed == [10]


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("rate", "after"), [(50.0, 0), (3.0, 0), (5_000.0, 700), (0.5, 0)])
def test_a_pace_is_kept(rate: float, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(from_files, "time", clock)
    take: Callable[[int], int] = paced(rate, after)
    done = 0
    while done < after:
        taken = take(done)
        assert 0 < taken <= BATCH
        done += taken
    assert (done, clock.now) == (after, 100.0)
    while clock.now < 110:
        taken = take(done)
        assert 1 <= taken <= BATCH
        done += taken
        # Never ahead of its time, never more than one event behind.
        assert abs((done - after) / rate - (clock.now - 100)) <= 1 / rate + 1e-6


def test_outputs_are_containers_of_their_schema(whole: Blocks, tmp_path: Path) -> None:
    file = AvroFile(tmp_path / "decisions.avro", definition("decisions"), 0)
    file.close()
    with (tmp_path / "decisions.avro").open("rb") as container:
        schema = fastavro.block_reader(container).writer_schema
    assert isinstance(schema, dict) and schema["name"] == "verdict.Decision"
    assert whole["decisions"]


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
            hops = [dict(decision)["hops"][0] for decision in fastavro.reader(file)]  # type: ignore[call-overload]
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
        hops = [dict(decision)["hops"][0] for decision in fastavro.reader(file)]  # type: ignore[call-overload]
    assert [hop["hop_seq"] for hop in hops[-30:]] == [3] * 30
