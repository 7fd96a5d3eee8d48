"""Labels meet their decisions at the event's id, whichever comes first."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operators.fixtures import make_heads_layout_1 as released
from tests.operators.labels.test_read import DAY, reader, told
from verdict.operators.labels.join import MOST, Join, Route
from verdict.operators.labels.label import Label, Precedence
from verdict.operators.labels.read import ReadEntityLabel
from verdict.operators.message import Emit, Message
from verdict.operators.names import DEAD_LETTERS, DECISIONS, LABELS
from verdict.state.errors import StateError
from verdict.state.store.keyed import MemoryState

KEEPS = 90 * DAY
LAYOUT_1 = released.HERE / "label_join_layout_1.json"


KEYS: list[list[list[Any]]] = [[["card", "c1"], ["shop", None]], [["card", "c2"], ["shop", "7"]]]


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


def test_layout_1_is_read_and_written() -> None:
    """What a released job keeps of an event: its time and keys, or the labels that wait for it."""
    heads = json.loads(LAYOUT_1.read_text())
    known, waiting = MemoryState(), MemoryState()
    known.put(bytes.fromhex(heads["decided"]))
    waiting.put(bytes.fromhex(heads["waiting"]))
    (label,) = released.run(released.join(), known, released.WAITING[:1])
    assert json.loads(label.value) == {
        "pipeline": "shop",
        "event_id": "e1",
        "event_time": 5_000,
        "keys": [{"entity": "card", "key": "c1"}, {"entity": "shop", "key": None}],
        "positive": True,
        "known_at": 7_000,
        "source": "bank",
    }
    both = released.run(released.join(), waiting, [released.decided()])
    assert both[0] == label
    assert json.loads(both[1].value)["source"] == "kündin"
    assert waiting.head == known.head
    assert released.kept(released.join(), [released.decided()]) == heads["decided"]
    assert released.kept(released.join(), released.WAITING) == heads["waiting"]
