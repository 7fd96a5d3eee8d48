"""A backfill in two processes makes the same bytes as in one, and leaves neither behind."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from verdict.operators.events.decode import Decoded
from verdict.operators.events.event import Event
from verdict.operators.labels.label import Label
from verdict.operators.message import NEXT, Message
from verdict.operators.names import LABELS
from verdict.operators.score.carry import Carry
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.errors import FileError, OperatorError
from verdict.pipelines.history import backfill, hops, prefetch
from verdict.pipelines.history.packing import Part
from verdict.pipelines.history.prefetch import Prefetch
from verdict.pipelines.jobs import score
from verdict.pipelines.spec.load import load, over

AT = ("payments", 0, 7, -1)
CARRY = Carry(
    Event("e1", 5, ("c1", None), {"amount": 1.5, "note": None}, {"amount": 150}),
    ["amount"],
    [1.0, None],
    ["c1"],
    None,
    Decoded.of(b"body", {"id": "e1"}),
)
LABEL = Label("e1", 5, ("c1", None), True, 9, "bank", 0)
CAUSE = Message("events", None, b"body", *AT)


@dataclass
class Work:
    """Some parts, and perhaps an error."""

    count: int
    error: Exception | None = None
    pid: Path | None = None

    def __call__(self) -> Iterator[Part]:
        if self.pid is not None:
            self.pid.write_text(str(os.getpid()))
        told = Message(LABELS, None, LABEL, *AT)
        following = [
            OutputRecord(NEXT, b"t1", LABEL, told),
            OutputRecord(NEXT, b"c1", CARRY, CAUSE),
            OutputRecord(NEXT, b"t2", LABEL, told),
            OutputRecord(NEXT, b"t3", LABEL, told),
            OutputRecord(NEXT, b"c2", CARRY, CAUSE),
        ]
        for number in range(self.count):
            some = following if number else []  # a batch may be all dead letters
            yield some, [OutputRecord("dead-letters", b"", b"letter", CAUSE)], number
        if self.error is not None:
            raise self.error


def worked(work: Work) -> list[tuple[list[Message], list[OutputRecord], Any]]:
    process = Prefetch(work)
    try:
        return list(process)
    finally:
        process.close()


def test_what_is_sent_arrives_as_it_was() -> None:
    parts = worked(Work(3))
    assert [more for _, _, more in parts] == [0, 1, 2]
    for messages, outputs, more in parts:
        assert messages == (
            [
                Message(LABELS, b"t1", LABEL, *AT),
                Message("events", b"c1", CARRY, *AT),
                Message(LABELS, b"t2", LABEL, *AT),
                Message(LABELS, b"t3", LABEL, *AT),
                Message("events", b"c2", CARRY, *AT),
            ]
            if more
            else []
        )
        for message in messages:
            assert type(message) is Message
            is_label = message.stream == LABELS
            assert type(message.value) is (Label if is_label else Carry)
            assert isinstance(message.value, Label) or type(message.value.event) is Event
        assert outputs == [OutputRecord("dead-letters", b"", b"letter", CAUSE)]


def test_its_errors_are_raised_here() -> None:
    with pytest.raises(FileError, match="damaged after 7 records"):
        worked(Work(2, FileError("events.avro: damaged after 7 records")))
    with pytest.raises(OperatorError, match="ended with code 1"):
        worked(Work(2, ZeroDivisionError()))


def test_what_lies_where_it_is_started_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipelines").mkdir()
    for name in ("pickle.py", "pipelines/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert len(worked(Work(1))) == 1


def test_if_it_is_killed_that_is_said(tmp_path: Path) -> None:
    process = Prefetch(Work(10**9, pid=tmp_path / "pid"))
    try:
        parts = iter(process)
        next(parts)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(OperatorError, match="ended with code -9"):
            for _ in parts:
                pass
    finally:
        process.close()


def test_it_ends_with_whoever_reads_it(tmp_path: Path) -> None:
    process = Prefetch(Work(10**9, pid=tmp_path / "pid"))
    next(iter(process))
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("features_only", [True, False])
def test_two_processes_make_the_same_bytes_as_one(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features_only: bool
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(hops, "BATCH", 100)
    # In one process, in one that writes its state to RocksDB with each batch, and in two.
    for values in ({"LARGE": 1 << 62}, {"LOOK": 1, "HELD": 0}, {"LARGE": 0}):
        for name, value in values.items():
            monkeypatch.setattr(backfill if name == "LARGE" else hops, name, value)
        read: list[int] = []
        out = tmp_path / f"{len(made)}.parquet"
        summary = backfill.write(
            example.pipeline,
            [example.events],
            out,
            tmp_path / "dead.avro",
            features_only=features_only,
            progress=read.append,
        )
        made.append((out.read_bytes(), summary, sum(read)))
    assert made[0] == made[1] == made[2]
    assert made[0][1].rows > 1_000


def test_a_damaged_file_is_named(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "LARGE", 0)
    whole, damaged = example.events.read_bytes(), tmp_path / "damaged.avro"
    damaged.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out.parquet"
    with pytest.raises(FileError, match=r"damaged\.avro: damaged after \d+ records"):
        backfill.write(example.pipeline, [damaged], out, tmp_path / "dead", features_only=True)
    assert not out.exists()


def test_one_entity_alone_is_not_cut(tiny: Path) -> None:
    pipeline = load(tiny / "pipeline.yaml")
    files = [tiny / "events.jsonl"]
    job = score.backfill(over(pipeline, files), features_only=True)
    assert [hop.name for hop in job.hops if hop.keyed] == ["card"]
    assert prefetch.halves(job) is None
