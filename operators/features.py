"""From an event and its entity's history to numbers."""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.decode import Event
from operators.errors import BadRecord, FunctionError
from operators.expressions import MISSING_CAUSES, SCOPE, Expression, Kind, Variable
from operators.schema import Schema
from state.aggregates import Aggregates, Asked
from state.keyed import KeyedState
from state.source import define
from state.windows import NULL, Column, Number


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


@dataclass(frozen=True)
class WindowedFeature:
    """An aggregate of an entity's events over (t - window, t], in milliseconds."""

    name: str
    op: str
    argument: str | None
    window: int
    default: float | None


class EntityFeatures:
    """Logs an event with its entity and computes the entity's aggregates.

    Parameters
    ----------
    features
        The aggregates of one entity.
    schema
        Of the events.
    lateness
        Milliseconds that an event may be older than its entity's newest and still be logged.
    typed
        Fields that the schema does not let be null never are, as in Avro; in JSON they may be.

    Examples
    --------
    >>> from operators.schema import parse
    >>> from state.keyed import MemoryState
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "amount", "type": "double"}]})
    >>> spent = WindowedFeature("spent_1m", "sum", "amount", 60_000, None)
    >>> features, state = EntityFeatures([spent], schema, 0), MemoryState()
    >>> features(Event("a", 0, ("c",), {"amount": 1.5}, {}), state)
    ([1.5], 1, False)
    >>> features(Event("b", 59_999, ("c",), {"amount": 2.0}, {}), state)
    ([3.5], 2, False)
    >>> features.look(Event("b", 59_999, ("c",), {"amount": 2.0}, {}), state)
    ([3.5], 2, False)
    """

    def __init__(
        self,
        features: Sequence[WindowedFeature],
        schema: Schema,
        lateness: int,
        typed: bool = False,
    ) -> None:
        self.names = [feature.name for feature in features]
        self.defaults = [feature.default for feature in features]
        arguments = list(dict.fromkeys(f.argument for f in features if f.argument is not None))
        logged = [_logged(argument, schema) for argument in arguments]
        codes: list[Column] = [code for code, _, _ in logged]
        self._values = [value for _, value, _ in logged]
        asked = [
            Asked(
                feature.op,
                feature.window,
                None if feature.argument is None else arguments.index(feature.argument),
            )
            for feature in features
        ]
        longest = max((feature.window for feature in features), default=0)
        meaning = ", ".join(
            f"{argument} as {code} of scale {scale}"
            for argument, (code, _, scale) in zip(arguments, logged, strict=True)
        )
        scales = [scale for _, _, scale in logged]
        leaves = [schema.fields.get(argument) for argument in arguments]
        never_null = [
            i for i, leaf in enumerate(leaves) if typed and leaf is not None and not leaf.nullable
        ]
        self._aggregates = Aggregates(asked, codes, scales, longest + lateness, meaning, never_null)

    def __call__(self, event: Event, state: KeyedState) -> tuple[list[float | None], int, bool]:
        """Return the features, the event's number in its key's sequence, and whether it is late.

        A feature without value takes its default, or is None where none is stated.
        """
        values = [value(event) for value in self._values]
        return self._filled(self._aggregates.update(state, event.time, values))

    def look(self, event: Event, state: KeyedState) -> tuple[list[float | None], int, bool]:
        """Return the same without logging the event: for one that has been logged before."""
        return self._filled(self._aggregates.look(state, event.time))

    def _filled(
        self, seen: tuple[list[float | None], int, bool]
    ) -> tuple[list[float | None], int, bool]:
        found, seq, late = seen
        if None in found:
            pairs = zip(found, self.defaults, strict=True)
            found = [default if value is None else value for value, default in pairs]
        return found, seq, late


def reads(features: Sequence[WindowedFeature], schema: Schema) -> tuple[list[str], list[str]]:
    """List the fields that aggregates read: by value for expressions, and as exact integers."""
    names = kinds(schema)
    fields: list[str] = []
    units: list[str] = []
    for feature in features:
        if feature.argument is None:
            continue
        leaf = schema.fields.get(feature.argument)
        if leaf is not None and leaf.integer:
            units.append(leaf.path)
        else:
            fields += Expression(feature.argument, names).reads
    return fields, units


