"""One bucket of a window: what it keeps, and when it begins anew."""

import json
import struct

import pytest

from tests.operators.fixtures import make_heads_layout_1 as released
from tests.operators.watch.test_split import WATCHED, WINDOW, message
from verdict.operators.message import Message
from verdict.operators.names import DECISIONS
from verdict.operators.watch.bucket import Bucket
from verdict.state.store.keyed import MemoryState


def test_other_baselines_begin_anew() -> None:
    state = MemoryState()
    value = struct.pack("<q4d", 0, 1.0, 1.0, 1.0, 1.0)
    Bucket(WATCHED, WINDOW)(message(DECISIONS, value, b"drift/00"), state)
    fewer = WATCHED[:1]
    other = Bucket(fewer, WINDOW)
    assert list(other(message(DECISIONS, struct.pack("<qd", 0, 1.0), b"drift/00"), state)) == []
    out = other(message(DECISIONS, struct.pack("<qd", 500, 1.0), b"drift/00"), state)
    assert [json.loads(emit.value)["counts"] for emit in out] == [[1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (
            "drift",
            released.COUNTED,
            [released.counted(290, 25.0, 0.5), released.counted(300, 1, 1)],
        ),
        (
            "compare",
            released.COMPARED,
            [
                released.compared(290, "approve", "decline", 500),
                released.compared(300, "decline", "decline", 1),
            ],
        ),
    ],
)
def test_layout_1_goes_on(name: str, before: list[Message], after: list[Message]) -> None:
    """What a released job keeps of an open window: counts and sums, or pairs of actions."""
    head = json.loads((released.HERE / "watch_bucket_layout_1.json").read_text())[name]
    state, never_left = MemoryState(), MemoryState()
    state.put(bytes.fromhex(head))
    released.run(released.bucket(), never_left, before)
    assert state.head == never_left.head
    out = released.run(released.bucket(), state, after)
    assert out == released.run(released.bucket(), never_left, after)
    closed = [json.loads(emit.value) for emit in out]
    if name == "drift":
        assert [each["counts"] for each in closed] == [[1, 1, 1, 1], [3, 1, 0]]
    else:
        pairs = {'["approve", "decline"]': [2, {"EUR": 2_000}], '["approve", "approve"]': [1, {}]}
        assert [each["pairs"] for each in closed] == [pairs]
