"""A batch through one hop: what one by one would make, whatever waits, is deferred or fails."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.message import Deferred, Emit, Message
from verdict.pipelines.engines.batch import HopRunner, to_next
from verdict.pipelines.errors import RegistryError
from verdict.pipelines.telemetry.meters import HopMeter
from verdict.state.store.keyed import KeyedState


class Store:
    """A state that is turned from key to key."""

    def __init__(self) -> None:
        self.heads: dict[bytes, bytes] = {}
        self.key = b""

    def get(self) -> bytes | None:
        return self.heads.get(self.key)

    def put(self, head: bytes) -> None:
        self.heads[self.key] = head


class Count:
    """Counts a key's messages; may leave the end to `settle`."""

    def __init__(self, defers: bool) -> None:
        self.defers = defers
        self.settled: list[int] = []

    def __call__(self, message: Message, state: KeyedState, defer: bool = False) -> Iterable[Emit]:
        if message.value == b"away":
            raise RegistryError("no answer")
        if message.value == b"bad":
            raise ValueError("bad")
        count = int(state.get() or b"0") + 1
        state.put(b"%d" % count)
        if message.value == b"silent":
            return
        if message.value == b"dead":
            yield Emit("dead", b"", b"dead")
            return
        end = b"%d %s" % (count, message.value)
        yield Emit("out", message.key or b"", Deferred(message, end) if defer else end)
        if message.value == b"two":
            yield Emit("also", b"", b"also")

    def settle(self, deferred: Sequence[Deferred]) -> list[Emit]:
        self.settled.append(len(deferred))
        if any(each.value.endswith(b"later") for each in deferred):
            raise ValueError("later")
        return [Emit("out", message.key or b"", value) for message, value in deferred]


def messages(*values: bytes, key: bytes | None = b"k") -> list[Message]:
    return [Message("events", key, value, "t", 0, at, -1) for at, value in enumerate(values)]


WORDS = st.sampled_from([b"a", b"two", b"dead", b"silent"])
KEYED = st.lists(st.tuples(st.none() | st.sampled_from([b"", b"k", b"l"]), WORDS), max_size=20)


@given(KEYED, st.integers(1, 7), st.booleans())
def test_batches_of_any_size_make_what_one_by_one_makes(
    given: list[tuple[bytes | None, bytes]], size: int, defers: bool
) -> None:
    whole = [Message("events", key, value, "t", 0, at, -1) for at, (key, value) in enumerate(given)]
    plain, state = Count(False), Store()
    wanted = []
    for at, message in enumerate(whole):
        state.key = message.key or b""
        wanted += [(at, emit) for emit in plain(message, state)]  # type: ignore[arg-type]
    run = HopRunner(Count(defers), Store(), True)
    found = []
    for start in range(0, len(whole), size):
        found += [(start + at, emit) for at, emit in run(whole[start : start + size])]
    assert found == wanted
    assert run.state.heads == state.heads


def test_only_the_last_hop_defers_and_only_several() -> None:
    operator = Count(True)
    run = HopRunner(operator, Store(), True)
    run(messages(b"a", b"b", b"dead"))
    run(messages(b"a"))
    run(messages(b"dead", b"silent"))
    HopRunner(operator, Store(), False)(messages(b"a", b"b"))
    assert operator.settled == [2]


@pytest.mark.parametrize("metered", [False, True])
def test_what_finds_no_registry_waits_and_what_is_before_it_does_not(metered: bool) -> None:
    operator = Count(True)
    labels = {"pipeline": "p", "job": "j", "hop": "h", "subtask": "0"}
    meter = HopMeter(labels, True, operator, None) if metered else None
    run = HopRunner(operator, Store(), True, meter)
    found = run(messages(b"a", b"b", b"away", b"c"))
    assert [emit.value for _, emit in found] == [b"1 a", b"2 b"]
    assert (run.taken, str(run.blocked)) == (2, "no answer")
    assert meter is None or len(meter.times) == 2
    run(messages(b"c"))
    assert (run.taken, run.blocked) == (1, None)


def test_what_fails_is_named() -> None:
    run = HopRunner(Count(True), Store(), True)
    with pytest.raises(ValueError, match="bad"):
        run(messages(b"a", b"bad", b"c"))
    assert [message.offset for message in run.failing] == [1]
    with pytest.raises(ValueError, match="later"):
        run(messages(b"dead", b"a", b"later", b"b", b"dead"))
    assert [message.offset for message in run.failing] == [1, 3]


def test_each_message_has_its_time_and_its_share_of_the_end() -> None:
    operator = Count(True)
    labels = {"pipeline": "p", "job": "j", "hop": "h", "subtask": "0"}
    meter = HopMeter(labels, True, operator, None)
    run = HopRunner(operator, Store(), True, meter)
    for batch in ([b"a", b"dead", b"b"], [b"c"], [], [b"two"]):
        run(messages(*batch))
    assert len(meter.times) == 5
    assert min(meter.times) > 0


def test_what_goes_on_keeps_its_place() -> None:
    message = Message("events", b"k", b"raw", "t", 3, 4, 5, (("trace", b"1"),))
    value: Any = {"made": 1}
    assert to_next(message, Emit("", b"next", value)) == message._replace(key=b"next", value=value)
