"""Labels beside the events: taken in their entities' hops, sent on by the others."""

from collections.abc import Callable
from typing import Any

import pytest

from verdict.operators.events.decode import json_decoder
from verdict.operators.events.extract import Extract
from verdict.operators.events.schema import parse
from verdict.operators.features.columns import WindowedFeature
from verdict.operators.features.formulas import Formulas
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.labels.label import Label, Precedence
from verdict.operators.labels.read import ReadEntityLabel, entity_label
from verdict.operators.message import NEXT, Emit, Message, Operator
from verdict.operators.names import DEAD_LETTERS, ENTITY_LABELS, ROWS
from verdict.operators.records.streams import Encode
from verdict.operators.score.hops import DecodeHop, EntityHop
from verdict.operators.score.intake import Intake
from verdict.operators.score.rows import FeatureRows
from verdict.operators.score.side_inputs import TakeLabels
from verdict.state.store.dedupe import SeenState
from verdict.state.store.keyed import MemoryState

HOUR = 3_600_000
TIME = {"type": "long", "logicalType": "timestamp-millis"}
SCHEMA = parse(
    {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": TIME},
            {"name": "card", "type": "string"},
            {"name": "shop", "type": ["null", "string"]},
            {"name": "post", "type": ["null", "string"]},
        ],
    }
)
ENTITIES = ["card", "shop", "post"]
RISK = WindowedFeature("risk", "rate", "label", 10 * HOUR, -1.0, None, 5 * HOUR, labelled=True)
COUNT = WindowedFeature("count", "count", None, 10 * HOUR, 0.0)


@pytest.fixture
def job(chain: Any, encode: Callable[[str], Encode], decode: Any) -> Callable[..., Any]:
    """Make the hops of card, shop and post; those named have a rate of labels, all a count."""

    def make(*labelled: str, keyed: bool = False, dedupe: bool = False) -> Any:
        read = ReadEntityLabel(decode("entity-label"), ENTITIES, Precedence([]))
        wanted = [entity in labelled for entity in ENTITIES]

        def taker(hop: Any, index: int, features: EntityFeatures | None) -> TakeLabels:
            seen = SeenState(HOUR) if dedupe and index == 0 else None
            counts, first = hop.meter.counts, keyed and index == 0
            return TakeLabels(read, wanted, index, ENTITIES[index], features, counts, first, seen)

        def hops() -> list[Operator]:
            keys = [[entity] for entity in ENTITIES]
            extract = Extract(SCHEMA, "id", "at", keys, [], [])
            intake = Intake(json_decoder(), extract, [], keyed, HOUR)
            dead = encode("dead-letter")
            found: list[Operator] = []
            if not keyed:
                decoding = DecodeHop("shop", intake, dead)
                decoding.takers = {ENTITY_LABELS: taker(decoding, -1, None)}
                found.append(decoding)
            for index, entity in enumerate(ENTITIES):
                asked = [COUNT, RISK] if entity in labelled else [COUNT]
                features = EntityFeatures(asked, SCHEMA, HOUR)
                hop = EntityHop(
                    "shop",
                    ENTITIES,
                    index,
                    features,
                    intake if keyed and index == 0 else None,
                    FeatureRows(Formulas([], SCHEMA)) if entity == "post" else None,
                    dead,
                    SeenState(HOUR) if dedupe and index == 0 else None,
                    keys=True,
                )
                hop.takers = {ENTITY_LABELS: taker(hop, index, features)}
                found.append(hop)
            return found

        return chain(hops)

    return make


def event(number: int, shop: str | None = "s1", post: str | None = "p1") -> Message:
    def text(value: str | None) -> str:
        return "null" if value is None else f'"{value}"'

    value = (
        f'{{"id": "e{number}", "at": {number * HOUR}, "card": "c1", "shop": {text(shop)}, '
        f'"post": {text(post)}}}'
    )
    return Message("events", b"c1", value.encode(), "payments", 0, number, -1)


