"""A dead letter, and what has become of its original."""

import hashlib
from typing import Any

import pytest

from tests.pipelines.dead_letters.test_read import letter
from verdict.operators.records.dead_letter import MAX_RAW
from verdict.pipelines.dead_letters.letter import Letter, OriginalState, compared
from verdict.pipelines.kafka.fetch import Original


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, True),
        ({"value": None, "value_size": -1}, True),
        ({"value_size": 2}, False),
        ({"key": b"k" * MAX_RAW}, False),  # perhaps cut
        ({"key": None}, True),
    ],
)
def test_a_letter_may_hold_the_whole_record(changes: dict[str, Any], whole: bool) -> None:
    assert letter(**changes).complete is whole


def test_states_of_an_original() -> None:
    value = b"v"
    made = letter(value=value, value_size=1, value_sha256=hashlib.sha256(value).hexdigest())
    tombstone = letter(value=None, value_size=-1, value_sha256=None)

    def compare(one: Letter, found: bytes | None) -> OriginalState:
        return compared(one, Original(b"k", found, 1, []))

    assert compared(made, None) is OriginalState.GONE
    assert compare(made, value) is OriginalState.THERE
    assert [compare(made, other) for other in (b"w", b"vv", None, b"")] == [
        OriginalState.CHANGED
    ] * 4
    assert compare(tombstone, None) is OriginalState.THERE
    assert compare(tombstone, b"") is OriginalState.CHANGED
