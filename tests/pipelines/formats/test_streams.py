"""Every output stream has a schema, and its records come back as they went in."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from verdict.operators.errors import BadRecord
from verdict.operators.names import Stream
from verdict.operators.records.decision import amount_bytes
from verdict.pipelines.formats.streams import (
    definition,
    stream_decoder,
    stream_encoder,
    stream_prefix,
)
from verdict.pipelines.spec.settings import Settings, Topics, output_topics

MILLIS = 1_767_225_600_000
AMOUNT = amount_bytes(1_234, 2)
SCORED = {
    "name": "m",
    "version": "1",
    "sha256": "0" * 64,
    "score": 0.25,
    "action": "approve",
    "because": "otherwise",
}
RECORDS: Mapping[str, dict[str, Any]] = {
    "decisions": {
        "decision_id": "d",
        "pipeline": "p",
        "event_id": "e",
        "event_time": MILLIS,
        "hops": [
            {"entity": "card", "key": "c", "hop_seq": 1, "late": False, "cold": []},
            {"entity": "shop", "key": None, "hop_seq": None, "late": True, "cold": []},
        ],
        "amount": AMOUNT,
        "currency": "EUR",
        "model": {"name": "m", "version": "1", "sha256": "0" * 64},
        "repeated": False,
        "score": 0.25,
        "classes": [0.75, 0.25],
        "action": "approve",
        "because": "otherwise",
        "rules": ["huge"],
        "implausible": ["amount"],
        "features": {"a": 1.5, "b": -0.0},
        "fields": {"a": None, "b": True, "c": 7, "d": 2.5, "e": "text"},
    },
    "dead-letters": {
        "pipeline": "p",
        "job": "score",
        "stage": "decode",
        "kind": "not-avro",
        "reason": "not Avro",
        "topic": "t",
        "partition": 0,
        "offset": 7,
        "timestamp": -1,
        "key": None,
        "value": b"\xff\x00",
        "value_size": 2,
        "value_sha256": None,
    },
    "shadow-scores": {
        "pipeline": "p",
        "event_id": "e",
        "event_time": MILLIS,
        "amount": None,
        "currency": None,
        "champion": SCORED,
        "challenger": {**SCORED, "name": "n"},
    },
    "drift": {
        "pipeline": "p",
        "feature": "f",
        "window_start": MILLIS,
        "window_end": MILLIS + 1,
        "count": 3,
        "missing": 1,
        "mean": None,
        "std": 0.5,
        "state": "alarm",
        "psi": 0.3,
        "detectors": ["psi"],
        "since": MILLIS,
        "edges": [0.0, 1.0],
        "before": [1, 2, 3, 0],
        "after": [1, 1, 0, 1],
    },
    "comparison": {
        "pipeline": "p",
        "champion": "a:1",
        "challenger": "b:1",
        "window_start": MILLIS,
        "window_end": MILLIS + 1,
        "count": 1,
        "total": 2,
        "agreed": 1,
        "agreement": 0.5,
        "score_difference": 0.1,
        "actions": [{"champion": "a", "challenger": "b", "count": 1, "amounts": {"EUR": AMOUNT}}],
    },
    "state-answers": {
        "command_id": "7",
        "pipeline": "p",
        "command": "get",
        "entity": "card",
        "key": "c",
        "by": "ann",
        "why": "",
        "found": True,
        "remembered": "{}",
    },
    "entity-labels": {
        "pipeline": "p",
        "event_id": "e",
        "event_time": MILLIS,
        "keys": [{"entity": "card", "key": "c"}, {"entity": "shop", "key": None}],
        "positive": True,
        "known_at": MILLIS + 1,
        "source": "bank",
    },
}


@pytest.mark.parametrize("stream", Stream)
def test_a_schema_is_documented_avro_of_the_house(stream: str) -> None:
    schema = definition(stream)
    fastavro.parse_schema(schema)
    assert (schema["type"], schema["namespace"]) == ("record", "verdict")
    assert schema["doc"]


@pytest.mark.parametrize("stream", Stream)
def test_a_record_comes_back_as_it_went_in(stream: str) -> None:
    settings = Settings()
    value = stream_encoder(stream)(RECORDS[stream])
    assert stream_decoder(stream, settings)(value) == RECORDS[stream]
    schema = fastavro.parse_schema(definition(stream))
    assert fastavro.schemaless_reader(io.BytesIO(value), schema, None)["pipeline"] == "p"


def test_people_get_decimals_and_times() -> None:
    settings = Settings()
    value = stream_encoder("decisions")(RECORDS["decisions"])
    decision = stream_decoder("decisions", settings, logical=True)(value)
    assert decision["amount"] == Decimal("12.34")
    assert decision["event_time"] == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("stream", Stream)
def test_confluents_header_has_the_id_of_the_streams_schema(stream: str, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"output_format": "confluent", "schemas": {"folder": "schemas"}}
    )
    prefix = stream_prefix(stream, settings, "any-topic", tmp_path)
    value = stream_encoder(stream, prefix)(RECORDS[stream])
    (schema,) = (tmp_path / "schemas").glob("*.avsc")
    assert value[:5] == b"\0" + int(schema.stem).to_bytes(4, "big")
    assert value[5:] == stream_encoder(stream)(RECORDS[stream])
    assert stream_decoder(stream, settings)(value) == RECORDS[stream]


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x02a"])
def test_what_is_no_record_of_the_stream_is_said(value: bytes) -> None:
    with pytest.raises(BadRecord, match="no record of this stream"):
        stream_decoder("decisions", Settings())(value)


def test_every_stream_has_its_topic() -> None:
    topics = Topics.model_validate({"dead-letters": "dlq", "state-commands": "asked"})
    assert output_topics(topics) == {
        **{str(stream): str(stream) for stream in Stream if stream != "entity-labels"},
        "dead-letters": "dlq",
    }
    assert "state-answers" not in output_topics(Topics())
