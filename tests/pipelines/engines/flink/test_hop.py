"""What runs inside Flink's workers, without a Flink: batches in, rows out."""

import pickle
from collections.abc import Iterable
from dataclasses import replace
from operator import itemgetter
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flink_state import Operator, Record, flush
from verdict.operators.message import NEXT, Emit, Message
from verdict.pipelines.engines.flink import hop as hops
from verdict.pipelines.engines.flink.hop import FlinkHop
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


RECORD = (0, b"k", b"v", 2, 3, 4)


def started(job: Job) -> FlinkHop:
    hop = FlinkHop(job, 0, ("t",))
    hop.start(Operator())
    return hop


def once(hop: FlinkHop, record: Record = RECORD) -> list[tuple[int, int, bytes, Any]]:
    return flush(hop, Operator(), [record])


class InWorkers:
    """Both hops of the job as Flink has them: pickled, started, called for a batch."""

    def __init__(self) -> None:
        self.java = Operator()
        self.first: FlinkHop = pickle.loads(pickle.dumps(FlinkHop(JOB, 0, TOPICS)))
        self.second: FlinkHop = pickle.loads(pickle.dumps(FlinkHop(JOB, 1, TOPICS)))
        self.first.start(self.java)
        self.second.start(self.java)

    def __call__(self, records: list[Record]) -> list[tuple[int, str, bytes, bytes]]:
        """Return offset of the cause, output, key and value of what comes of a batch."""
        found, following = [], []
        for cause, out, key, value in flush(self.first, self.java, records):
            source, _, _, *place = records[cause]
            if out:
                found.append((place[1], JOB.outputs[out - 1], key, value))
            else:
                following.append((source, key, value, *place))
        for cause, out, key, value in flush(self.second, self.java, following):
            found.append((following[cause][4], JOB.outputs[out - 1], key, value))
        return sorted(found, key=itemgetter(0))


def in_memory(records: list[Record]) -> list[tuple[int, str, bytes, bytes]]:
    split, count, states = Split(), Count(), dict[bytes, MemoryState]()
    found = []
    for source, key, value, partition, offset, timestamp in records:
        message = Message(INPUTS[source], key, value, TOPICS[source], partition, offset, timestamp)
        for emit in split(message, MemoryState()):
            if emit.output != NEXT:
                found.append((offset, emit.output, emit.key, emit.value))
                continue
            state = states.setdefault(emit.key, MemoryState())
            following = message._replace(key=emit.key, value=emit.value)
            found += [(offset, out.output, out.key, out.value) for out in count(following, state)]
    return found


VALUES = st.none() | st.binary(max_size=4) | st.text("ab ", max_size=8).map(str.encode)
RECORDS = st.lists(st.tuples(st.integers(0, 1), st.none() | st.binary(max_size=2), VALUES))


@given(RECORDS, st.integers(1, 5))
def test_rows_are_what_the_operators_make(
    given: list[tuple[int, bytes | None, bytes]], size: int
) -> None:
    records = [(*each, 1, offset, 7) for offset, each in enumerate(given)]
    workers = InWorkers()
    batches = [records[start : start + size] for start in range(0, len(records), size)]
    assert [row for batch in batches for row in workers(batch)] == in_memory(records)
    assert workers.java.heads.keys() == {row[2] for row in in_memory(records) if row[1] == "seen"}


def test_a_failure_is_named_with_its_place_and_the_stack_goes_along() -> None:
    hop = started(of_one(Fails))
    with pytest.raises(FlinkError) as caught:
        flush(hop, Operator(), [RECORD, (0, b"k", b"secret", 2, 4, 4)])
    text = str(caught.value)
    assert text.startswith("p/one/only failed on t/2/3: ValueError at test_hop.py:")
    assert "\n\tat " in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("operator", "says"),
    [
        (Strays, r"p/one/only failed on t/2/3: .*'nowhere'; the job's outputs are 'seen'$"),
        (StraysOn, "it emits to NEXT, but it is the job's last hop"),
    ],
)
def test_an_output_that_the_job_does_not_have_is_refused(operator: Any, says: str) -> None:
    hop = started(of_one(operator))
    with pytest.raises(FlinkError, match=says):
        once(hop)


def test_an_operator_that_cannot_be_made_is_said() -> None:
    with pytest.raises(FlinkError, match="p/one/only cannot start: OSError: no such model\n"):
        started(of_one(cannot))


def test_a_record_waits_for_a_registry_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "AGAIN_S", 0.0)
    hop = started(of_one(Away))
    monkeypatch.setattr(Away, "left", 3)
    rows = flush(hop, Operator(), [RECORD, RECORD])
    assert rows == [(0, 1, b"", b"decoded"), (1, 1, b"", b"decoded")]
    first, last = caplog.messages
    assert first.startswith("p/one/only: the registry does not answer\nWaiting, and asking again")
    assert last.startswith("p/one/only: the schema is there, after ")


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "WAIT_S", 0.0)
    hop = started(of_one(Away))
    monkeypatch.setattr(Away, "left", 1)
    with pytest.raises(FlinkError, match=r"failed on t/2/3: .*the registry does not answer"):
        once(hop)


def test_what_an_operator_holds_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Away, "closed", 0)
    started(of_one(Away)).close()
    FlinkHop(of_one(Away), 0, ("t",)).close()  # never started
    assert Away.closed == 1


def test_what_is_counted_is_shown_until_it_is_closed() -> None:
    hop = FlinkHop(replace(JOB, hops=JOB.hops[:1]), 0, TOPICS, "127.0.0.1:0-0")
    hop.start(Operator(), subtask=3)
    assert once(hop, (0, b"k", b"\xff", 2, 3, 4))[0][1] == 1
    assert hop.served is not None and hop.served.port is not None
    hop.close()
    hop.close()
