"""From an event and its entity's history to numbers."""

import importlib.util
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from hashlib import blake2b
from pathlib import Path
from typing import Any

from verdict.operators.errors import BadRecord, FunctionError
from verdict.operators.events.decode import Event
from verdict.operators.events.schema import Schema
from verdict.operators.expressions import MISSING_CAUSES, SCOPE, Expression, Kind, Variable
from verdict.operators.labels.read import Label
from verdict.state.codegen import define
from verdict.state.store.dedupe import ids_of
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.aggregates import Aggregates
from verdict.state.windows.plan import Asked, Column, Settled
from verdict.state.windows.result import Found
from verdict.state.windows.values import NEVER, NULL, Number

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LABEL = "label"
"""What an aggregate of labels has for its argument."""


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
    """An aggregate of an entity's events.

    Attributes
    ----------
    op
        One of `state.windows.plan.OPS`.
    argument
        An expression; None for events.
    over
        Milliseconds: the window is (t - delay - over, t - delay]. With ``decayed``, the half-life.
    where
        A condition; only events on which it holds count.
    current
        Whether the event itself counts.
    labelled
        It is of the events' labels, and ``argument`` is `LABEL`.
    silence
        An event without label is negative.
    """

    name: str
    op: str
    argument: str | None
    over: int
    default: float | None
    where: str | None = None
    delay: int = 0
    current: bool = True
    decayed: bool = False
    labelled: bool = False
    silence: bool = False

    @property
    def reach(self) -> int:
        """Milliseconds that its window reaches back; 0 where it is no window."""
        return 0 if self.decayed else self.delay + self.over


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
    >>> from verdict.operators.events.schema import parse
    >>> from verdict.state.store.keyed import MemoryState
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "amount", "type": "double"}]})
    >>> spent = WindowedFeature("spent_1m", "sum", "amount", 60_000, None)
    >>> features, state = EntityFeatures([spent], schema, 0), MemoryState()
    >>> features(Event("a", 0, ("c",), {"amount": 1.5}, {}), state)
    Found(values=[1.5], seq=1, late=False, cold=())
    >>> features(Event("b", 59_999, ("c",), {"amount": 2.0}, {}), state)
    Found(values=[3.5], seq=2, late=False, cold=())
    >>> features.look(Event("b", 59_999, ("c",), {"amount": 2.0}, {}), state)
    Found(values=[3.5], seq=2, late=False, cold=())
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
        kept = _Kept(schema, typed)
        asked = [
            Asked(
                feature.op,
                feature.over,
                kept.column(feature),
                feature.delay,
                feature.current,
                feature.decayed,
            )
            for feature in features
        ]
        longest = max((feature.reach for feature in features), default=0)
        self.columns = kept.columns
        self.labelled = any(feature.labelled for feature in features)
        """Whether labels are asked for."""
        self._values = kept.taker()
        self._aggregates = Aggregates(asked, kept.columns, longest + lateness)

    def __call__(self, event: Event, state: KeyedState) -> Found:
        """Log the event; return its features and what else it sees.

        A feature without value takes its default, or is None where none is stated.
        """
        found = self._aggregates.update(state, event.time, self._values(event))
        return self._filled(found) if None in found[0] else found

    def label(self, label: Label, state: KeyedState) -> str:
        """Take a label of one of the entity's events.

        Returns
        -------
        str
            One of `state.windows.result.OUTCOMES`.
        """
        assert label.event_time is not None
        row = label.event_time, _hashed(label.event_id), label.known_at, label.positive, label.rank
        return self._aggregates.label(state, row)

    def remembered(self, state: KeyedState) -> dict[str, Any]:
        """Say what is remembered of the state's key, in words and numbers that JSON knows.

        ``events`` counts those since it began; ``log`` has those that a window may still see, the
        newest last, with what is kept of each; ``features`` are as the newest of them saw them;
        ``labels`` wait for the event of that time to be old enough.
        """
        found, newest, rows, labels = self._aggregates.remembered(state)
        waiting = [
            {"time": _iso(at), "known_at": _iso(known_at), "positive": bool(positive), "rank": rank}
            for at, _, known_at, positive, rank in labels
        ]
        return {
            "events": found.seq,
            "newest": None if newest == NEVER else _iso(newest),
            "features": dict(zip(self.names, self._filled(found).values, strict=True)),
            "cold": [self.names[i] for i in found.cold],
            "ids": ids_of(state.get() or b"-"),
            "log": [
                {
                    "time": _iso(time),
                    **{
                        column.meaning: _plain(column, value)
                        for column, value in zip(self.columns, values, strict=True)
                    },
                }
                for time, *values in rows
            ],
            **({"labels": waiting} if self.labelled else {}),
        }

    def forget(self, state: KeyedState) -> None:
        """Erase what is remembered of the state's key."""
        self._aggregates.forget(state)

    @property
    def horizon(self) -> int:
        """Milliseconds of event time after which nothing of a silent entity is left."""
        return self._aggregates.horizon

    def look(self, event: Event, state: KeyedState) -> Found:
        """Return the same without logging the event: for one that has been logged before."""
        return self._filled(self._aggregates.look(state, event.time))

    def _filled(self, found: Found) -> Found:
        pairs = zip(found.values, self.defaults, strict=True)
        return found._replace(
            values=[default if value is None else value for value, default in pairs]
        )


