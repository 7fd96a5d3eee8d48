"""From a score to an action: rules, then thresholds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from verdict.operators.errors import BadRecord
from verdict.operators.expressions import MISSING_CAUSES, SCOPE, Expression, Kind, Variable
from verdict.operators.names import BadKind
from verdict.state.codegen import define

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
    rules: tuple[str, ...]


def no_value(feature: str, mend: str) -> BadRecord:
    """Say that a feature has no value, which is never silently 0."""
    return BadRecord(BadKind.NO_VALUE, f"feature '{feature}' has no value: {mend}")


Judge = Callable[..., Verdict]
"""Takes what it was compiled for, then the score and the implausible fields."""


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
    Verdict(action='review', because='rule huge', rules=('huge',))
    >>> decide({"amount": 10.0, "score": 0.95}, 0.95)
    Verdict(action='decline', because='score >= 0.9', rules=())
    """

    def __init__(self, policy: Policy, names: Mapping[str, Kind]) -> None:
        self._rules = [(rule, Expression(rule.when, names)) for rule in policy.rules]
        self._thresholds = policy.thresholds
        self._otherwise = policy.otherwise
        self._missing = policy.missing
        self.reads = tuple(
            dict.fromkeys(name for _, expression in self._rules for name in expression.reads)
        )
        self._decide = self.over("values", lambda name: Variable(f"values[{name!r}]"))

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
        return self._decide(values, score, implausible)

    def over(self, arguments: str, variable: Callable[[str], Variable]) -> Judge:
        """Compile the policy over other arguments than a mapping.

        Parameters
        ----------
        arguments
            Their names, as a function has them.
        variable
            What stands for a name that the rules read.

        Returns
        -------
        Judge
            Takes the arguments, ``score`` and ``implausible``.

        Examples
        --------
        >>> policy = Policy((Rule("huge", "amount > 5000", "review"),), (), "approve")
        >>> decide = Decide(policy, {"amount": Kind.NUMBER})
        >>> decide.over("amount", lambda name: Variable(name))(9000.0, 0.95, ())
        Verdict(action='review', because='rule huge', rules=('huge',))
        """
        fired = [f"fired_{number}" for number in range(len(self._rules))]
        lines = []
        for name, (_, expression) in zip(fired, self._rules, strict=True):
            lines += [
                "try:",
                f"    {name} = {expression.written(variable)}",
                "except missing_causes:",
                f"    {name} = False",
            ]
        lines.append(f"if {' or '.join([*fired, 'implausible'])}:")
        lines.append(
            f"    return judge(({''.join(f'{name}, ' for name in fired)}), score, implausible)"
        )
        scope: dict[str, Any] = {**SCOPE, "missing_causes": MISSING_CAUSES, "judge": self._judge}
        for number, (at, action) in enumerate(self._thresholds):
            scope[f"verdict_{number}"] = Verdict(action, f"score >= {at:g}", ())
            scope[f"at_{number}"] = at
            lines.append(f"if score >= at_{number}: return verdict_{number}")
        scope["otherwise"] = Verdict(self._otherwise, "otherwise", ())
        lines.append("return otherwise")
        return define(
            "decide", f"{arguments}, score, implausible", lines, scope, f"policy over {arguments}"
        )

    def _judge(self, fired: Sequence[Any], score: float, implausible: Sequence[str]) -> Verdict:
        """Decide where a rule fired, or a field is implausible."""
        rules = [rule for rule, whether in zip(self._rules, fired, strict=True) if whether]
        names = tuple([rule.name for rule, _ in rules])
        if implausible:
            return Verdict(REVIEW, f"implausible {implausible[0]}", names)
        for rule, _ in rules:
            if rule.action is not None:
                return Verdict(rule.action, f"rule {rule.name}", names)
        for at, action in self._thresholds:
            if score >= at:
                return Verdict(action, f"score >= {at:g}", names)
        return Verdict(self._otherwise, "otherwise", names)

    def missing(self, values: Mapping[str, Any], feature: str) -> Verdict:
        """Decide an event that cannot be scored, since a feature has no value.

        Raises
        ------
        BadRecord
            The policy has no action for that.
        """
        if self._missing is None:
            raise no_value(feature, "state its default, or decide.missing")
        fired = tuple([rule.name for rule, expression in self._rules if expression(values)])
        return Verdict(self._missing, f"missing {feature}", fired)
