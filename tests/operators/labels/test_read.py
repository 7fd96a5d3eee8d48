"""Labels: read from what others send, and joined to their decisions in any order."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import json_decoder
from verdict.operators.events.schema import parse
from verdict.operators.labels.join import MOST, Join, Route
from verdict.operators.labels.label import Label, Precedence, best
from verdict.operators.labels.read import ReadEntityLabel, ReadLabel
from verdict.operators.message import Emit, Message
from verdict.operators.names import DEAD_LETTERS, DECISIONS, LABELS
from verdict.state.errors import StateError
from verdict.state.store.keyed import MemoryState

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


labels = st.builds(
    Label,
    event_id=st.just("e1"),
    event_time=st.none(),
    keys=st.just(()),
    positive=st.booleans(),
    known_at=st.integers(0, 3),
    source=st.sampled_from(["bank", "customer"]),
    rank=st.integers(0, 2),
)


@given(st.lists(labels, min_size=1), st.randoms())
def test_the_best_source_decides_by_what_it_knew_last(found: list[Label], rng: Any) -> None:
    chosen = best(found)
    assert chosen is not None
    first = min(label.rank for label in found)
    last = max(label.known_at for label in found if label.rank == first)
    assert (chosen.rank, chosen.known_at) == (first, last)
    rng.shuffle(found)
    again = best(found)
    assert again is not None and again.positive == chosen.positive


KEEPS = 90 * DAY
KEYS = [[["card", "c1"], ["shop", None]], [["card", "c2"], ["shop", "7"]]]


def joined(encode: Callable[[str], Any]) -> list[Any]:
    decode = json.loads
    dead = encode("dead-letter")
    return [
        Route("shop", decode, reader(), dead),
        Join("shop", KEEPS, encode("entity-label"), dead),
    ]


def decided(number: int) -> Message:
    hops = [{"entity": entity, "key": key} for entity, key in KEYS[number % 2]]
    decision = {"event_id": f"e{number}", "event_time": number * DAY, "hops": hops}
    return Message(DECISIONS, b"c", json.dumps(decision).encode(), "decisions", 0, number, -1)


def labelled(number: int, known_at: int, fraud: bool, who: str) -> Message:
    value = told(id=f"e{number}", known_at=known_at, fraud=fraud, who=who)
    return Message(LABELS, None, value, "labels", 0, known_at, -1)


sent = st.lists(
    st.one_of(
        st.builds(decided, st.integers(0, 3)),
        st.builds(
            labelled,
            st.integers(0, 3),
            st.integers(0, 5),
            st.booleans(),
            st.sampled_from(["bank", "analyst"]),
        ),
    ),
    max_size=25,
)


@given(sent, st.randoms(), st.booleans())
def test_in_any_order_the_same_labels_come_out(
    chain: Any, encode: Any, decode: Any, messages: list[Message], rng: Any, restart: bool
) -> None:
    read = ReadEntityLabel(decode("entity-label"), ["card", "shop"], Precedence([]))

    def outputs() -> set[tuple[bytes, Label]]:
        job = chain(lambda: joined(encode), restart)
        return {(emit.key, read(emit.value)) for message in messages for emit in job(message)}

    numbers = {m.offset for m in messages if m.stream == DECISIONS}
    wanted = set()
    for message in messages:
        if message.stream == LABELS:
            label = reader()(message.value)
            number = int(label.event_id[1:])
            if number in numbers:
                keys = tuple(key for _, key in KEYS[number % 2])
                whole = label._replace(event_time=number * DAY, keys=keys)
                wanted.add((keys[0].encode(), whole))
    assert outputs() == wanted
    rng.shuffle(messages)
    assert outputs() == wanted


def test_the_first_decision_of_an_event_counts(chain: Any, encode: Any, decode: Any) -> None:
    job = chain(lambda: joined(encode))
    assert not job(decided(1))
    other = json.loads(decided(1).value) | {"event_time": 77}
    assert not job(decided(1)._replace(value=json.dumps(other).encode()))
    [emit] = job(labelled(1, 5, True, "bank"))
    assert decode("entity-label")(emit.value)["event_time"] == DAY


def test_what_is_wrong_is_a_dead_letter(chain: Any, encode: Any, decode: Any) -> None:
    job = chain(lambda: joined(encode))
    [tombstone] = job(decided(1)._replace(value=None))
    [bad] = job(labelled(1, 5, True, "bank")._replace(value=b"{", key=b"k"))
    letter = decode("dead-letter")(bad.value)
    assert (bad.output, bad.key) == (tombstone.output, b"k") == (DEAD_LETTERS, b"k")
    assert (letter["job"], letter["stage"], letter["kind"]) == ("labels", "decode", "not-json")
    assert (letter["topic"], letter["offset"], letter["value"]) == ("labels", 5, b"{")
    assert decode("dead-letter")(tombstone.value)["kind"] == "tombstone"


def test_a_feed_that_repeats_itself_without_end_fills_no_state(
    chain: Any, encode: Any, decode: Any
) -> None:
    job = chain(lambda: joined(encode))
    for _ in range(3):
        assert not job(labelled(1, 0, True, "bank"))
    for at in range(1, MOST):
        assert not job(labelled(1, at, True, "bank"))
    [letter] = job(labelled(1, MOST, True, "bank"))
    said = decode("dead-letter")(letter.value)
    assert (said["stage"], said["kind"]) == ("join", "too-many")
    assert said["value"] == labelled(1, MOST, True, "bank").value
    assert len(job(decided(1))) == MOST


def join() -> Join:
    return Join("shop", KEEPS, lambda _: b"", lambda _: b"")


def test_what_is_old_enough_is_forgotten_once_many_events_say_so() -> None:
    hop, old, waits = join(), MemoryState(), MemoryState()

    def pay(day: int, state: MemoryState) -> list[Emit]:
        keys = [["card", "c1"]]
        message = decided(day)._replace(key=b"e", value=(day * DAY, keys))
        return list(hop(message, state))

    pay(0, old)
    hop(labelled(5, 3 * DAY, True, "bank")._replace(value=(reader()(told()), None, b"")), waits)
    assert old.head is not None and waits.head is not None
    pay(10_000, MemoryState())  # one clock is wrong
    for _ in range(40):
        pay(2 * 90, MemoryState())
    assert hop.forgotten(old.head)
    assert not hop.forgotten(waits.head)  # known on the ninth day
    for _ in range(40):
        pay(2 * 90 + 9, MemoryState())
    assert hop.forgotten(waits.head)


def test_a_head_of_another_release_is_refused() -> None:
    state = MemoryState()
    state.put(b"\x02" + bytes(8))
    with pytest.raises(StateError, match="has layout 2, this release knows 1: go back"):
        join()(decided(1)._replace(value=(0, [["card", "c1"]])), state)
