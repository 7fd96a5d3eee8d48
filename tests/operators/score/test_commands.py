"""Commands about what is remembered: obeyed in their entity's hop, sent on by the others."""

import json
from typing import Any

import pytest

from verdict.operators.errors import BadRecord
from verdict.operators.events.event import Event
from verdict.operators.events.schema import parse
from verdict.operators.features.columns import WindowedFeature
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.message import NEXT, Message
from verdict.operators.names import STATE_ANSWERS, STATE_COMMANDS
from verdict.operators.score.commands import FORGET, GET, Command, Obey
from verdict.state.store.dedupe import SeenState
from verdict.state.store.keyed import MemoryState
from verdict.state.windows import rows

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
SCHEMA = parse(
    {
        "type": "record",
        "name": "T",
        "fields": [{"name": "amount", "type": DECIMAL}, {"name": "shop", "type": "string"}],
    }
)
MINUTE = 60_000
FEATURES = [
    WindowedFeature("sum_1h", "sum", "amount", 60 * MINUTE, None),
    WindowedFeature("shops_1h", "distinct", "shop", 60 * MINUTE, None),
    WindowedFeature("largest_1h", "max", "amount", 60 * MINUTE, None),
    WindowedFeature("small", "count", None, 60 * MINUTE, None, "amount < 5"),
]


def features() -> EntityFeatures:
    return EntityFeatures(FEATURES, SCHEMA, MINUTE, True)


def event(number: int, shop: str = "s1") -> Event:
    cents = 100_000 - number  # falling: each may be the largest one day
    fields = {"amount": cents / 100, "shop": shop}
    return Event(f"e{number}", number * 1_000, ("c1",), fields, {"amount": cents})


def obey(index: int, keeps: EntityFeatures | None = None) -> Obey:
    return Obey("shop", ["card", "shop"], index, keeps, lambda answer: answer)  # type: ignore[arg-type, return-value]


def command(what: str, entity: str = "card", key: str = "c1") -> Message:
    value = Command("7", what, entity, key, "ann", "asked to").value
    return Message(STATE_COMMANDS, key.encode(), value, "commands", 0, 0, -1)


def answered(message: Message, state: MemoryState | SeenState) -> dict[str, Any]:
    [emit] = obey(0, features())(message, state)
    assert (emit.output, emit.key) == (STATE_ANSWERS, b"c1")
    answer: dict[str, Any] = emit.value
    return answer


def test_a_command_goes_from_hop_to_hop_to_its_own() -> None:
    [before] = obey(-1)(command(GET, "shop", "s1"), MemoryState())
    assert (before.output, before.key) == (NEXT, b"s1")
    [first] = obey(0, features())(
        command(GET, "shop", "s1")._replace(value=before.value), MemoryState()
    )
    assert (first.output, first.key) == (NEXT, b"ks1")  # as events come there
    [emit] = obey(1, features())(
        command(GET, "shop", "s1")._replace(key=first.key, value=first.value), MemoryState()
    )
    answer: Any = emit.value
    assert (answer["entity"], answer["key"], answer["found"]) == ("shop", "s1", False)
    assert answer["remembered"] is None


def test_get_says_what_is_remembered_and_changes_nothing() -> None:
    keeps, state = features(), MemoryState()
    for number in range(3):
        keeps(event(number, f"s{number % 2}"), state)
    head = state.head
    answer = answered(command(GET), state)
    assert answer["by"] == "ann" and answer["why"] == "asked to" and answer["found"]
    said = json.loads(answer["remembered"])
    assert said["features"] == {"sum_1h": 2999.97, "shops_1h": 2, "largest_1h": 1000, "small": 0}
    assert (said["events"], said["newest"], said["ids"]) == (3, "1970-01-01T00:00:02.000+00:00", 0)
    assert [row["amount"] for row in said["log"]] == [1000.0, 999.99, 999.98]
    assert [row["* where amount < 5"] for row in said["log"]] == [False] * 3
    assert len({row["distinct shop"] for row in said["log"]}) == 2
    assert state.head == head


def test_forget_erases_every_chunk() -> None:
    keeps, state = features(), MemoryState()
    for number in range(20 * rows.OPEN_MAX):
        keeps(event(number, f"s{number}"), state)
    kinds = {number >> rows.KIND_BITS for number in state.chunks}
    assert len(kinds) == 3  # rows, candidates of the largest, times of distinct values
    answer = answered(command(FORGET), state)
    assert (answer["found"], answer["remembered"]) == (True, None)
    assert state.head is None
    assert not state.chunks
    assert keeps(event(9_999), state).seq == 1
    assert not answered(command(FORGET, key="c1"), MemoryState())["found"]


def test_forget_erases_the_ids_too() -> None:
    keeps, state, seen = features(), MemoryState(), SeenState(1_000_000)
    for number in range(2):
        assert seen.open(state, f"e{number}", b"body") is None
        seen.add(number * 1_000)
        keeps(event(number), seen)
    said = json.loads(answered(command(GET), state)["remembered"])
    assert (said["ids"], said["events"]) == (2, 2)
    answered(command(FORGET), state)
    assert state.head is None
    assert seen.open(state, "e1", b"body") is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "no command: JSONDecodeError"),
        (b"[1]", "no command: TypeError"),
        (b'{"id": "1", "command": "get"}', "no command: KeyError: 'entity'"),
        (b'{"id": 1, "command": "get", "entity": "card", "key": "c", "by": "", "why": ""}', "text"),
        (Command("1", "drop", "card", "c", "", "").value, "there are get and forget"),
        (Command("1", GET, "cart", "c", "", "").value, "no hop of an entity 'cart'; there are car"),
    ],
)
def test_what_is_no_command_is_refused(value: bytes | None, says: str) -> None:
    with pytest.raises(BadRecord, match=says) as caught:
        obey(0, features())(command(GET)._replace(value=value), MemoryState())
    assert (caught.value.stage, caught.value.kind) == ("decode", "bad-command")


def test_a_command_under_another_key_would_look_at_another_entity() -> None:
    with pytest.raises(BadRecord, match="key is not the command's"):
        obey(0, features())(command(GET)._replace(key=b"c2"), MemoryState())
