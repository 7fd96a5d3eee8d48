"""Features that need no state: expressions, Python functions, defaults."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from verdict.operators.events.schema import Schema
from verdict.operators.expressions import MISSING_CAUSES, SCOPE, Expression, Kind, Variable
from verdict.operators.features.columns import kinds, variables
from verdict.operators.features.functions import guarded, load_function
from verdict.state.codegen import define


@dataclass(frozen=True)
class Formula:
    """A feature of the event alone: an expression, or a function of one's own.

    ``function`` is ``/path/file.py:name``; then ``reads`` are the fields it takes, else
    ``expression`` is the source.
    """

    name: str
    default: float | None
    expression: str | None = None
    function: str | None = None
    reads: tuple[str, ...] = ()


class Formulas:
    """Computes the features that need no state: of the event's fields, and of other features.

    Parameters
    ----------
    formulas
        The features, each after those that it reads.
    schema
        Of the events.
    typed
        Fields that the schema does not let be null never are.
    before
        Names of the features that are known before these, in the order of their values.

    Raises
    ------
    FunctionError
        A function of one's own cannot be loaded.

    Examples
    --------
    >>> from verdict.operators.events.schema import parse
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "amount", "type": "double"}]})
    >>> formulas = [Formula("ratio", -1.0, "amount / mean_7d"), Formula("high", 0.0, "ratio > 3")]
    >>> derived = Formulas(formulas, schema, True, ["mean_7d"])
    >>> derived({"amount": 10.0}, [2.5]), derived({"amount": 10.0}, [None])
    ([4.0, 1.0], [-1.0, 0.0])
    >>> either = Formula("either", 0.0, "amount > 5 if mean_7d > 2 else amount > 50")
    >>> Formulas([either], schema, True, ["mean_7d"])({"amount": 10.0}, [2.5])
    [1.0]
    """

    def __init__(
        self,
        formulas: Sequence[Formula],
        schema: Schema,
        typed: bool = False,
        before: Sequence[str] = (),
    ) -> None:
        self.names = [formula.name for formula in formulas]
        self._before = list(before)
        self._defaults = [formula.default for formula in formulas]
        self._reads_features = False
        names = kinds(schema)
        known = [*before, *self.names]
        self._functions: list[Callable[[Mapping[str, Any]], Any]] = []
        expressions: list[Expression] = []
        for formula in formulas:
            if formula.function is not None:
                self._functions.append(guarded(formula.name, load_function(formula.function)))
                continue
            expression = Expression(formula.expression or "", _with(names, known, formula.name))
            self._functions.append(expression)
            self._reads_features |= any(name not in names for name in expression.reads)
            expressions.append(expression)
        self._together = None
        if len(expressions) == len(formulas):
            field = variables(schema, typed)

            def variable(name: str) -> Variable:
                if name in names:
                    return field(name)
                if name in self._before:
                    return Variable(f"features[{self._before.index(name)}]")
                return Variable(f"formula_{self.names.index(name)}", True)

            self._together = _together(expressions, variable)

    def __call__(
        self, fields: Mapping[str, Any], features: Sequence[float | None] = ()
    ) -> list[float | None]:
        """Compute them; one without value takes its default, or is None where none is stated."""
        if self._together is not None:
            numbers = self._together(fields, features)
            if numbers is not None:
                return numbers
        known = dict(fields)
        if self._reads_features:
            known |= zip(self._before, features, strict=True)
        found = []
        for name, function, default in zip(
            self.names, self._functions, self._defaults, strict=True
        ):
            found.append(filled(function(known), default))
            if self._reads_features:
                known.setdefault(name, found[-1])
        return found


def _with(names: Mapping[str, Kind], features: Sequence[str], own: str) -> dict[str, Kind]:
    """Return what a formula may read: fields, and the other features."""
    return {**{name: Kind.NUMBER for name in features if name != own}, **names}


def in_order(formulas: Sequence[Formula], reads: Mapping[str, Sequence[str]]) -> list[Formula]:
    """Put each formula behind those that it reads.

    Parameters
    ----------
    reads
        Names that each reads, whatever they are.

    Raises
    ------
    ValueError
        Some read each other in a circle; its text names them.

    >>> b, a = Formula("b", None, "a + 1"), Formula("a", None, "x")
    >>> [formula.name for formula in in_order([b, a], {"b": ["a"], "a": ["x"]})]
    ['a', 'b']
    """
    by_name = {formula.name: formula for formula in formulas}
    needs = {
        name: [read for read in reads[name] if read in by_name and read != name] for name in by_name
    }
    try:
        return [by_name[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise ValueError(" <- ".join(error.args[1])) from None


def _together(
    expressions: Sequence[Expression], variable: Callable[[str], Variable]
) -> Callable[[Mapping[str, Any], Sequence[float | None]], list[Any] | None]:
    """Compile expressions to one function, which returns None where one of them has no value."""
    # An integer may be too large for a float, and then has no value either.
    lines = [f"formula_{i} = {_number(each, variable)}" for i, each in enumerate(expressions)]
    total = [f"formula_{i}, " for i, each in enumerate(expressions) if each.kind is Kind.NUMBER]
    every = ", ".join(f"formula_{i}" for i in range(len(expressions)))
    scope = {**SCOPE, "float": float, "isfinite": math.isfinite, "sum": sum}
    scope["causes"] = MISSING_CAUSES
    body = [
        "try:",
        *(f"    {line}" for line in lines),
        f"    return [{every}] if isfinite(sum(({''.join(total)}))) else None",
        "except causes: return None",
    ]
    return define("formulas", "fields, features", body, scope, "formulas")


def _number(expression: Expression, variable: Callable[[str], Variable]) -> str:
    text = expression.written(variable)
    return f"1.0 if ({text}) else 0.0" if expression.kind is Kind.BOOLEAN else f"float({text})"


def filled(value: float | None, default: float | None) -> float | None:
    """Return a feature's value, or its default where it has none: never silently 0."""
    number = _finite(value)
    return default if number is None else number


def _finite(value: float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer: a product of several may be of any size
        return None
    return number if math.isfinite(number) else None
