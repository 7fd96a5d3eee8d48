"""The section `features`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from verdict.pipelines.spec.values import Default, Duration, Function, Name
from verdict.pipelines.spec.yaml_file import Fault, Model
from verdict.state.windows.aggregates import DECAYED, DELAYED, OPS


class ExpressionFeature(Model):
    """A feature computed from the event's fields, and from other features.

    Example: ``night: {expr: "hour(event_time) < 6", default: 0}``; without a default,
    ``night: hour(event_time) < 6`` will do.
    """

    expr: str
    """An expression over the event's fields and the other features: ``amount / (mean_30d + 1)``."""
    default: Default = None
    """Its value where the expression has none (a field is null, a division by zero)."""


class AggregateFeature(Model):
    """An aggregate of an entity's events over the exact sliding window (t - over, t].

    Example: ``spent_7d: {sum: amount, over: 7d, by: customer, where: "channel == 'online'"}``
    """

    count: str | None = None
    """``"*"`` counts events; an expression counts those in which it has a value."""
    sum: str | None = None
    """Expression to add up."""
    mean: str | None = None
    """Expression to average."""
    std: str | None = None
    """Expression whose standard deviation to take, that of a sample: of less than two values there
    is none."""
    min: str | None = None
    """Expression to take the smallest of."""
    max: str | None = None
    """Expression to take the largest of."""
    first: str | None = None
    """Expression to take the first value of in the window."""
    last: str | None = None
    """Expression to take the last value of."""
    distinct: str | None = None
    """Expression whose distinct values to count; it may be text."""
    time_since_last: str | None = None
    """Seconds since the event before this one in the window: ``"*"`` for any, or an expression that
    has a value there."""
    rate: Literal["label"] | None = None
    """``label``: the share of the window's events whose label is positive, of all its events. With
    a ``delay``; ``count``, ``sum`` and ``mean`` of ``label`` are of the events with a label alone.
    See ``labels``."""
    over: Duration | None = None
    """The window's length."""
    half_life: Duration | None = None
    """Instead of a window: an event's weight halves in this time. Of ``count``, ``sum`` and
    ``mean``."""
    by: Name
    """The entity."""
    where: str | None = None
    """A condition over the event's fields: only events on which it holds count."""
    delay: Duration | None = None
    """The window ends so much before the event: (t - delay - over, t - delay]. Of ``count``,
    ``sum``, ``mean``, ``std``, ``rate``."""
    current: bool = True
    """Whether the event itself counts; with ``false``, only those that came before."""
    default: Default = None
    """Its value where there is none: the event lacks the entity, or the mean of nothing."""

    @model_validator(mode="after")
    def _one_op(self) -> "AggregateFeature":
        if sum(getattr(self, op) is not None for op in OPS) != 1:
            raise ValueError(f"say exactly one of {', '.join(OPS)}")
        if (self.over is None) == (self.half_life is None):
            raise ValueError("say either 'over', a window's length, or 'half_life'")
        if self.op == "rate" and self.delay is None:
            raise ValueError("'rate' is of labels, which come late: say a 'delay' to wait for them")
        if self.half_life is not None and self.op not in DECAYED:
            raise Fault(("half_life",), f"'half_life' goes with {', '.join(DECAYED)}")
        if self.delay is not None and (self.op not in DELAYED or self.half_life is not None):
            raise Fault(("delay",), f"'delay' goes with {', '.join(DELAYED)} over a window")
        if self.delay is not None and not self.current:
            raise Fault(("current",), "a window with a 'delay' never holds the event itself")
        if not self.current and self.op == "time_since_last":
            raise Fault(("current",), "'time_since_last' never looks at the event itself")
        return self

    @property
    def op(self) -> str:
        """The aggregate's name."""
        return next(op for op in OPS if getattr(self, op) is not None)

    @property
    def argument(self) -> str | None:
        """The expression it aggregates; None where it is about events."""
        argument: str = getattr(self, self.op)
        return None if self.op in ("count", "time_since_last") and argument == "*" else argument

    @property
    def reach(self) -> int:
        """Milliseconds that its window reaches back; 0 with a half-life."""
        return (self.over or 0) + (self.delay or 0)


class PythonFeature(Model):
    """A feature computed by a function of your own.

    It takes the event's fields (a mapping of dotted paths) and returns a number, or None where it
    has no value.

    Example: ``distance: {python: "my_features.py:distance", reads: [lat, lon], default: -1}``
    """

    python: Function
    """``file.py:function``, the file relative to the pipeline file."""
    reads: list[str]
    """Paths of the fields that the function takes."""
    default: Default = None
    """Its value where the function returns None."""


class LookupFeature(Model):
    """A feature that stands in a table of ``lookups``.

    It is a number of the row that has the event's key, or whether there is one. Its value is in the
    decision.

    Example: ``merchant_risk: {lookup: merchants, field: risk, default: 0}``;
    ``blocked: {listed_in: blocked_cards}`` is 1 or 0.
    """

    lookup: Name | None = None
    """The table."""
    field: str | None = None
    """Path of the number in its row; true is 1."""
    listed_in: Name | None = None
    """Instead of these two: 1 where this table has a row for the event that has not expired, else
    0."""
    default: Default = None
    """Its value where there is no row, it has expired, or the field is null."""

    @model_validator(mode="after")
    def _one_way(self) -> "LookupFeature":
        if (self.lookup is None) == (self.listed_in is None):
            raise ValueError("say either 'lookup' and 'field', or 'listed_in'")
        if self.lookup is not None and self.field is None:
            raise ValueError("say which 'field' of the row; 'listed_in' asks whether there is one")
        if self.listed_in is not None and self.field is not None:
            raise Fault(("field",), "'listed_in' looks at no field; with one it is 'lookup'")
        if self.listed_in is not None and self.default is not None:
            raise Fault(("default",), "'listed_in' is 1 or 0 and never needs a default")
        return self

    @property
    def table(self) -> str:
        """The table's name."""
        return self.lookup or self.listed_in or ""


def _feature_kind(value: Any) -> str:
    if isinstance(value, Model):
        return type(value).__name__
    if not isinstance(value, Mapping) or "expr" in value:
        return "ExpressionFeature"
    if "lookup" in value or "listed_in" in value:
        return "LookupFeature"
    return "PythonFeature" if "python" in value else "AggregateFeature"


def _shorthand(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return {"expr": str(value)}
    if not isinstance(value, Mapping | Model):
        raise ValueError("write an expression, or an aggregate: {sum: amount, over: 7d, by: card}")
    return value


Feature = Annotated[
    Annotated[ExpressionFeature, BeforeValidator(_shorthand), Tag("ExpressionFeature")]
    | Annotated[AggregateFeature, Tag("AggregateFeature")]
    | Annotated[PythonFeature, Tag("PythonFeature")]
    | Annotated[LookupFeature, Tag("LookupFeature")],
    Discriminator(_feature_kind),
]