class _Kept:
    """What is kept of an event for the aggregates: a column for each argument and condition."""

    def __init__(self, schema: Schema, typed: bool) -> None:
        self._schema = schema
        self._typed = typed
        self._names = kinds(schema)
        self.columns: list[Column] = []
        self._features: list[WindowedFeature | None] = []
        """What each column is for; None for the one of the events' ids."""

    def column(self, feature: WindowedFeature) -> int | None:
        """Return the index of the column that a feature is over; None where it counts events."""
        if feature.argument is None and feature.where is None:
            return None
        return self._place(self._column(feature), feature)

    def _place(self, column: Column, feature: WindowedFeature | None) -> int:
        if column not in self.columns:
            self.columns.append(column)
            self._features.append(feature)
        return self.columns.index(column)

    def _label(self, feature: WindowedFeature) -> Column:
        """Make the column of a label, and those that it needs."""
        where = self.column(replace(feature, argument=None, labelled=False))
        ids = self._place(Column("q", nullable=False, meaning="event id"), None)
        meaning = f"label after {feature.delay} ms"
        meaning += "" if feature.where is None else f" where {feature.where}"
        return Column(
            "q", meaning=meaning, label=Settled(feature.delay, ids, where, feature.silence)
        )

    def _column(self, feature: WindowedFeature) -> Column:
        if feature.labelled:
            return self._label(feature)
        argument, where = feature.argument, feature.where
        meaning = argument or "*"
        if feature.op == "distinct":
            meaning = f"distinct {meaning}"
        if where is not None:
            meaning += f" where {where}"
        if argument is None:
            return Column("?", meaning=meaning)
        if feature.op == "distinct":
            return Column("q", meaning=meaning)
        leaf = self._schema.fields.get(argument)
        if leaf is not None and leaf.integer:  # exact integers, where that can be
            certain = self._typed and not leaf.nullable and where is None
            return Column("q", leaf.scale, not certain, meaning)
        return Column("d", meaning=meaning)

    def taker(self) -> Callable[[Event], Sequence[Number]]:
        """Write the function that takes the columns' values out of an event."""
        variable = variables(self._schema, self._typed)
        lines = ["event_id, at, _, fields, units = event"]
        features = [feature for feature in self._features if feature is not None]
        conditions = list(dict.fromkeys(f.where for f in features if f.where is not None))
        for i, condition in enumerate(conditions):
            text = Expression(condition, self._names).written(variable)
            lines += [f"try: w{i} = {text}", f"except causes: w{i} = False"]
        for i, (feature, column) in enumerate(zip(self._features, self.columns, strict=True)):
            if feature is None:
                lines.append(f"v{i} = hashed(event_id)")
                continue
            if feature.labelled and column.label is not None:
                lines.append(f"v{i} = {NULL}")
                continue
            holds = "" if feature.where is None else f"w{conditions.index(feature.where)}"
            lines += self._value(i, feature, column, holds, variable)
        lines.append(f"return ({''.join(f'v{i}, ' for i in range(len(self.columns)))})")
        scope = {
            **SCOPE,
            "causes": MISSING_CAUSES,
            "float": float,
            "isfinite": math.isfinite,
            "nan": math.nan,
            "hashed": _hashed,
        }
        return define("taken", "event", lines, scope)

    def _value(
        self,
        i: int,
        feature: WindowedFeature,
        column: Column,
        holds: str,
        variable: Callable[[str], Variable],
    ) -> list[str]:
        argument = feature.argument
        if argument is None:
            return [f"v{i} = {holds}"]
        leaf = self._schema.fields.get(argument)
        missing = "nan" if column.code == "d" else str(NULL)
        if leaf is not None and leaf.integer:
            value = f"units[{argument!r}]"
            if not column.nullable:
                return [f"v{i} = {value}"]
            condition = f"{holds} and {value} is not None" if holds else f"{value} is not None"
            return [f"v{i} = {value} if {condition} else {missing}"]
        text = Expression(argument, self._names).written(variable)
        lines = [f"v{i} = float({text})", f"if not isfinite(v{i}): v{i} = nan"]
        if feature.op == "distinct":
            lines = [f"v{i} = hashed({text})"]
        if holds:
            lines = [f"if {holds}:", *(f"    {line}" for line in lines), f"else: v{i} = {missing}"]
        return ["try:", *(f"    {line}" for line in lines), f"except causes: v{i} = {missing}"]