def kinds(schema: Schema) -> dict[str, Kind]:
    """Return every field's path and kind, as expressions want them."""
    return {path: field.kind for path, field in schema.fields.items()}


def _logged(argument: str, schema: Schema) -> tuple[Column, Callable[[Event], Number], int]:
    """Choose how an aggregate's argument is logged: an exact integer where it can be."""
    leaf = schema.fields.get(argument)
    if leaf is not None and leaf.integer:

        def units(event: Event) -> Number:
            value = event.units[argument]
            return NULL if value is None else value

        return "q", units, leaf.scale
    expression = Expression(argument, kinds(schema))

    def number(event: Event) -> Number:
        value = _finite(expression(event.fields))
        return math.nan if value is None else value

    return "d", number, 0


class Formulas:
    """Computes the features of an event alone.

    Parameters
    ----------
    formulas
        The features.
    schema
        Of the events.
    typed
        Fields that the schema does not let be null never are.

    Raises
    ------
    FunctionError
        A function of one's own cannot be loaded.
    """

    def __init__(self, formulas: Sequence[Formula], schema: Schema, typed: bool = False) -> None:
        self.names = [formula.name for formula in formulas]
        self._defaults = [formula.default for formula in formulas]
        names = kinds(schema)
        self._functions: list[Callable[[Mapping[str, Any]], Any]] = []
        expressions: list[Expression] = []
        for formula in formulas:
            if formula.function is not None:
                self._functions.append(_guarded(formula.name, load_function(formula.function)))
            else:
                expressions.append(Expression(formula.expression or "", names))
                self._functions.append(expressions[-1])
        self._together = None
        if len(expressions) == len(formulas):
            self._together = _together(expressions, variables(schema, typed))

    def __call__(self, fields: Mapping[str, Any]) -> list[float | None]:
        """Compute them; one without value takes its default, or is None where none is stated."""
        if self._together is not None:
            try:
                numbers = self._together(fields)
                if math.isfinite(sum(numbers)):
                    return numbers
            except MISSING_CAUSES:
                pass
        pairs = zip(self._functions, self._defaults, strict=True)
        return [filled(function(fields), default) for function, default in pairs]


def variables(schema: Schema, typed: bool) -> Callable[[str], Variable]:
    """Return what stands for a field in Python over ``fields``, an event's."""

    def variable(path: str) -> Variable:
        return Variable(f"fields[{path!r}]", typed and not schema.fields[path].nullable)

    return variable


def _together(
    expressions: Sequence[Expression], variable: Callable[[str], Variable]
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Compile expressions to one function, which raises where one of them has no value."""
    # An integer may be too large for a float, and then has no value either.
    texts = [f"float({each.written(variable)})" for each in expressions]
    return define("formulas", "fields", [f"return [{', '.join(texts)}]"], {**SCOPE, "float": float})


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


def load_function(target: str) -> Callable[[Mapping[str, Any]], Any]:
    """Load ``/path/file.py:function``.

    Raises
    ------
    FunctionError
        There is no such file or function, or the file does not import.
    """
    file, _, name = target.rpartition(":")
    path = Path(file)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise FunctionError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise FunctionError(f"{path} does not import: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise FunctionError(f"{path} has no function '{name}'")
    typed: Callable[[Mapping[str, Any]], Any] = function
    return typed


def _guarded(
    name: str, function: Callable[[Mapping[str, Any]], Any]
) -> Callable[[Mapping[str, Any]], Any]:
    def guarded(fields: Mapping[str, Any]) -> Any:
        try:
            value = function(fields)
            return None if value is None else float(value)
        except Exception as error:
            raise BadRecord(
                "features",
                "function-error",
                f"feature '{name}' raised {type(error).__name__}: {error}",
            ) from error

    return guarded
