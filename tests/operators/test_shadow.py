"""Challengers score what the champion decided, and never touch it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.expressions import Kind
from verdict.operators.message import Emit, Message
from verdict.operators.models.bundle import load
from verdict.operators.names import DEAD_LETTERS, SHADOW_SCORES
from verdict.operators.policy.decide import Decide, Policy, Rule
from verdict.operators.records.streams import Decode, Encode
from verdict.operators.shadow import Shadow
from verdict.state.store.keyed import MemoryState

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = {
    "amount": Kind.NUMBER,
    "currency": Kind.STRING,
    "terminal.country": Kind.STRING,
    "score": Kind.NUMBER,
}
POLICY = Policy((Rule("swedish", "currency == 'SEK'", "review"),), ((0.5, "decline"),), "approve")
DECISION = {
    "decision_id": "d1",
    "pipeline": "shop",
    "event_id": "e1",
    "event_time": 5_000,
    "hops": [],
    "amount": b"\x0f\x42\x40",
    "currency": "EUR",
    "model": {"name": "champion", "version": "3", "sha256": "c" * 64},
    "repeated": False,
    "score": 0.75,
    "classes": [],
    "action": "decline",
    "because": "score >= 0.5",
    "rules": [],
    "implausible": [],
    "features": {"amount": -1.0, "speed": 3.5, "unused": 0.0},
    "fields": {"currency": "EUR"},
}

Run = Callable[..., list[tuple[str, dict[str, Any]]]]


@pytest.fixture(scope="session")
def shadow(
    encode: Callable[[str], Encode], decode: Callable[[str], Decode]
) -> Callable[..., Shadow]:
    def make(*models: str, policy: Policy = POLICY) -> Shadow:
        return Shadow(
            "shop",
            [load(FIXTURES / model) for model in models],
            Decide(policy, NAMES),
            decode("decision"),
            encode("shadow-score"),
            encode("dead-letter"),
        )

    return make


@pytest.fixture
def run(
    shadow: Callable[..., Shadow],
    encode: Callable[[str], Encode],
    decode: Callable[[str], Decode],
) -> Run:
    """Puts one decision, with changes, through the shadow job and reads what comes out."""
    readers: dict[str, Decode] = {
        SHADOW_SCORES: decode("shadow-score"),
        DEAD_LETTERS: decode("dead-letter"),
    }

    def run(
        *models: str, policy: Policy = POLICY, **changes: Any
    ) -> list[tuple[str, dict[str, Any]]]:
        value = encode("decision")({**DECISION, **changes})
        out = shadow(*models, policy=policy)(message(value), MemoryState())
        return [(emit.output, readers[emit.output](emit.value)) for emit in out]

    return run


def message(value: bytes | None) -> Message:
    return Message("decisions", b"c1", value, "decisions", 1, 7, 1_700_000_000_000)


def test_a_score_of_each_challenger_in_their_order(run: Run) -> None:
    out = run("column", "regression")
    assert [output for output, _ in out] == [SHADOW_SCORES, SHADOW_SCORES]
    card = load(FIXTURES / "column").card
    score, _ = load(FIXTURES / "column")([-1.0, 3.5])
    assert out[0][1] == {
        "pipeline": "shop",
        "event_id": "e1",
        "event_time": 5_000,
        "amount": b"\x0f\x42\x40",
        "currency": "EUR",
        "champion": {
            "name": "champion",
            "version": "3",
            "sha256": "c" * 64,
            "score": 0.75,
            "action": "decline",
            "because": "score >= 0.5",
        },
        "challenger": {
            "name": "column",
            "version": "1",
            "sha256": card.sha256,
            "score": score,
            "action": "approve",
            "because": "otherwise",
        },
    }
    assert out[1][1]["challenger"]["name"] == "regression"


def test_the_policy_is_the_same_for_every_model(run: Run) -> None:
    ((_, scored),) = run("column", fields={"currency": "SEK"})
    assert (scored["challenger"]["action"], scored["challenger"]["because"]) == (
        "review",
        "rule swedish",
    )
    ((_, scored),) = run("column", implausible=["currency"])
    assert scored["challenger"]["because"] == "implausible currency"


def test_scores_keep_the_decisions_key(
    shadow: Callable[..., Shadow], encode: Callable[[str], Encode]
) -> None:
    value = encode("decision")(DECISION)
    (emit,) = shadow("column")(message(value), MemoryState())
    assert isinstance(emit, Emit)
    assert emit.key == b"c1"
    (emit,) = shadow("column")(message(value)._replace(key=None), MemoryState())
    assert emit.key == b""


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_challenger_that_fails_leaves_the_others_alone(run: Run) -> None:
    out = run("column", "regression", "double", features={"amount": 1e300, "speed": 0.0})
    assert [output for output, _ in out] == [SHADOW_SCORES, DEAD_LETTERS, SHADOW_SCORES]
    letter = out[1][1]
    assert (letter["job"], letter["stage"]) == ("shadow", "score")
    assert "model regression put out" in letter["reason"]
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("decisions", 1, 7)


def test_a_feature_that_the_decision_lacks(run: Run) -> None:
    ((output, letter),) = run("column", features={"amount": 1.0})
    assert (output, letter["stage"]) == (DEAD_LETTERS, "features")
    assert letter["reason"] == "the decision lacks 'speed', which column asks for"


def test_a_field_that_the_decision_lacks(run: Run) -> None:
    policy = Policy((Rule("abroad", "terminal.country != 'SE'", "review"),), (), "approve")
    ((output, letter),) = run("column", policy=policy)
    assert (output, letter["stage"]) == (DEAD_LETTERS, "features")
    assert letter["reason"] == "the decision lacks 'terminal.country', which rules read"
    ((output, _),) = run("column", policy=policy, fields={"terminal.country": None})
    assert output == SHADOW_SCORES  # null is not lacking


@pytest.mark.parametrize(
    ("value", "reason"), [(None, "a tombstone"), (b"nonsense", "no record of this stream")]
)
def test_what_is_no_decision(
    shadow: Callable[..., Shadow], decode: Callable[[str], Decode], value: bytes | None, reason: str
) -> None:
    (emit,) = shadow("column", "double")(message(value), MemoryState())
    letter = decode("dead-letter")(emit.value)
    assert (emit.output, emit.key, letter["stage"]) == (DEAD_LETTERS, b"c1", "decode")
    assert letter["reason"].startswith(reason)
    assert letter["value"] == value


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("changes", [{"repeated": True}, {"score": None}])
def test_repeats_and_what_cannot_be_scored_have_no_challenger(
    run: Run, changes: dict[str, Any]
) -> None:
    assert run("column", **changes) == []


@settings(max_examples=60)
@given(at=st.integers(0, 400), put=st.binary(max_size=4), cut=st.integers(0, 4))
def test_damaged_decisions_never_stop_it(
    shadow: Callable[..., Shadow],
    encode: Callable[[str], Encode],
    at: int,
    put: bytes,
    cut: int,
) -> None:
    value = encode("decision")(DECISION)
    at %= len(value)
    damaged = message(value[:at] + put + value[at + cut :])
    out = list(shadow("column", "lightgbm")(damaged, MemoryState()))
    assert {emit.output for emit in out} <= {SHADOW_SCORES, DEAD_LETTERS}
    assert len(out) in (0, 1, 2)  # none for what the damage makes a repeat