def _plain(column: Column, value: Number) -> Any:
    """Make of what is kept what JSON knows; of a distinct value, 64 bits of it are."""
    if column.code == "?":
        return bool(value)
    if value == NULL or value != value:
        return None
    return value / 10**column.scale if column.scale else value


def _iso(time: int) -> str:
    return (EPOCH + timedelta(milliseconds=time)).isoformat(timespec="milliseconds")


def _hashed(value: Any) -> int:
    """Make 64 bits of a value; two of an entity's values are taken for one once in 2**64 pairs.

    >>> _hashed("shop-1") == _hashed("shop-1") != _hashed("shop-2")
    True
    """
    if isinstance(value, str):
        digest = blake2b(value.encode(), digest_size=8).digest()
    else:
        number = float(value) + 0.0  # a zero has no sign
        if not math.isfinite(number):
            raise ValueError
        digest = struct.pack("<d", number)
    found = int.from_bytes(digest, "little", signed=True)
    return found if found != NULL else NULL + 1


def reads(features: Sequence[WindowedFeature], schema: Schema) -> tuple[list[str], list[str]]:
    """List the fields that aggregates read: by value for expressions, and as exact integers."""
    names = kinds(schema)
    fields: list[str] = []
    units: list[str] = []
    for feature in features:
        if feature.where is not None:
            fields += Expression(feature.where, names).reads
        if feature.argument is None or feature.labelled:
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
                self._functions.append(_guarded(formula.name, load_function(formula.function)))
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
                return Variable(f"x{self.names.index(name)}", True)

            self._together = _together(expressions, variable)

    def __call__(
        self, fields: Mapping[str, Any], features: Sequence[float | None] = ()
    ) -> list[float | None]:
        """Compute them; one without value takes its default, or is None where none is stated."""
        if self._together is not None:
            try:
                numbers = self._together(fields, features)
                if math.isfinite(sum(numbers)):
                    return numbers
            except MISSING_CAUSES:
                pass
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


def variables(schema: Schema, typed: bool) -> Callable[[str], Variable]:
    """Return what stands for a field in Python over ``fields``, an event's."""

    def variable(path: str) -> Variable:
        return Variable(f"fields[{path!r}]", typed and not schema.fields[path].nullable)

    return variable


def _together(
    expressions: Sequence[Expression], variable: Callable[[str], Variable]
) -> Callable[[Mapping[str, Any], Sequence[float | None]], list[Any]]:
    """Compile expressions to one function, which raises where one of them has no value."""
    # An integer may be too large for a float, and then has no value either.
    lines = [f"x{i} = float({each.written(variable)})" for i, each in enumerate(expressions)]
    lines.append(f"return [{', '.join(f'x{i}' for i in range(len(expressions)))}]")
    return define("formulas", "fields, features", lines, {**SCOPE, "float": float})


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
