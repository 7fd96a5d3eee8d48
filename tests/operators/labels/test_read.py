"""Labels: read from what others send, and joined to their decisions in any order."""

import json
from typing import Any

import pytest

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import json_decoder
from verdict.operators.events.schema import parse
from verdict.operators.labels.label import Label, Precedence
from verdict.operators.labels.read import ReadLabel

DAY = 86_400_000
TIME = {"type": "long", "logicalType": "timestamp-millis"}
SCHEMA = parse(
    {
        "type": "record",
        "name": "Label",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "fraud", "type": "boolean"},
            {"name": "state", "type": "int"},
            {"name": "known_at", "type": TIME},
            {"name": "paid_at", "type": TIME},
            {"name": "who", "type": ["null", "string"]},
            {"name": "card", "type": "string"},
            {"name": "shop", "type": ["null", "long"]},
        ],
    }
)
RECORD: dict[str, Any] = {
    "id": "e1",
    "fraud": True,
    "state": 0,
    "known_at": 9 * DAY,
    "paid_at": 2 * DAY,
    "who": "bank",
    "card": "c1",
    "shop": 7,
}


def reader(value: str = "fraud", **more: Any) -> ReadLabel:
    return ReadLabel(json_decoder(), SCHEMA, "id", value, "known_at", "who", **more)


def told(**changes: Any) -> bytes:
    return json.dumps({**RECORD, **changes}).encode()


def test_a_label_is_read_with_what_it_knows_of_its_event() -> None:
    read = reader(
        event_time="paid_at",
        keys=[["card"], [], ["card", "shop"]],
        precedence=Precedence(["analyst", "bank"]),
    )
    label = Label("e1", 2 * DAY, ("c1", None, "c1|7"), True, 9 * DAY, "bank", 1)
    assert read(told()) == label
    assert read(told(shop=None, who=None)) == label._replace(
        keys=("c1", None, None), source="", rank=2
    )
    assert reader()(told()) == label._replace(event_time=None, keys=(), rank=0)


@pytest.mark.parametrize(("said", "positive"), [(0, False), (1, True)])
def test_one_and_zero_are_labels(said: int, positive: bool) -> None:
    assert reader("state")(told(state=said)).positive is positive


@pytest.mark.parametrize(
    ("value", "stage", "kind", "says"),
    [
        (None, "decode", "tombstone", "a tombstone"),
        (b"", "decode", "not-json", "not JSON"),
        (told(state=2), "validate", "no-label", "'state' is 2: a label is true or false, 1 or 0"),
        (told(state=-1), "validate", "no-label", "'state' is -1"),
        (told(state=True), "validate", "wrong-type", "'state' has the wrong type: True"),
        (told(state=None), "validate", "missing-field", "'state' is missing"),
        (told(id=""), "validate", "missing-field", "'id' is missing"),
        (told(known_at=None), "validate", "missing-field", "'known_at' is missing"),
        (told(known_at=1 << 60), "validate", "time-range", "'known_at' lies outside the years"),
        (told(paid_at=None), "validate", "missing-field", "'paid_at' is missing"),
        (told(id="x" * 1_025), "validate", "too-large", "1,024 bytes at most"),
        (told(who="x" * 1_025), "validate", "too-large", "1,024 bytes at most"),
    ],
)
def test_what_is_no_label_is_refused(value: bytes, stage: str, kind: str, says: str) -> None:
    read = reader("state", event_time="paid_at", keys=[["card"]])
    with pytest.raises(BadRecord, match=says) as caught:
        read(value)
    assert (caught.value.stage, caught.value.kind) == (stage, kind)
