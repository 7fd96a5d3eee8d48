"""Jobs over files: each feeds those behind it, and a run that ends anywhere goes on from there."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest

from verdict.operators.names import LABELS_JOB
from verdict.pipelines.engines.embedded import from_files
from verdict.pipelines.engines.embedded.from_files import BATCH, paced, run_files
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.jobs import catalog
from verdict.pipelines.spec.load import over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.errors import StateError
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
    seen: list[Sequence[OutputRecord]] = []
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
