"""Every operator keeps what both engines rely on: it pickles, is pure, and keeps all in its state.

Jobs of four pipelines run over some days of card payments, and what each hop was given is recorded:
the message, the state before, what came out, the state after. Each promise is then asked of each
hop by itself.
"""

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from random import Random
from types import ModuleType

import pytest

import verdict.operators
from tests.contract.recorded import Pipelines, Ran, Recorded, close, text
from verdict.operators.message import Deferred, Deferring, Emit, Message, Operator
from verdict.operators.names import (
    DEAD_LETTERS,
    LABELS_JOB,
    SCORE_JOB,
    SHADOW_JOB,
    WATCH_JOB,
)
from verdict.state.store.keyed import MemoryState

CASES = [
    ("card-fraud", SCORE_JOB),
    ("card-fraud", SHADOW_JOB),
    ("card-fraud", WATCH_JOB),
    ("init", SCORE_JOB),
    ("labelled", LABELS_JOB),
    ("labelled", SCORE_JOB),
    ("looked-up", SCORE_JOB),
]
PARTS = {"Obey", "TakeLabels"}
"""What takes a message and a state, but within a hop."""
EVERY = 6
"""Of the payments, so that a few hundred cover three days, and windows of a day close."""
RESTARTS = 6
"""Indexes of a hop at which an operator is made anew from its factory, some 20 ms each."""
MANGLED = 40
"""Records of each input that are mangled, each in several ways."""

each_job = pytest.mark.parametrize(("pipeline", "job"), CASES, ids=map("/".join, CASES))


@pytest.fixture(scope="module")
def pipelines(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Pipelines:
    payments = list(generator.transactions(generator.World(days=3, broken=0.04)))[::EVERY]
    return Pipelines(tmp_path_factory.mktemp("pipelines"), payments, generator.encode)


@pytest.fixture
def ran(pipelines: Pipelines, pipeline: str, job: str) -> Ran:
    return pipelines.ran(pipeline, job)


@pytest.fixture
def made() -> Iterator[Callable[[Recorded], Operator]]:
    """Make a hop's operator from its factory, as it comes out of a pickle."""
    operators: list[Operator] = []

    def make(recorded: Recorded) -> Operator:
        factory = pickle.loads(pickle.dumps(recorded.hop.operator))
        operators.append(factory())
        return operators[-1]

    yield make
    for operator in operators:
        close(operator)


def test_no_operator_is_left_out(pipelines: Pipelines) -> None:
    """What takes a message and a state, anywhere in operators/, is some hop of the cases below."""
    hops = [hop for case in CASES for hop in pipelines.ran(*case).hops]
    tested = {type(hop.hop.operator()).__name__ for hop in hops}
    assert tested == operators() - PARTS
    assert all(len(hop.calls) > 10 for hop in hops)


def operators() -> set[str]:
    found = set()
    for module in pkgutil.walk_packages(verdict.operators.__path__, "verdict.operators."):
        for name, kind in vars(importlib.import_module(module.name)).items():
            if not inspect.isclass(kind) or kind.__module__ != module.name:
                continue
            call = vars(kind).get("__call__")
            taken = list(inspect.signature(call).parameters) if call is not None else []
            if taken[:3] == ["self", "message", "state"] and not getattr(
                kind, "_is_protocol", False
            ):
                found.add(name)
    return found


@each_job
def test_a_factory_pickles_and_makes_the_same(
    ran: Ran, made: Callable[[Recorded], Operator]
) -> None:
    for recorded in ran.hops:
        operator = made(recorded)
        assert type(operator) is type(recorded.hop.operator())
        for call in recorded.calls:
            call.again(operator)


@each_job
def test_an_operator_is_pure(ran: Ran, made: Callable[[Recorded], Operator]) -> None:
    """The same message and state give the same, twice; a first hop's message stays as it was."""
    for recorded in ran.hops:
        operator = made(recorded)
        for call in recorded.calls:
            call.again(operator)
            call.again(operator)
    operator = made(ran.hops[0])
    for call in ran.hops[0].calls:
        message = pickle.loads(call.message)
        before = text(message)
        list(operator(message, call.before.restored()))
        assert text(message) == before


@each_job
def test_all_that_is_remembered_is_in_the_state(
    ran: Ran, made: Callable[[Recorded], Operator]
) -> None:
    """At each index the state alone makes what comes out: in no order of calls does it differ.

    An operator that has seen other messages before this one, or none, puts out the same.
    """
    for recorded in ran.hops:
        calls = list(recorded.calls)
        operator = made(recorded)
        for call in reversed(calls):
            call.again(operator)
        Random(7).shuffle(calls)
        for call in calls:
            call.again(operator)
        for call in calls[:RESTARTS]:
            call.again(made(recorded))


@each_job
def test_what_goes_on_pickles(ran: Ran) -> None:
    for recorded in ran.hops:
        for call in recorded.calls:
            assert text(pickle.loads(pickle.dumps(call.emits()))) == call.out


@each_job
def test_a_decision_that_was_left_for_later_is_the_same(
    ran: Ran, made: Callable[[Recorded], Operator]
) -> None:
    """As the embedded engine does it: many at once, after the states have been written."""
    recorded = ran.hops[-1]
    operator = made(recorded)
    if not isinstance(operator, Deferring) or not operator.defers:
        pytest.skip("it defers nothing")
    emits: list[Emit] = []
    deferred: list[tuple[int, Deferred]] = []
    for call in recorded.calls:
        for emit in operator(pickle.loads(call.message), call.before.restored(), defer=True):
            if isinstance(emit.value, Deferred):
                deferred.append((len(emits), emit.value))
            emits.append(emit)
    settled = operator.settle([each for _, each in deferred])
    for (place, _), emit in zip(deferred, settled, strict=True):
        emits[place] = emit
    assert text(emits) == text([emit for call in recorded.calls for emit in call.emits()])
    assert len(deferred) > len(recorded.calls) / 2


@each_job
def test_a_bad_record_never_raises(ran: Ran, made: Callable[[Recorded], Operator]) -> None:
    """It becomes a dead letter, or is none; and leaves the state of a dead letter's key alone."""
    recorded = ran.hops[0]
    operator = made(recorded)
    random = Random(11)
    dead = 0
    for call in random.sample(recorded.calls, min(MANGLED, len(recorded.calls))):
        message: Message = pickle.loads(call.message)
        for bad in mangled(message, random):
            state = MemoryState()
            emits = list(operator(bad, state))
            if any(emit.output == DEAD_LETTERS for emit in emits):
                dead += 1
                assert len(emits) == 1
                assert (state.head, state.chunks) == (None, {})
    assert dead > len(recorded.calls) / 10


def mangled(message: Message, random: Random) -> Iterator[Message]:
    body: bytes = message.value or b""
    cut, at = random.randrange(len(body) + 1), random.randrange(len(body) or 1)
    flipped = bytearray(body or b"\0")
    flipped[at] ^= 1 << random.randrange(8)
    for value in (None, b"", b"\0", b"null", b"[[", b"\xff" * 9, body[:cut], bytes(flipped)):
        yield message._replace(value=value)
    yield message._replace(value=body + body)
    yield message._replace(value=b"[" * 100_000)
    for key in (None, b"", b"\xff\xfe", b"x" * 5_000):
        yield message._replace(key=key)
    yield message._replace(timestamp=0)
