"""The newest records of a stream, as plain values."""

import json
import math
from collections.abc import Generator, Iterable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.pipelines.engines.embedded.from_files import run_files
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.streams import stream_encoder
from verdict.pipelines.jobs import score
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.outputs.tail import newest, plain
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

LETTERS = "dead-letters"


@pytest.fixture
def ran(tiny: Path, tmp_path: Path) -> tuple[Pipeline, Path]:
    """The smallest pipeline, and the folder of the ten decisions that it made."""
    pipeline, out = load(tiny / "pipeline.yaml"), tmp_path / "out"
    run_files(
        [score.score(pipeline)],
        [tiny / "events.jsonl"],
        pipeline.schema,
        pipeline.topics,
        tmp_path / "state",
        out,
    )
    return pipeline, out


@pytest.mark.parametrize(("last", "wanted"), [(3, range(8, 11)), (0, []), (99, range(1, 11))])
def test_the_last_records_of_a_file(
    ran: tuple[Pipeline, Path], last: int, wanted: Iterable[int]
) -> None:
    pipeline, out = ran
    found = list(newest(pipeline, "decisions", last, False, out))
    assert [record["event_id"] for record in found] == [f"p{number:02}" for number in wanted]
    assert all(json.loads(json.dumps(record)) == record for record in found)


def test_a_stream_without_a_file_is_said(ran: tuple[Pipeline, Path]) -> None:
    pipeline, out = ran
    with pytest.raises(FileError, match=r"there is no .*shadow-scores\.avro: run the pipeline"):
        list(newest(pipeline, "shadow-scores", 10, False, out))


def letter(offset: int) -> bytes:
    return stream_encoder(LETTERS)(
        {
            "pipeline": "p",
            "job": "score",
            "stage": "decode",
            "kind": "tombstone",
            "reason": "not Avro",
            "topic": "t",
            "partition": 0,
            "offset": offset,
            "timestamp": 0,
            "key": b"\xff",
            "value": None,
            "value_size": -1,
            "value_sha256": None,
        }
    )


def test_the_last_records_of_each_partition_and_those_that_follow(
    on_kafka: Any, tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "tail", create=False)
    create_topics(stage.clients, ["tail-dead-letters"], partitions=2)
    assert list(newest(stage.pipeline, LETTERS, 3, False, None)) == []
    producer = Producer(stage.clients.producer)
    for offset in range(10):
        producer.produce("tail-dead-letters", letter(offset), partition=offset % 2)
    assert producer.flush(20) == 0
    found = list(newest(stage.pipeline, LETTERS, 3, False, None))
    assert sorted(record["offset"] for record in found) == [4, 5, 6, 7, 8, 9]
    assert {record["key"] for record in found} == {"\\xff"}
    assert len(list(newest(stage.pipeline, LETTERS, 99, False, None))) == 10

    following = newest(stage.pipeline, LETTERS, 1, True, None)
    assert {next(following)["offset"], next(following)["offset"]} == {8, 9}
    producer.produce("tail-dead-letters", letter(10), partition=0)
    assert producer.flush(20) == 0
    assert next(following)["offset"] == 10
    assert isinstance(following, Generator)
    following.close()

    producer.produce("tail-dead-letters", b"garbage", partition=0)
    assert producer.flush(20) == 0
    with pytest.raises(BadRecord, match="no record of this stream"):
        list(newest(stage.pipeline, LETTERS, 1, False, None))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (datetime(2026, 1, 5, 9, 0, 0, 7_000, tzinfo=UTC), "2026-01-05T09:00:00.007Z"),
        (
            datetime(2026, 1, 5, 1, tzinfo=timezone(timedelta(hours=2))),
            "2026-01-04T23:00:00.000Z",
        ),
        (Decimal("12.340000"), "12.34"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.000000"), "0"),
        (b"c\xc3\xa9\xff", "cé\\xff"),
        (math.nan, None),
        (-math.inf, None),
        (1.5, 1.5),
        (True, True),
        ({"a": [b"x", None]}, {"a": ["x", None]}),
    ],
)
def test_a_value_becomes_what_json_knows(value: Any, wanted: Any) -> None:
    assert plain(value) == wanted


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False, places=6),
    st.datetimes(timezones=st.just(UTC)),
)


@settings(max_examples=50)
@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_value_becomes_json(value: Any) -> None:
    json.dumps(plain(value), allow_nan=False)
