"""A hop is made of what its job was made from: of no file that is read again, of no secret."""

import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pytest

from verdict.operators.message import Message
from verdict.operators.names import LABELS
from verdict.operators.score.hops import DecodeHop, EntityHop
from verdict.pipelines.jobs import catalog, score
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job
from verdict.state.store.keyed import MemoryState

Variant = Callable[..., Path]
DAY_MS = 86_400_000
LABEL: dict[str, Any] = {
    "type": "record",
    "name": "Label",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "fraud", "type": "boolean"},
        {"name": "known_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "customer", "type": "string"},
    ],
}


@pytest.fixture
def labelled(variant: Variant, tmp_path: Path) -> Pipeline:
    """A topic that comes keyed; its labels and its events have Confluent's header."""
    (tmp_path / "label.avsc").write_text(json.dumps(LABEL))
    return load(
        variant(
            tmp_path / "pipeline.yaml",
            events={"format": "confluent"},
            labels={
                "topic": "reported",
                "format": "confluent",
                "schema": "label.avsc",
                "event_id": "id",
                "value": "fraud",
                "known_at": "known_at",
                "event_time": "at",
                "keys": {"customer": "customer"},
            },
            features={"risk": {"rate": "label", "over": "7d", "delay": "7d", "by": "customer"}},
            settings={"schemas": {"folder": str(tmp_path / "schemas")}},
        )
    )


def test_labels_of_files_are_plain_avro_in_every_hop(labelled: Pipeline) -> None:
    moved = over(labelled, [Path("events.avro")], [Path("labels.avro")])
    job = score.score(moved)
    assert [hop.name for hop in job.hops] == ["decode", "customer", "terminal"]
    packed = io.BytesIO()
    label = {"id": "a", "fraud": True, "known_at": 9 * DAY_MS, "at": DAY_MS, "customer": "c"}
    fastavro.schemaless_writer(packed, fastavro.parse_schema(LABEL), label)
    message = Message(LABELS, b"c", packed.getvalue(), "labels.avro", 0, 0, -1)
    operator = job.hops[1].operator()
    assert list(operator(message, MemoryState())) == []
    assert isinstance(operator, EntityHop)
    assert [each[:2] for each in operator.meter.counts] == [(LABELS, "customer")]


def test_over_files_no_hop_asks_for_commands(variant: Variant, tmp_path: Path) -> None:
    file = variant(tmp_path / "pipeline.yaml", topics={"state-commands": "ask"})
    job = score.score(over(load(file), [Path("events.avro")]))
    assert {type(hop.operator()) for hop in job.hops} == {DecodeHop, EntityHop}


def test_what_was_changed_after_the_file_was_read_reaches_the_hops(
    variant: Variant, tmp_path: Path
) -> None:
    pipeline = load(variant(tmp_path / "pipeline.yaml"))
    renamed = replace(pipeline, spec=pipeline.spec.model_copy(update={"pipeline": "other"}))
    (hop, *_) = score.score(renamed).hops
    message = Message("events", b"k", b"garbage", "t", 0, 0, 0)
    (emit,) = hop.operator()(message, MemoryState())
    assert b"other" in emit.value


@pytest.mark.parametrize("name", catalog.JOBS)
def test_no_file_but_models_and_functions_is_read_where_a_hop_runs(
    variant: Variant, tmp_path: Path, name: str
) -> None:
    (tmp_path / "label.avsc").write_text(json.dumps(LABEL))
    labels = {"topic": "reported", "schema": "label.avsc", "event_id": "id", "value": "fraud"}
    pipeline = load(
        variant(
            tmp_path / "pipeline.yaml",
            labels={**labels, "known_at": "known_at"},
            features={"risk": {"rate": "label", "over": "7d", "delay": "7d", "by": "customer"}},
        )
    )
    sent = pickle.dumps(catalog.job(pipeline, name))
    shutil.rmtree(tmp_path)
    job: Job = pickle.loads(sent)
    assert all(callable(hop.operator()) for hop in job.hops)


def test_no_secret_goes_with_a_hop(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    kafka = {
        "sasl.username": {"env": "NOT_SET_HERE"},
        "sasl.password": {"file": str(tmp_path / "not-here")},
    }
    tables = {"merchants": {"topic": "merchants", "key": "terminal.id"}}
    listed = {"listed": {"listed_in": "merchants"}}
    for more in ({}, {"lookups": tables, "features": listed}):
        file = variant(tmp_path / "pipeline.yaml", settings={"kafka": kafka}, **more)
        job = catalog.job(load(file), "score")  # that reads neither of the two
        assert (b"NOT_SET_HERE" in pickle.dumps(job)) == bool(more)
    plain = {"sasl.username": "me", "sasl.password": "do-not-tell"}
    file = variant(tmp_path / "pipeline.yaml", settings={"kafka": plain})
    assert b"do-not-tell" not in pickle.dumps(catalog.job(load(file), "score"))


def test_what_is_asked_again_and_again_is_made_once(variant: Variant, tmp_path: Path) -> None:
    pipeline = load(variant(tmp_path / "pipeline.yaml"))
    assert pipeline.windowed("customer") is pipeline.windowed("customer")
    assert pipeline.formulas is pipeline.formulas
    copy: Pipeline = pickle.loads(pickle.dumps(pipeline))
    assert "formulas" not in vars(copy)
    assert copy == pipeline
    assert copy.formulas == pipeline.formulas
