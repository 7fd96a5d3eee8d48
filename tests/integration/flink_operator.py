"""What runs in the workers of test_flink_operator.py, and tells of its batches."""

import pickle
from collections.abc import Iterable
from typing import Any

from verdict.operators.message import NEXT, Emit, Message
from verdict.pipelines.engines.flink.hop import FlinkHop
from verdict.pipelines.engines.flink.silent import SILENT
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.keyed import KeyedState

OPENING = """
from tests.integration.flink_operator import open_probe
hop = open_probe(operator, payload, subtask, parameters)
"""
FAILING = 100
"""Offset on which `fails` fails."""
batch = (0, 0)
"""Number and size of the batch at hand."""
failed: list[int] = []


class Counting:
    """Says of each record its batch, and its key's count by the head and by the chunks."""

    def __init__(self, fail: int = 0) -> None:
        self.left = fail

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        if self.left and message.offset == FAILING and len(failed) < self.left:
            failed.append(message.offset)
            raise ValueError("of record 100")
        count = int(state.get() or b"0") + 1
        state.put(b"%d" % count)
        before = state.chunk(count - 1)
        state.put_chunk(count, b"%d" % (int(before or b"0") + 1))
        if count > 2:
            state.drop_chunk(count - 2)
        kept = [number for number in range(count + 1) if state.chunk(number)]
        assert kept == list(range(max(1, count - 1), count + 1))
        told = (message.offset, *batch, message.key, count, int(state.chunk(count) or b""))
        yield Emit(NEXT, message.key or b"", told)


def fails() -> Counting:
    return Counting(fail=1_000)


def fails_once() -> Counting:
    return Counting(fail=1)


def job(operator: Any) -> Job:
    hops = (Hop("count", True, operator), Hop("after", True, Counting))
    return Job("alone", "tests", ("events",), hops, ("out",))


class Probe(FlinkHop):
    def batch(self, numbers: bytes, keys: Any, values: Any) -> tuple[Any, ...]:
        global batch
        batch = (batch[0] + 1, len(keys))
        return super().batch(numbers, keys, values)


def open_probe(java: Any, payload: bytes, subtask: int, parameters: Any) -> FlinkHop:
    hop: FlinkHop = pickle.loads(payload)
    hop.__class__ = Probe
    hop.start(java, subtask, parameters.get(SILENT) or "")
    return hop
