"""From a score to an action: rules, then thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from operators.errors import BadRecord
from operators.expressions import Expression, Kind

SCORE = "score"
REVIEW = "review"


@dataclass(frozen=True)
class Rule:
    """A condition; the first that fired and has an action decides."""

    name: str
    when: str
    action: str | None


@dataclass(frozen=True)
class Policy:
    """Rules in order, thresholds from the highest, and the action where none of them decides.

    ``missing`` is the action where a feature has no value; None makes a dead letter of the event.
    """

    rules: tuple[Rule, ...]
    thresholds: tuple[tuple[float, str], ...]
    otherwise: str
    missing: str | None = None


class Verdict(NamedTuple):
    """An action, what decided it, and every rule that fired."""

    action: str
    because: str
    rules: list[str]


class Decide:
    """Applies a policy.

    Parameters
    ----------
    policy
        The policy.
    names
        Every name a rule may read, and its kind: fields, features and ``score``.

    Examples
    --------
    >>> policy = Policy((Rule("huge", "amount > 5000", "review"),), ((0.9, "decline"),), "approve")
    >>> decide = Decide(policy, {"amount": Kind.NUMBER, "score": Kind.NUMBER})
    >>> decide({"amount": 9000.0, "score": 0.95}, 0.95)
    Verdict(action='review', because='rule huge', rules=['huge'])
    >>> decide({"amount": 10.0, "score": 0.95}, 0.95)
    Verdict(action='decline', because='score >= 0.9', rules=[])
    """

    def __init__(self, policy: Policy, names: Mapping[str, Kind]) -> None:
        self._rules = [(rule, Expression(rule.when, names)) for rule in policy.rules]
        self._thresholds = [(at, action, f"score >= {at:g}") for at, action in policy.thresholds]
        self._otherwise = policy.otherwise
        self._missing = policy.missing
        self.reads = tuple(
            dict.fromkeys(name for _, expression in self._rules for name in expression.reads)
        )

    def __call__(
        self, values: Mapping[str, Any], score: float, implausible: Sequence[str] = ()
    ) -> Verdict:
        """Decide.

        Parameters
        ----------
        values
            Name -> value, of all that the rules read.
        score
            The model's.
        implausible
            Fields whose value lies outside what the pipeline calls plausible: a review.
        """
        fired = [rule for rule, expression in self._rules if expression(values)]
        names = [rule.name for rule in fired]
        if implausible:
            return Verdict(REVIEW, f"implausible {implausible[0]}", names)
        for rule in fired:
            if rule.action is not None:
                return Verdict(rule.action, f"rule {rule.name}", names)
        for at, action, because in self._thresholds:
            if score >= at:
                return Verdict(action, because, names)
        return Verdict(self._otherwise, "otherwise", names)

    def missing(self, values: Mapping[str, Any], feature: str) -> Verdict:
        """Decide an event that cannot be scored, since a feature has no value.

        Raises
        ------
        BadRecord
            The policy has no action for that.
        """
        if self._missing is None:
            raise BadRecord(
                "features",
                "no-value",
                f"feature '{feature}' has no value: state its default, or decide.missing",
            )
        fired = [rule.name for rule, expression in self._rules if expression(values)]
        return Verdict(self._missing, f"missing {feature}", fired)
