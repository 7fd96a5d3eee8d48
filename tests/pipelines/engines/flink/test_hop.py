"""What runs inside Flink's workers, without a Flink: rows in, rows out."""

import pickle
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flink_state import Backend, MapState, ValueState
from verdict.operators.message import NEXT, Emit, Message
from verdict.pipelines.engines.flink import hop as hops
from verdict.pipelines.engines.flink.hop import KeyedHop, PlainHop, _from_java
from verdict.pipelines.engines.flink.state import FlinkState, NoState
from verdict.pipelines.errors import FlinkError, RegistryError
from verdict.pipelines.formats import patience
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.keyed import KeyedState, MemoryState

# PyFlink's own, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Split:
    """Sends a text's words on, by their first letters; what is no text is dead."""

    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        try:
            words = (message.value or b"").decode().split()
        except UnicodeDecodeError:
            yield Emit("dead", message.key or b"", message.value)
            return
        for word in words:
            yield Emit(NEXT, word[:1].encode(), (message.stream, word))


class Count:
    """Counts a key's words."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        stream, word = message.value
        count = int(state.get() or b"0") + 1
        state.put(b"%d" % count)
        yield Emit("seen", message.key or b"", f"{stream} {word} {count}".encode())


class Fails:
    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        raise ValueError("no amount")


class Strays:
    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        yield Emit(self.output, b"", b"")

    output = "nowhere"


class StraysOn(Strays):
    output = NEXT


class Away:
    """Finds no schema registry for a while, and holds something."""

    left: ClassVar[int] = 0
    closed: ClassVar[int] = 0

    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        if Away.left:
            Away.left -= 1
            raise RegistryError("the registry does not answer")
        return (Emit("seen", b"", b"decoded"),)

    def close(self) -> None:
        Away.closed += 1


def cannot() -> Any:
    raise OSError("no such model")


INPUTS, OUTPUTS = ("events", "labels"), ("dead", "seen")
JOB = Job("words", "p", INPUTS, (Hop("split", False, Split), Hop("count", True, Count)), OUTPUTS)
TOPICS = ("t-events", "t-labels")


def of_one(operator: Any) -> Job:
    return Job("one", "p", ("events",), (Hop("only", False, operator),), ("seen",))


def started(job: Job) -> PlainHop:
    hop = PlainHop(job, 0, ("t",))
    hop.start(NoState("only"))
    return hop


class InWorkers:
    """Both hops of the job as Flink has them: pickled, opened, called with Java's tuples."""

    def __init__(self) -> None:
        self.backend = Backend()
        first: PlainHop = pickle.loads(pickle.dumps(PlainHop(JOB, 0, TOPICS)))
        second: KeyedHop = pickle.loads(pickle.dumps(KeyedHop(JOB, 1, TOPICS)))
        first.start(NoState("split"))
        second.start(FlinkState(ValueState(self.backend), MapState(self.backend)))
        self.first, self.second = _from_java(first), _from_java(second)

    def __call__(self, record: tuple[Any, ...]) -> list[tuple[str, bytes, bytes]]:
        found = []
        for _, row in self.first((0, record)):
            out, key, value, *place = row
            assert place == [record[0], *record[3:]]
            if out:
                found.append((JOB.outputs[out - 1], key, value))
                continue
            self.backend.key = key
            source, *rest = place
            keyed = (0, (None, (None, (source, key, value, *rest))))
            for _, (last, *made) in self.second(keyed):
                found.append((JOB.outputs[last - 1], made[0], made[1]))
        return found


def in_memory(records: list[tuple[Any, ...]]) -> list[tuple[str, bytes, bytes]]:
    split, count, states = Split(), Count(), dict[bytes, MemoryState]()
    found = []
    for source, key, value, partition, offset, timestamp, _ in records:
        message = Message(INPUTS[source], key, value, TOPICS[source], partition, offset, timestamp)
        for emit in split(message, MemoryState()):
            if emit.output != NEXT:
                found.append((emit.output, emit.key, emit.value))
                continue
            state = states.setdefault(emit.key, MemoryState())
            following = message._replace(key=emit.key, value=emit.value)
            found += [(out.output, out.key, out.value) for out in count(following, state)]
    return found


VALUES = st.none() | st.binary(max_size=4) | st.text("ab ", max_size=8).map(str.encode)
RECORDS = st.lists(st.tuples(st.integers(0, 1), st.none() | st.binary(max_size=2), VALUES))


@given(RECORDS)
def test_rows_are_what_the_operators_make(given: list[tuple[int, bytes | None, bytes]]) -> None:
    records = [(*each, 1, offset, 7, None) for offset, each in enumerate(given)]
    workers = InWorkers()
    assert [row for record in records for row in workers(record)] == in_memory(records)


def test_what_carries_headers_is_handed_through() -> None:
    (row, *_) = InWorkers().first((0, (1, b"k", b"a b", 2, 3, 4, "eA==,-")))
    assert row[1][3:] == (1, 2, 3, 4, "eA==,-")


def test_a_failure_is_named_with_its_place_and_the_stack_goes_along() -> None:
    hop = started(of_one(Fails))
    with pytest.raises(FlinkError) as caught:
        hop.rows((0, b"k", b"secret", 2, 3, 4, None))
    text = str(caught.value)
    assert text.startswith("p/one/only failed on t/2/3: ValueError at test_hop.py:")
    assert "\n\tat " in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("operator", "says"),
    [
        (Strays, r"p/one/only failed on t/2/3: .*'nowhere'; the job's outputs are 'seen'\n"),
        (StraysOn, "it emits to NEXT, but it is the job's last hop"),
    ],
)
def test_an_output_that_the_job_does_not_have_is_refused(operator: Any, says: str) -> None:
    hop = started(of_one(operator))
    with pytest.raises(FlinkError, match=says):
        hop.process_element((0, b"k", b"v", 2, 3, 4, None), None)


def test_an_operator_that_cannot_be_made_is_said() -> None:
    with pytest.raises(FlinkError, match="p/one/only cannot start: OSError: no such model\n"):
        started(of_one(cannot))


def test_a_record_waits_for_a_registry_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "AGAIN_S", 0.0)
    hop = started(of_one(Away))
    monkeypatch.setattr(Away, "left", 3)
    ((_, _, value, *_),) = hop.rows((0, b"k", b"v", 2, 3, 4, None))
    assert value == b"decoded"
    first, last = caplog.messages
    assert first.startswith("p/one/only: the registry does not answer\nWaiting, and asking again")
    assert last.startswith("p/one/only: the schema is there, after ")


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "WAIT_S", 0.0)
    hop = started(of_one(Away))
    monkeypatch.setattr(Away, "left", 1)
    with pytest.raises(FlinkError, match=r"failed on t/2/3: .*the registry does not answer"):
        hop.rows((0, b"k", b"v", 2, 3, 4, None))


def test_what_an_operator_holds_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Away, "closed", 0)
    started(of_one(Away)).close()
    PlainHop(of_one(Away), 0, ("t",)).close()  # never started
    assert Away.closed == 1


def test_what_is_counted_is_shown_until_it_is_closed() -> None:
    hop = PlainHop(replace(JOB, hops=JOB.hops[:1]), 0, TOPICS, "127.0.0.1:0-0")
    hop.start(NoState("split"), subtask=3)
    assert hop.rows((0, b"k", b"\xff", 2, 3, 4, None))[0][0] == 1
    assert hop.served is not None and hop.served.port is not None
    hop.close()
    hop.close()
