"""Decisions as they leave the score job: not a byte of them changes unseen.

A score is a sum of floats. Where another release of ONNX Runtime, or another processor, adds them
up otherwise, the last bit of one may differ, and the record's hex with it.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from verdict.operators.events.schema import without_logical_types
from verdict.operators.names import DECISIONS
from verdict.operators.records.streams import decoder
from verdict.pipelines.formats.avro_file import read_bodies
from verdict.pipelines.formats.streams import definition

MANY = 50


def test_decisions_are_the_same_bytes(golden: Callable[[str, str], None], ran_over: Path) -> None:
    schema = definition(DECISIONS)
    decode = decoder(without_logical_types(schema))
    lines = [
        f"{decode(body)['event_id']} {body.hex()}\n"
        for body in islice(read_bodies(ran_over / "out" / "decisions.avro", schema), MANY)
    ]
    assert len(lines) == MANY
    golden("decisions.txt", "".join(lines))
