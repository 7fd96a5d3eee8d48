"""The score job's operators, hop by hop and in a row."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.events.decode import json_decoder
from verdict.operators.events.extract import Extract
from verdict.operators.events.schema import parse
from verdict.operators.expressions import Kind
from verdict.operators.features.columns import WindowedFeature, kinds, variables
from verdict.operators.features.formulas import Formula, Formulas
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.message import NEXT, Deferred, Emit, Message, Operator
from verdict.operators.models.bundle import load
from verdict.operators.names import DEAD_LETTERS, DECISIONS, ROWS
from verdict.operators.policy.decide import Decide, Policy, Rule
from verdict.operators.records.dead_letter import MAX_RAW
from verdict.operators.records.decision import decision_encoder, decision_id
from verdict.operators.records.streams import Decode, Encode
from verdict.operators.score.carry import WITH_KEY, WITHOUT_KEY
from verdict.operators.score.finish import Finish, Money
from verdict.operators.score.hops import DecodeHop, EntityHop
from verdict.operators.score.intake import MAX_NAME, MAX_TEXT, Intake, Plausible
from verdict.operators.score.rows import FeatureRows, Row
from verdict.state.store.dedupe import SeenState
from verdict.state.store.keyed import MemoryState

FIXTURES = Path(__file__).parents[1] / "fixtures"
MINUTE = 60_000
MAX_AHEAD = 3_600_000

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
SCHEMA = parse(
    {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "card", "type": "string"},
            {"name": "terminal", "type": ["null", "string"]},
            {"name": "amount", "type": ["null", DECIMAL]},
            {"name": "currency", "type": ["null", "string"]},
            {"name": "speed", "type": ["null", "double"]},
            {"name": "km", "type": ["null", "double"]},
        ],
    }
)
CARD = [
    WindowedFeature("card_count", "count", None, MINUTE, None),
    WindowedFeature("card_km", "mean", "km", MINUTE, None),
]
TERMINAL = [WindowedFeature("terminal_sum", "sum", "amount", MINUTE, -1.0)]
FORMULAS = [
    Formula("amount", 0.0, expression="amount"),
    Formula("speed", None, expression="speed"),
]
NAMES = ["card_count", "card_km", "terminal_sum", "amount", "speed"]
ORDER = ["amount", "speed", "card_count", "card_km", "terminal_sum"]
CHECKS = [
    Plausible("amount", 0.01, 1_000.0, None, dead=True),
    Plausible("currency", None, None, frozenset({"EUR", "SEK"}), dead=False),
    Plausible("speed", None, 1e6, None, dead=False),
]
POLICY = Policy(
    (
        Rule("often", "card_count >= 3", None),
        Rule("much", "amount > 500 and currency == 'EUR'", "review"),
    ),
    ((0.5, "decline"),),
    "approve",
)
FIELDS = ["amount", "currency", "speed", "km"]

EVENT = {
    "id": "e1",
    "at": 5_000,
    "card": "c1",
    "terminal": "t1",
    "amount": 2.5,
    "currency": "EUR",
    "speed": 4.0,
    "km": 1.5,
}


@pytest.fixture(scope="session")
def job(encode: Callable[[str], Encode]) -> Callable[..., list[Operator]]:
    """Makes the hops of a score job: for a topic keyed by card, or with a decode hop first."""

    def make(
        keyed: bool = True,
        model: str = "column",
        money: Money | None = None,
        train: bool = False,
        missing: str | None = None,
        dedupe: int | None = None,
    ) -> list[Operator]:
        extract = Extract(SCHEMA, "id", "at", [["card"], ["terminal"]], FIELDS, ["amount"])
        intake = Intake(json_decoder(), extract, CHECKS, keyed, MAX_AHEAD)
        formulas = Formulas(FORMULAS, SCHEMA)
        names = {**kinds(SCHEMA), **dict.fromkeys([*ORDER, "score"], Kind.NUMBER)}
        money = money or Money("amount", 2, None, "currency")
        bundle = load(FIXTURES / model)
        about = bundle.card.model_dump(include={"name", "version", "sha256"})
        policy = replace(POLICY, missing=missing)
        finish: Finish | FeatureRows = Finish(
            formulas,
            bundle,
            Decide(policy, names),
            money,
            decision_encoder("shop", about, 2, ORDER, NAMES, ["currency", "km"]),
            NAMES,
            ORDER,
            variables(SCHEMA, False),
        )
        if train:
            finish = FeatureRows(formulas)
        dead, entities = encode("dead-letter"), ["card", "terminal"]
        hops: list[Operator] = [
            EntityHop(
                "shop",
                entities,
                0,
                EntityFeatures(CARD, SCHEMA, 0),
                intake if keyed else None,
                None,
                dead,
                SeenState(dedupe) if dedupe else None,
                train,
            ),
            EntityHop(
                "shop",
                entities,
                1,
                EntityFeatures(TERMINAL, SCHEMA, 0),
                None,
                finish,
                dead,
                keys=train,
            ),
        ]
        return hops if keyed else [DecodeHop("shop", intake, dead), *hops]

    return make


def message(offset: int = 0, **changes: Any) -> Message:
    event = {**EVENT, "id": f"e{offset}", **changes}
    return raw(json.dumps(event).encode(), str(event["card"]).encode(), offset)


def raw(value: bytes | None, key: bytes | None = b"c1", offset: int = 0) -> Message:
    return Message("events", key, value, "payments", 3, offset, 1_700_000_000_000)


@pytest.fixture
def run(
    job: Callable[..., list[Operator]], chain: Callable[..., Any], decode: Callable[[str], Decode]
) -> Callable[..., Any]:
    """Starts a job; what it returns puts one message through and reads the one record out."""
    readers = {DECISIONS: decode("decision"), DEAD_LETTERS: decode("dead-letter")}

    def start(restart: bool = False, **options: Any) -> Callable[[Message], tuple[str, Any]]:
        hops = chain(partial(job, **options), restart)

        def put(message: Message) -> tuple[str, Any]:
            (emit,) = hops(message)
            return emit.output, readers[emit.output](emit.value)

        return put

    return start


# Decisions


def test_a_decision_says_what_was_known_and_why(run: Callable[..., Any]) -> None:
    put = run()
    put(message(0, at=1_000, km=0.5, amount=1.0))
    output, decision = put(message(1))
    card = load(FIXTURES / "column").card
    score = decision["score"]
    assert score == pytest.approx(1 / (1 + math.exp(-(0.75 * 2.5 - 0.5 * 4.0 + 0.25))))
    assert output == DECISIONS
    assert decision == {
        "decision_id": decision_id("shop", "e1"),
        "pipeline": "shop",
        "event_id": "e1",
        "event_time": 5_000,
        "hops": [
            {"entity": "card", "key": "c1", "hop_seq": 2, "late": False, "cold": []},
            {"entity": "terminal", "key": "t1", "hop_seq": 2, "late": False, "cold": []},
        ],
        "amount": (2_500_000).to_bytes(3, "big"),
        "currency": "EUR",
        "model": {"name": "column", "version": "1", "sha256": card.sha256},
        "repeated": False,
        "score": score,
        "classes": [],
        "action": "decline",
        "because": "score >= 0.5",
        "rules": [],
        "implausible": [],
        "features": {
            "amount": 2.5,
            "speed": 4.0,
            "card_count": 2.0,
            "card_km": 1.0,
            "terminal_sum": 3.5,
        },
        "fields": {"currency": "EUR", "km": 1.5},
    }


def test_decisions_are_keyed_by_the_first_entity(
    job: Callable[..., list[Operator]], chain: Callable[..., Any]
) -> None:
    for keyed in (True, False):
        (emit,) = chain(partial(job, keyed=keyed))(message(card="c9"))
        assert emit.key == b"c9"


def test_the_message_key_need_not_be_the_entitys_where_events_are_decoded_first(
    run: Callable[..., Any],
) -> None:
    stream = [message(index, card=f"c{index % 2}", at=index) for index in range(6)]
    keyed, unkeyed = run(), run(keyed=False)
    for one in stream:
        assert unkeyed(one._replace(key=b"whatever")) == keyed(one)


def test_rules_see_fields_features_and_the_score(run: Callable[..., Any]) -> None:
    put = run()
    decisions = [put(message(index, amount=900.0))[1] for index in range(3)]
    assert [decision["rules"] for decision in decisions] == [["much"], ["much"], ["often", "much"]]
    assert {decision["because"] for decision in decisions} == {"rule much"}


def test_a_missing_second_entity_takes_defaults_and_keeps_no_state(
    job: Callable[..., list[Operator]], chain: Callable[..., Any], decode: Callable[[str], Decode]
) -> None:
    hops = chain(job)
    for index in range(3):
        (emit,) = hops(message(index, terminal=None if index else ""))
        decision = decode("decision")(emit.value)
        assert decision["hops"][1] == {
            "entity": "terminal", "key": None, "hop_seq": None, "late": False, "cold": []
        }  # fmt: skip
        assert decision["features"]["terminal_sum"] == -1.0
    assert sorted(hops.states[1]) == [WITHOUT_KEY + b"e0", WITHOUT_KEY + b"e1", WITHOUT_KEY + b"e2"]
    assert all(state.get() is None for state in hops.states[1].values())


def test_a_present_and_an_absent_entity_have_different_keys(
    job: Callable[..., list[Operator]],
) -> None:
    first = job()[0]
    (present,) = first(message(1, terminal="e1"), MemoryState())
    (absent,) = first(message(1, terminal=None), MemoryState())
    assert (present.output, present.key) == (NEXT, WITH_KEY + b"e1")
    assert (absent.output, absent.key) == (NEXT, WITHOUT_KEY + b"e1")


def test_late_is_each_entitys_own(run: Callable[..., Any]) -> None:
    put = run()
    put(message(0, at=10_000))
    put(message(1, at=20_000, card="c2"))
    _, decision = put(message(2, at=15_000))
    assert [hop["late"] for hop in decision["hops"]] == [False, True]
    assert [hop["hop_seq"] for hop in decision["hops"]] == [2, 3]
    _, decision = put(message(3, at=9_000, terminal="t2"))
    assert [hop["late"] for hop in decision["hops"]] == [True, False]


@pytest.mark.parametrize(
    ("money", "changes", "amount", "currency"),
    [
        (Money("amount", 2, None, "currency"), {}, 2_500_000, "EUR"),
        (Money("amount", 2, None, "currency"), {"currency": None}, 2_500_000, None),
        (Money("amount", 2, "SEK", None), {}, 2_500_000, "SEK"),
        (Money("amount", 2, "SEK", None), {"amount": None}, None, None),
    ],
)
def test_money(
    run: Callable[..., Any],
    money: Money,
    changes: dict[str, Any],
    amount: int | None,
    currency: str | None,
) -> None:
    _, decision = run(money=money)(message(**changes))
    found = decision["amount"]
    assert (found if found is None else int.from_bytes(found, "big", signed=True)) == amount
    assert decision["currency"] == currency


def test_a_class_vector_stands_in_the_decision(run: Callable[..., Any]) -> None:
    _, decision = run(model="classes")(message())
    mule, ok, stolen = decision["classes"]
    assert decision["score"] == mule + stolen
    assert mule + ok + stolen == pytest.approx(1.0, abs=1e-5)


def test_without_a_model_there_are_rows_to_train_one_on(
    job: Callable[..., list[Operator]], chain: Callable[..., Any]
) -> None:
    (emit,) = chain(partial(job, train=True))(message(7))
    assert emit.output == ROWS
    assert isinstance(emit.value, Row)
    event_id, at, keys, repeated, score, action, features = emit.value
    assert (event_id, at, repeated, score, action) == ("e7", 5_000, False, None, None)
    assert keys == ["c1", "t1"]
    assert dict(zip(NAMES, features, strict=True)) == {
        "amount": 2.5,
        "speed": 4.0,
        "card_count": 1.0,
        "card_km": 1.5,
        "terminal_sum": 2.5,
    }


# Plausibility


def test_an_implausible_field_is_a_review(run: Callable[..., Any]) -> None:
    _, decision = run()(message(currency="XXX", speed=2e6))
    assert decision["implausible"] == ["currency", "speed"]
    assert (decision["action"], decision["because"]) == ("review", "implausible currency")


# Dead letters


def utf16(**changes: Any) -> Message:
    """Write an event as JSON in UTF-16, whose text takes more bytes in UTF-8."""
    text = json.dumps({**EVENT, **changes}, ensure_ascii=False, separators=(",", ":"))
    return raw(text.encode("utf-16-le"))


DEAD = [
    ("decode", "tombstone", raw(None), "a tombstone: the record has a key and no value"),
    ("decode", "empty", raw(b""), "the record's value is empty"),
    ("decode", "not-json", raw(b"{"), "not JSON"),
    ("decode", "not-a-record", raw(b"[]", key=None), "a JSON object is wanted"),
    ("validate", "missing-field", raw(b"{}"), "field 'id' is missing"),
    ("validate", "missing-field", message(card=""), "field 'card' is missing"),
    ("validate", "implausible", message(amount=0.0), "field 'amount' is implausible: 0.0"),
    ("validate", "wrong-type", message(amount=1.005), "field 'amount' has the wrong type"),
    (
        "validate",
        "key-mismatch",
        message(card="c2")._replace(key=b"c1"),
        "the record's key is not its event's",
    ),
    (
        "validate",
        "key-mismatch",
        message()._replace(key=None),
        "the record's key is not its event's",
    ),
    ("features", "no-value", message(km=None), "feature 'card_km' has no value"),
    ("features", "no-value", message(speed=None), "feature 'speed' has no value"),
    ("validate", "wrong-type", message(at="x" * 99), "field 'at' has the wrong type"),
    ("validate", "time-range", message(at=253_402_300_800_000), "field 'at' lies outside"),
    (
        "validate",
        "ahead",
        message(at=1_700_003_600_001),
        "the event's time lies 3,600,001 ms after",
    ),
    (
        "validate",
        "time-in-seconds",
        message(at=1_700_000_000),
        "the event's time, 1700000000, is in",
    ),
    ("score", "not-finite", message(speed=1e300), "model regression put out"),
    ("validate", "too-large", message(id="é" * 513), "the event's id has 1,026 bytes; 1,024 at"),
    ("validate", "too-large", message(card="c" * 1_025), "the event's key 1 has 1,025 bytes"),
    ("validate", "too-large", message(terminal="t" * 9_999), "the event's key 2 has 9,999 bytes"),
    ("validate", "too-large", message(currency="€" * 30_000), "field 'currency' has 90,000 bytes"),
    ("validate", "too-large", utf16(id="\u20ac" * 342), "the event's id has 1,026 bytes"),
]


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    ("stage", "kind", "bad", "reason"), DEAD, ids=[reason for *_, reason in DEAD]
)
def test_a_dead_letter_has_the_raw_record_and_where_it_was(
    run: Callable[..., Any], stage: str, kind: str, bad: Message, reason: str
) -> None:
    output, letter = run(model="regression")(bad._replace(offset=42))
    assert output == DEAD_LETTERS
    assert letter.pop("reason").startswith(reason)
    value = bad.value
    assert letter == {
        "pipeline": "shop",
        "job": "score",
        "stage": stage,
        "kind": kind,
        "topic": "payments",
        "partition": 3,
        "offset": 42,
        "timestamp": 1_700_000_000_000,
        "key": bad.key,
        "value": value and value[:MAX_RAW],
        "value_size": -1 if value is None else len(value),
        "value_sha256": None if value is None else hashlib.sha256(value).hexdigest(),
    }


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_the_decode_hop_makes_the_same_dead_letters(run: Callable[..., Any]) -> None:
    for *_, bad, reason in DEAD:
        if "key is not its event's" not in reason:  # without keyed_by, it need not be
            assert run(keyed=False, model="regression")(bad) == run(model="regression")(bad)


@pytest.mark.parametrize("changes", [{"amount": 0.0}, {"km": None}, {"speed": None}])
def test_a_large_record_is_cut_at_every_stage(
    run: Callable[..., Any], changes: dict[str, Any]
) -> None:
    bad = message(padding="x" * (2 * MAX_RAW), **changes)
    _, letter = run()(bad)
    assert letter["value"] == (bad.value or b"")[:MAX_RAW]
    assert letter["value_size"] == len(bad.value or b"")
    assert letter["value_sha256"] == hashlib.sha256(bad.value or b"").hexdigest()


def test_dead_letters_before_the_first_hop_touch_no_state_and_later_ones_are_counted(
    run: Callable[..., Any],
) -> None:
    put = run()
    put(raw(b"nonsense"))
    put(message(0, amount=0.0))
    assert put(message(1))[1]["features"]["card_count"] == 1.0
    assert put(message(2, speed=None))[0] == DEAD_LETTERS
    assert put(message(3))[1]["features"]["card_count"] == 3.0


def test_no_decision_outgrows_what_kafka_takes(
    job: Callable[..., list[Operator]], chain: Callable[..., Any]
) -> None:
    longest: dict[str, Any] = {
        "id": "i" * MAX_NAME,
        "card": "c" * MAX_NAME,
        "terminal": "t" * MAX_NAME,
    }
    for currency in ("€" * (MAX_TEXT // 3), "x" * MAX_TEXT):
        (emit,) = chain(job)(message(**longest, currency=currency, padding="p" * 900_000))
        assert emit.output == DECISIONS
        assert len(emit.value) + len(emit.key) < 2 * MAX_TEXT + 5 * MAX_NAME < 200_000


def test_the_stream_goes_on_when_sums_overflow(run: Callable[..., Any]) -> None:
    put = run()
    assert put(message(0, km=1e308))[0] == DECISIONS
    output, letter = put(message(1, km=1e308))
    assert (output, letter["stage"]) == (DEAD_LETTERS, "features")
    assert put(message(2, at=5_000 + MINUTE))[0] == DECISIONS


def test_an_event_that_cannot_be_scored_takes_the_action_for_that(run: Callable[..., Any]) -> None:
    output, decision = run(missing="review")(message(speed=None, amount=900.0))
    assert output == DECISIONS
    assert (decision["action"], decision["because"]) == ("review", "missing speed")
    assert decision["score"] is None
    assert decision["rules"] == ["much"]
    assert math.isnan(decision["features"].pop("speed"))
    assert all(map(math.isfinite, decision["features"].values()))


# A producer's retry


def test_a_repeat_changes_no_state_and_is_flagged(run: Callable[..., Any]) -> None:
    put = run(dedupe=MINUTE)
    _, first = put(message(0, at=1_000))
    _, again = put(message(0, at=1_000))
    assert not first["repeated"]
    assert again == {**first, "repeated": True}
    _, following = put(message(1, at=2_000))
    assert following["features"]["card_count"] == 2.0
    assert [hop["hop_seq"] for hop in following["hops"]] == [2, 2]
    _, again = put(message(0, at=1_000))
    assert again["hops"][0] == {
        "entity": "card",
        "key": "c1",
        "hop_seq": 2,
        "late": True,
        "cold": [],
    }
    assert again["features"] == first["features"]


def test_an_id_with_another_body_is_a_dead_letter(run: Callable[..., Any]) -> None:
    put = run(dedupe=MINUTE)
    put(message(0, at=1_000))
    output, letter = put(message(0, at=1_001))
    assert (output, letter["stage"], letter["kind"]) == (DEAD_LETTERS, "validate", "id-reused")
    assert put(message(1, at=2_000))[1]["features"]["card_count"] == 2.0


def test_ids_are_forgotten_after_their_time_and_are_each_entitys_own(
    run: Callable[..., Any],
) -> None:
    put = run(dedupe=10_000)
    put(message(0, at=1_000))
    put(message(1, at=1_000 + 10_000))
    assert put(message(0, at=1_000))[1]["repeated"] is False
    assert put(message(1, at=1_000 + 10_000, card="c2"))[1]["repeated"] is False
    assert put(message(1, at=1_000 + 10_000))[1]["repeated"] is True


def test_state_with_ids_goes_on_without_them_and_back(
    job: Callable[..., list[Operator]], chain: Callable[..., Any], decode: Callable[[str], Decode]
) -> None:
    hops = chain(job)
    counts = []
    for number, dedupe in enumerate((None, MINUTE, MINUTE, None, None, MINUTE)):
        hops.hops = job(dedupe=dedupe)
        (emit,) = hops(message(number, at=number))
        counts.append(decode("decision")(emit.value)["features"]["card_count"])
    assert counts == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


# Any stream

EVENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["", "x", None]),
        "at": st.sampled_from([0, 1, 70_000, -5, 10**15, "soon", None]),
        "card": st.sampled_from(["c1", "c2", "", None]),
        "terminal": st.sampled_from(["t1", "t2", "", None, 5]),
        "amount": st.sampled_from([None, 0.5, 999.99, 1_001, "2.50", True, 1e300]),
        "currency": st.sampled_from(["EUR", "XXX", None, 3]),
        "speed": st.sampled_from([None, 0.0, -3.5, 1e300, "fast"]),
        "km": st.sampled_from([None, 0.1, 1e308, -1e308, []]),
    },
)
STREAM = st.lists(EVENTS | st.binary(max_size=5), max_size=12)


def messages(stream: Sequence[dict[str, Any] | bytes]) -> list[Message]:
    return [
        raw(item, offset=offset) if isinstance(item, bytes) else message(offset, **item)
        for offset, item in enumerate(stream)
    ]


@pytest.mark.filterwarnings("ignore:overflow encountered")
@settings(max_examples=25)
@given(stream=STREAM, keyed=st.booleans(), dedupe=st.sampled_from([None, 1, MINUTE]))
def test_every_record_becomes_one_decision_or_one_dead_letter(
    job: Callable[..., list[Operator]],
    chain: Callable[..., Any],
    stream: list[dict[str, Any] | bytes],
    keyed: bool,
    dedupe: int | None,
) -> None:
    make = partial(job, keyed=keyed, dedupe=dedupe)
    steady, restarted = chain(make), chain(make, restart=True)
    for one in messages(stream):
        out: list[Emit] = steady(one)
        assert [emit.output for emit in out] in ([DECISIONS], [DEAD_LETTERS])
        assert restarted(one) == out


@pytest.mark.filterwarnings("ignore:overflow encountered")
@settings(max_examples=25)
@given(stream=STREAM, model=st.sampled_from(["column", "regression", "classes_zipmap"]))
def test_many_at_once_are_what_one_by_one_makes(
    job: Callable[..., list[Operator]],
    chain: Callable[..., Any],
    stream: list[dict[str, Any] | bytes],
    model: str,
) -> None:
    make = partial(job, model=model, missing="review")
    wanted, deferring = chain(make), chain(make)
    last = deferring.hops[-1]
    assert last.defers
    deferring.hops[-1] = partial(last, defer=True)
    found = [emit for one in messages(stream) for emit in deferring(one)]
    places = [i for i, emit in enumerate(found) if isinstance(emit.value, Deferred)]
    for place, emit in zip(places, last.settle([found[i].value for i in places]), strict=True):
        found[place] = emit
    assert found == [emit for one in messages(stream) for emit in wanted(one)]
    assert last.meter.counts == wanted.hops[-1].meter.counts
