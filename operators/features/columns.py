"""Windowed features, and the columns of state that they are over."""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from verdict.operators.events.event import Event
from verdict.operators.events.schema import Schema
from verdict.operators.expressions import MISSING_CAUSES, SCOPE, Expression, Kind, Variable
from verdict.state.codegen import define
from verdict.state.windows.plan import Column, Settled
from verdict.state.windows.values import NULL, Number

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LABEL = "label"
"""What an aggregate of labels has for its argument."""


@dataclass(frozen=True)
class WindowedFeature:
    """An aggregate of an entity's events.

    Attributes
    ----------
    op
        One of `state.windows.aggregates.OPS`.
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


class FeatureColumns:
    """What is kept of an event for the aggregates: a column for each argument and condition."""

    def __init__(self, schema: Schema, typed: bool, entity: str = "") -> None:
        self._entity = entity
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
            lines += [f"try: holds_{i} = {text}", f"except causes: holds_{i} = False"]
        for i, (feature, column) in enumerate(zip(self._features, self.columns, strict=True)):
            if feature is None:
                lines.append(f"value_{i} = hashed(event_id)")
                continue
            if feature.labelled and column.label is not None:
                lines.append(f"value_{i} = {NULL}")
                continue
            holds = "" if feature.where is None else f"holds_{conditions.index(feature.where)}"
            lines += self._value(i, feature, column, holds, variable)
        lines.append(f"return ({''.join(f'value_{i}, ' for i in range(len(self.columns)))})")
        scope = {
            **SCOPE,
            "causes": MISSING_CAUSES,
            "float": float,
            "isfinite": math.isfinite,
            "nan": math.nan,
            "hashed": hashed,
        }
        return define("taken", "event", lines, scope, f"columns {self._entity}".rstrip())

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
            return [f"value_{i} = {holds}"]
        leaf = self._schema.fields.get(argument)
        missing = "nan" if column.code == "d" else str(NULL)
        if leaf is not None and leaf.integer:
            value = f"units[{argument!r}]"
            if not column.nullable:
                return [f"value_{i} = {value}"]
            condition = f"{holds} and {value} is not None" if holds else f"{value} is not None"
            return [f"value_{i} = {value} if {condition} else {missing}"]
        text = Expression(argument, self._names).written(variable)
        lines = [f"value_{i} = float({text})", f"if not isfinite(value_{i}): value_{i} = nan"]
        if feature.op == "distinct":
            lines = [f"value_{i} = hashed({text})"]
        if holds:
            lines = [
                f"if {holds}:",
                *(f"    {line}" for line in lines),
                f"else: value_{i} = {missing}",
            ]
        return ["try:", *(f"    {line}" for line in lines), f"except causes: value_{i} = {missing}"]


def plain(column: Column, value: Number) -> Any:
    """Make of what is kept what JSON knows; of a distinct value, 64 bits of it are."""
    if column.code == "?":
        return bool(value)
    if value == NULL or value != value:
        return None
    return value / 10**column.scale if column.scale else value


def iso(time: int) -> str:
    """Write a time, in milliseconds since the epoch, as ISO 8601 in UTC."""
    return (EPOCH + timedelta(milliseconds=time)).isoformat(timespec="milliseconds")


def hashed(value: Any) -> int:
    """Make 64 bits of a value; two of an entity's values are taken for one once in 2**64 pairs.

    >>> hashed("shop-1") == hashed("shop-1") != hashed("shop-2")
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


def variables(schema: Schema, typed: bool) -> Callable[[str], Variable]:
    """Return what stands for a field in Python over ``fields``, an event's."""

    def variable(path: str) -> Variable:
        return Variable(f"fields[{path!r}]", typed and not schema.fields[path].nullable)

    return variable
