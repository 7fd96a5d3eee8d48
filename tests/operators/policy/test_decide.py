"""Rules, then thresholds, then otherwise."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord, ExpressionError
from verdict.operators.expressions import Expression, Kind, Variable
from verdict.operators.names import BadKind
from verdict.operators.policy.decide import REVIEW, Decide, Policy, Rule, Verdict

NAMES = {
    "amount": Kind.NUMBER,
    "country": Kind.STRING,
    "count_1h": Kind.NUMBER,
    "score": Kind.NUMBER,
}
RULES = (
    Rule("burst", "count_1h >= 3", None),
    Rule("huge", "amount > 5000", "review"),
    Rule("abroad", "country != 'FR' and score > 0.5", "decline"),
    Rule("tiny", "amount < 1", "approve"),
)
POLICY = Policy(RULES, ((0.9, "decline"), (0.5, "review")), "approve")
QUIET = {"amount": 10.0, "country": "FR", "count_1h": 1.0}


def decide(score: float, implausible: list[str] | None = None, **values: Any) -> Verdict:
    found = {**QUIET, **values, "score": score}
    return Decide(POLICY, NAMES)(found, score, implausible or [])


@pytest.mark.parametrize(
    ("score", "action", "because"),
    [
        (1.0, "decline", "score >= 0.9"),
        (0.9, "decline", "score >= 0.9"),
        (0.8999999, "review", "score >= 0.5"),
        (0.5, "review", "score >= 0.5"),
        (0.4999999, "approve", "otherwise"),
        (-3.0, "approve", "otherwise"),
    ],
)
def test_the_highest_threshold_that_the_score_reaches(
    score: float, action: str, because: str
) -> None:
    assert decide(score) == Verdict(action, because, ())


def test_the_first_rule_with_an_action_decides_and_all_are_recorded() -> None:
    verdict = decide(0.95, amount=9_000.0, country="BE", count_1h=3.0)
    assert verdict == Verdict("review", "rule huge", ("burst", "huge", "abroad"))


def test_a_rule_goes_before_a_threshold() -> None:
    assert decide(0.99, amount=0.5) == Verdict("approve", "rule tiny", ("tiny",))


def test_a_rule_without_an_action_is_recorded_and_decides_nothing() -> None:
    assert decide(0.95, count_1h=5.0) == Verdict("decline", "score >= 0.9", ("burst",))
    assert decide(0.0, count_1h=5.0) == Verdict("approve", "otherwise", ("burst",))


def test_a_rule_over_what_is_missing_does_not_fire() -> None:
    assert decide(0.6, amount=None, country=None) == Verdict("review", "score >= 0.5", ())


def test_an_implausible_field_is_a_review_whatever_the_rules_say() -> None:
    verdict = decide(0.99, ["country", "amount"], amount=0.5)
    assert verdict == Verdict(REVIEW, "implausible country", ("tiny",))


def test_without_a_feature_the_policys_action_decides_and_the_rules_are_recorded() -> None:
    decide = Decide(replace(POLICY, missing="review"), NAMES)
    values = {**QUIET, "amount": 9_000.0, "count_1h": None, "score": None}
    assert decide.missing(values, "count_1h") == Verdict("review", "missing count_1h", ("huge",))


def test_without_a_feature_and_an_action_for_that_the_event_is_a_dead_letter() -> None:
    with pytest.raises(BadRecord) as refused:
        Decide(POLICY, NAMES).missing(QUIET, "count_1h")
    assert refused.value.kind is BadKind.NO_VALUE
    assert str(refused.value) == (
        "feature 'count_1h' has no value: state its default, or decide.missing"
    )


def test_its_function_is_found_by_name_in_profiles_and_tracebacks() -> None:
    compiled = Decide(POLICY, NAMES).over("amount", Variable)
    assert compiled.__name__ == "decide"
    assert compiled.__code__.co_filename.startswith("<verdict policy over amount ")


def test_without_rules_and_thresholds() -> None:
    policy = Policy((), (), "let_pass")
    assert Decide(policy, NAMES)({"score": 1.0}, 1.0) == Verdict("let_pass", "otherwise", ())


def test_reads_every_name_once_in_order() -> None:
    assert Decide(POLICY, NAMES).reads == ("count_1h", "amount", "country", "score")


def test_a_rule_that_does_not_compile() -> None:
    with pytest.raises(ExpressionError, match="Did you mean 'amount'"):
        Decide(Policy((Rule("x", "amuont > 5", None),), (), "approve"), NAMES)


def test_a_threshold_is_written_as_short_as_it_can_be() -> None:
    policy = Policy((), ((0.25, "a"), (1e-7, "b")), "c")
    assert Decide(policy, NAMES)({}, 0.3).because == "score >= 0.25"
    assert Decide(policy, NAMES)({}, 0.2).because == "score >= 1e-07"


@given(
    amount=st.none() | st.sampled_from([0.5, 1.0, 5_000.0, 5_000.5]),
    country=st.none() | st.sampled_from(["FR", "BE"]),
    count=st.none() | st.sampled_from([2.0, 3.0]),
    score=st.sampled_from([0.0, 0.49, 0.5, 0.51, 0.9, 1.0]),
    implausible=st.sampled_from([[], ["amount"]]),
)
def test_compiled_it_decides_as_rule_after_rule(
    amount: float | None,
    country: str | None,
    count: float | None,
    score: float,
    implausible: list[str],
) -> None:
    values = {"amount": amount, "country": country, "count_1h": count, "score": score}
    fired = [rule for rule in RULES if Expression(rule.when, NAMES)(values)]
    acting = next((rule for rule in fired if rule.action is not None), None)
    if implausible:
        expected = (REVIEW, "implausible amount")
    elif acting is not None:
        expected = (str(acting.action), f"rule {acting.name}")
    else:
        reached = (found for found in POLICY.thresholds if score >= found[0])
        at, action = next(reached, (None, "approve"))
        expected = (action, "otherwise" if at is None else f"score >= {at:g}")

    def variable(name: str) -> Variable:
        return Variable(name, certain=values[name] is not None)

    decide = Decide(POLICY, NAMES)
    wanted = Verdict(*expected, tuple(rule.name for rule in fired))
    assert decide(values, score, implausible) == wanted
    over = decide.over("amount, country, count_1h", variable)
    assert over(amount, country, count, score, implausible) == wanted
