"""What a model is trained on is, to the bit, what the pipeline has when it decides."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verdict.pipelines.engines.embedded.from_files import run_files
from verdict.pipelines.errors import FileError, Interrupted, SpecError
from verdict.pipelines.formats.avro_file import read_records
from verdict.pipelines.history import backfill
from verdict.pipelines.jobs import score
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline


def rows(pipeline: Pipeline, files: list[Path], features_only: bool = True) -> list[dict[str, Any]]:
    made = backfill.batches(pipeline, files, features_only=features_only)
    return [row for batch in made for row in batch.to_pylist()]


def bits(value: float | None) -> bytes:
    return b"" if value is None else struct.pack("<d", value)


def test_a_row_is_the_decision_bit_for_bit(example: Any, tmp_path: Path) -> None:
    pipeline = over(example.pipeline, [example.events])
    run_files(
        [score.score(pipeline)],
        [example.events],
        pipeline.schema,
        pipeline.topics,
        tmp_path / "state",
        tmp_path / "out",
    )
    out, dead = tmp_path / "rows.parquet", tmp_path / "dead.avro"
    summary = backfill.write(example.pipeline, [example.events], out, dead, features_only=False)
    found = pq.read_table(out).to_pylist()
    decided = list(read_records(tmp_path / "out/decisions.avro"))
    assert len(found) == len(decided) == summary.rows > 1_000
    features = list(pipeline.spec.features)
    for row, decision in zip(found, decided, strict=True):
        assert row["event_id"] == decision["event_id"]
        assert row["event_time"] == decision["event_time"].astimezone(UTC)
        assert [row[hop["entity"]] for hop in decision["hops"]] == [
            hop["key"] for hop in decision["hops"]
        ]
        assert bits(row["score"]) == bits(decision["score"])
        assert row["action"] == decision["action"]
        model = decision["model"]
        assert row["model"] == f"{model['name']}:{model['version']}"
        assert [bits(row[name]) for name in features] == [
            bits(decision["features"][name]) for name in features
        ]
    decided_columns = ["score", "action", "model"]
    names = ["event_id", "event_time", *pipeline.entities, *decided_columns, *features]
    assert list(found[0]) == names
    live = list(read_records(tmp_path / "out/dead-letters.avro"))
    assert summary.dead_letters == len(live)
    assert (list(read_records(dead)) if dead.exists() else []) == live
    only = rows(example.pipeline, [example.events])
    assert only == [
        {name: row[name] for name in row if name not in decided_columns} for row in found
    ]


def test_no_model_is_needed_yet(example: Any, variant: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = load(variant(tmp_path / "pipeline.yaml", model=str(tmp_path / "to-be-trained")))
    assert rows(pipeline, [example.events])[0]["customer_count_1h"] == 1


def test_several_files_are_one_history(tiny: Path) -> None:
    pipeline = load(tiny / "pipeline.yaml")
    events = (tiny / "events.jsonl").read_bytes().splitlines(keepends=True)
    one, two = tiny / "one.jsonl", tiny / "two.jsonl"
    one.write_bytes(b"".join(events[:4]))
    two.write_bytes(b"".join(events[4:]))
    assert rows(pipeline, [one, two]) == rows(pipeline, [tiny / "events.jsonl"])


def test_what_is_broken_is_a_dead_letter_beside(tiny: Path, tmp_path: Path) -> None:
    pipeline = load(tiny / "pipeline.yaml")
    events = tiny / "events.jsonl"
    whole = rows(pipeline, [events])
    events.write_bytes(b"{broken\n" + events.read_bytes())
    out, dead = tmp_path / "rows.parquet", tmp_path / "dead.avro"
    summary = backfill.write(pipeline, [events], out, dead, features_only=True)
    assert (summary.events, summary.dead_letters) == (len(whole) + 1, 1)
    assert pq.read_table(out).to_pylist() == whole
    [letter] = read_records(dead)
    assert (letter["stage"], letter["value"], letter["offset"]) == ("decode", b"{broken", 0)


def test_parquet_gives_the_same_rows(example: Any, tmp_path: Path) -> None:
    records = [record for record in read_records(example.events) if record is not None]
    expected = rows(example.pipeline, [example.events])
    file = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pylist(records), file)
    assert rows(example.pipeline, [file]) == expected


def test_a_missing_column_is_named(example: Any, tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    pq.write_table(pa.table({"customer_id": ["c"]}), file)
    with pytest.raises(FileError, match=r"events\.parquet: no column 'transaction_id'"):
        rows(example.pipeline, [file])


def test_files_of_another_format_are_refused(example: Any) -> None:
    with pytest.raises(SpecError, match=r"lie in \.avro or \.parquet files"):
        rows(example.pipeline, [Path("events.jsonl")])


def test_two_columns_of_one_name_are_refused(example: Any, tmp_path: Path) -> None:
    folder = example.pipeline.path.parent
    text = example.pipeline.path.read_text().replace("  online: channel", "  customer: channel")
    for name in ("transaction.avsc", "models"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "pipeline.yaml").write_text(text)
    with pytest.raises(SpecError, match="two columns of a backfill would be named 'customer'"):
        rows(load(tmp_path / "pipeline.yaml"), [example.events])


def test_told_to_stop_it_leaves_nothing(example: Any, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    out, dead = tmp_path / "rows.parquet", tmp_path / "dead.avro"
    with pytest.raises(Interrupted):
        backfill.write(example.pipeline, [example.events], out, dead, features_only=True, stop=stop)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing_and_says_nothing(tiny: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    os.mkfifo(events)
    out = tmp_path / "out" / "rows.parquet"
    command = ["backfill", str(tiny), "--events", str(events), "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "verdict", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        with events.open("wb") as pipe:  # opens when the command reads, which handles signals then
            running.send_signal(signal.SIGINT)
            pipe.write((tiny / "events.jsonl").read_bytes())
        said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, (b"", b""))
    assert list(out.parent.iterdir()) == []


def test_the_command_says_what_it_wrote(example: Any, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    command = ["backfill", str(example.pipeline.path), "--events", str(example.events), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "verdict", *command, "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["rows"] == pq.read_metadata(out).num_rows
    assert told["events"] == told["rows"] + told["dead_letters"] + told["repeated"]
