"""What a model is trained on is, to the bit, what the pipeline has when it decides."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import jobs
from pipelines.embedded import run_files
from pipelines.errors import SpecError
from pipelines.files import read_records
from pipelines.pipeline import load
from pipelines.training import feature_rows


def bits(features: dict[str, float]) -> dict[str, bytes]:
    return {name: struct.pack("<d", value) for name, value in features.items()}


def test_the_features_are_those_of_the_decisions_bit_for_bit(example: Any, tmp_path: Path) -> None:
    pipeline = example.pipeline.over([example.events])
    run_files(
        [jobs.score(pipeline)],
        [example.events],
        pipeline.schema,
        pipeline.topics,
        tmp_path / "state",
        tmp_path / "out",
    )
    decided = [
        (
            decision["event_id"],
            round(decision["event_time"].timestamp() * 1000),
            bits(decision["features"]),
        )
        for decision in read_records(tmp_path / "out/decisions.avro")
    ]
    rows = list(feature_rows(example.pipeline, [example.events]))
    assert len(rows) > 1_000
    assert [(row.event_id, row.event_time, bits(row.features)) for row in rows] == decided
    assert [list(row.features) for row in rows[:1]] == [list(pipeline.spec.features)]


def test_no_model_is_needed_yet(example: Any, variant: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = load(variant(tmp_path / "pipeline.yaml", model=str(tmp_path / "to-be-trained")))
    row = next(feature_rows(pipeline, [example.events]))
    assert row.features["customer_count_1h"] == 1


def test_several_files_are_one_history(tiny: Path) -> None:
    pipeline = load(tiny / "pipeline.yaml")
    events = (tiny / "events.jsonl").read_bytes().splitlines(keepends=True)
    one, two = tiny / "one.jsonl", tiny / "two.jsonl"
    one.write_bytes(b"".join(events[:4]))
    two.write_bytes(b"".join(events[4:]))
    parts = list(feature_rows(pipeline, [one, two]))
    assert parts == list(feature_rows(pipeline, [tiny / "events.jsonl"]))


def test_files_of_another_format_are_refused(example: Any) -> None:
    with pytest.raises(SpecError, match=r"lie in \.avro files"):
        next(feature_rows(example.pipeline, [Path("events.jsonl")]))
