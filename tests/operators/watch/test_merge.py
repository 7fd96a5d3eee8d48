"""Buckets put together: in one order whatever the order they came in, each once."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.fixtures import make_heads_layout_1 as released
from verdict.operators.message import Emit, Message
from verdict.operators.watch.merge import Merge, whole
from verdict.operators.watch.split import BUCKETS
from verdict.state.store.keyed import MemoryState


class Recorder:
    """Stands in for `Drifts` and `Comparisons`: puts out what it was handed."""

    def __init__(self, output: str) -> None:
        self.output = output

    def __call__(
        self, name: str, start: int, parts: Sequence[dict[str, Any]], memory: dict[str, Any]
    ) -> Emit:
        memory["seen"] = memory.get("seen", 0.0)
        for part in parts:
            memory["seen"] += part["sum"]
        handed = [(part["bucket"], part["window"]) for part in parts]
        value = json.dumps([start, handed, memory["seen"]]).encode()
        return Emit(self.output, name.encode(), value)


class Merged:
    """A `Merge` of one key and what it has handed on."""

    def __init__(self, key: bytes = b"drift/amount") -> None:
        self.key = key
        self.state = MemoryState()
        self.handed: list[tuple[int, list[list[int]]]] = []
        self.out: list[Emit] = []

    def add(self, bucket: int, window: int) -> "Merged":
        # Sums of thirds depend on the order in which they are added.
        part = {"bucket": bucket, "window": window, "sum": (bucket + 1) / 3 + window / 7}
        message = Message("decisions", self.key, json.dumps(part).encode(), "d", 0, 0, 0)
        for emit in Merge(Recorder("drift"), Recorder("comparison"))(message, self.state):  # type: ignore[arg-type]
            start, handed, _ = json.loads(emit.value)
            self.handed.append((start, handed))
            self.out.append(emit)
        return self


def test_a_window_is_whole_with_its_sixteenth_bucket() -> None:
    merged = Merged()
    for bucket in reversed(range(1, BUCKETS)):
        merged.add(bucket, 60)
    assert merged.handed == []
    merged.add(0, 60)
    assert merged.handed == [(60, [[bucket, 60] for bucket in range(BUCKETS)])]


def test_a_window_is_whole_when_a_later_one_is_closed() -> None:
    merged = Merged().add(5, 60).add(3, 60).add(3, 120)
    assert merged.handed == [(60, [[3, 60], [5, 60]])]


def test_what_a_silent_bucket_brings_counts_in_the_next_window() -> None:
    merged = Merged().add(5, 60).add(5, 120).add(5, 180)
    assert [start for start, _ in merged.handed] == [60, 120]
    merged.add(3, 60).add(7, 0)
    assert len(merged.handed) == 2  # 60 and 0 are not handed on again
    merged.add(3, 180).add(5, 240)
    assert merged.handed[2:] == [(180, [[3, 60], [3, 180], [5, 180], [7, 0]])]
    merged.add(5, 300)
    assert merged.handed[3:] == [(240, [[5, 240]])]


def test_parts_of_another_baseline_are_not_added_together() -> None:
    merged = Merged().add(5, 60).add(5, 120)
    assert len(merged.handed) == 1
    part = {"bucket": 3, "window": 180, "sum": 1.0, "baseline": "another model's"}
    message = Message("decisions", merged.key, json.dumps(part).encode(), "d", 0, 0, 0)
    merge = Merge(Recorder("drift"), Recorder("comparison"))  # type: ignore[arg-type]
    assert list(merge(message, merged.state)) == []
    memory = json.loads(merged.state.get() or b"")
    assert list(memory["pending"]) == ["180"]
    assert "seen" not in memory


def test_the_key_says_who_judges_and_what() -> None:
    for key, output, name in (
        (b"drift/amount", "drift", b"amount"),
        (b"compare/model:1", "comparison", b"model:1"),
        (b"compare/team/model:1", "comparison", b"team/model:1"),
    ):
        (emit,) = Merged(key).add(0, 0).add(0, 60).out
        assert (emit.output, emit.key) == (output, name)


@given(st.permutations(range(BUCKETS)))
def test_the_order_of_arrival_changes_no_bit(order: list[int]) -> None:
    merged, expected = Merged(), Merged()
    for window in (60, 120):
        for bucket in order:
            merged.add(bucket, window)
        for bucket in range(BUCKETS):
            expected.add(bucket, window)
    assert merged.out == expected.out
    assert merged.state.head == expected.state.head


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.integers(0, 6), unique=True).map(sorted), min_size=1, max_size=BUCKETS),
    st.randoms(use_true_random=False),
)
def test_each_part_is_handed_on_once_and_each_window(
    closed: list[list[int]], source: random.Random
) -> None:
    turns = [bucket for bucket, windows in enumerate(closed) for _ in windows]
    source.shuffle(turns)
    merged, left = Merged(), [list(windows) for windows in closed]
    for bucket in turns:  # each bucket closes its windows in their order
        merged.add(bucket, left[bucket].pop(0))
    starts = [start for start, _ in merged.handed]
    assert starts == sorted(set(starts))
    parts = [tuple(part) for _, handed in merged.handed for part in handed]
    assert all(handed == sorted(handed) for _, handed in merged.handed)
    assert all(window <= start for start, handed in merged.handed for _, window in handed)
    pending = json.loads(merged.state.head)["pending"] if merged.state.head else {}
    parts += [(part["bucket"], part["window"]) for waiting in pending.values() for part in waiting]
    assert sorted(parts) == sorted(
        (bucket, window) for bucket, windows in enumerate(closed) for window in windows
    )


def test_whole_leaves_what_waits() -> None:
    waiting = {"60": [{"bucket": 1}], "120": [{"bucket": 1}]}
    assert whole(waiting, None) == [(60, [{"bucket": 1}])]
    assert whole(waiting, 60) == []
    assert whole({"60": [{"bucket": b} for b in range(BUCKETS)]}, 0) == [
        (60, [{"bucket": b} for b in range(BUCKETS)])
    ]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("drift", released.SUMMED, [released.summed(400, 3)]),
        ("compare", released.TALLIED, [released.tallied(400, 3)]),
    ],
)
def test_layout_1_goes_on(name: str, before: list[Message], after: list[Message]) -> None:
    """What a released job keeps of a window: its parts, and what its watcher remembers."""
    head = json.loads((released.HERE / "watch_merge_layout_1.json").read_text())[name]
    state, never_left = MemoryState(), MemoryState()
    state.put(bytes.fromhex(head))
    released.run(released.merge(), never_left, before)
    assert state.head == never_left.head
    out = released.run(released.merge(), state, after)
    assert len(out) == 1
    assert out == released.run(released.merge(), never_left, after)
    found = json.loads(out[0].value)
    # The windows 100 and 200 were handed on before; what came late of 200 counts in that of 300.
    assert (found["window_start"], found["count"]) == (300, 28 if name == "drift" else 14)