@pytest.fixture
def label(encode: Callable[[str], Encode]) -> Callable[..., Message]:
    def make(number: int, shop: str | None = "s1", post: str | None = "p1") -> Message:
        label = Label(f"e{number}", None, (), True, (number + 1) * HOUR, "bank", 0)
        keys = list(zip(ENTITIES, ["c1", shop, post], strict=True))
        value = encode("entity-label")(entity_label(label, "shop", number * HOUR, keys))
        return Message(ENTITY_LABELS, b"c1", value, "entity-labels", 0, number, -1)

    return make


def features(emits: list[Emit]) -> list[float | None]:
    [emit] = emits
    assert emit.output == ROWS
    return list(emit.value.features)


def counted(job: Any) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for hop in job.hops:
        found |= {key: n for key, n in hop.meter.counts.items() if key[0].startswith("labels")}
    return found


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("dedupe", [True, False])
def test_a_label_counts_in_each_hop_that_has_features_of_it(
    job: Any, label: Any, keyed: bool, dedupe: bool
) -> None:
    run = job("card", "post", keyed=keyed, dedupe=dedupe)
    for number in (0, 1):
        assert features(run(event(number))) == [number + 1, -1, number + 1, number + 1, -1]
    assert not run(label(0))
    assert features(run(event(6))) == [3, 0.5, 3, 3, 0.5]
    assert not run(label(1))
    assert counted(run) == {
        ("labels", "card", "taken"): 1,
        ("labels", "post", "taken"): 1,
        ("labels", "card", "late"): 1,
        ("labels", "post", "late"): 1,
        ("labels-late", "card"): 1,
        ("labels-late", "post"): 1,
    }


def test_where_the_event_has_no_such_entity_nothing_is_remembered(job: Any, label: Any) -> None:
    run = job("shop", "post")
    assert not run(label(0, shop=None))
    assert counted(run) == {("labels", "post", "taken"): 1}
    shops = run.states[2]
    assert list(shops) == [b"-e0"]
    assert shops[b"-e0"].head is None


def test_it_goes_no_further_than_to_the_last_hop_that_wants_it(job: Any, label: Any) -> None:
    run = job("card")
    assert not run(label(0))
    assert list(run.states[2]) == []
    assert counted(run) == {("labels", "card", "taken"): 1}


def test_a_retry_is_known_after_a_label_came(job: Any, label: Any) -> None:
    run = job("card", keyed=True, dedupe=True)
    [first] = run(event(0))
    assert not run(label(0))
    [again] = run(event(0))
    assert (first.value.repeated, again.value.repeated) == (False, True)


def test_a_label_under_another_key_would_look_at_another_entity(
    job: Any, label: Any, decode: Any
) -> None:
    run = job("card", keyed=True)
    [letter] = run(label(0)._replace(key=b"c2"))
    assert letter.output == DEAD_LETTERS
    said = decode("dead-letter")(letter.value)
    assert (said["stage"], said["kind"], said["key"]) == ("validate", "key-mismatch", b"c2")
    assert run.states[0][b"c2"].head is None


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize(("value", "kind"), [(None, "tombstone"), (b"\xff", "not-avro")])
def test_what_is_no_label_is_a_dead_letter(
    job: Any, label: Any, decode: Any, keyed: bool, value: bytes | None, kind: str
) -> None:
    [letter] = job("card", keyed=keyed)(label(0)._replace(value=value))
    said = decode("dead-letter")(letter.value)
    assert (said["job"], said["kind"], said["value"]) == ("score", kind, value)
    assert (said["topic"], said["offset"]) == ("entity-labels", 0)


def test_it_travels_as_events_do(job: Any, label: Any) -> None:
    [decoding, card, *_] = job("card", "shop").hops
    state = MemoryState()
    [first] = decoding(label(0, shop=None), state)
    assert (first.output, first.key) == (NEXT, b"c1")
    [second] = card(label(0)._replace(key=first.key, value=first.value), state)
    assert (second.output, second.key) == (NEXT, b"-e0")
    [other] = card(label(0)._replace(value=first.value._replace(keys=("c1", "s1", None))), state)
    assert other.key == b"ks1"
