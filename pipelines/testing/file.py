"""A file of tests beside a pipeline: events, and the decisions that they should lead to."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from verdict.pipelines.spec.values import Default
from verdict.pipelines.spec.yaml_file import Fault, Model

FILE = "pipeline_test.yaml"
"""Its name; ``fast_pipeline_test.yaml`` is one too."""
SCORE_TOLERANCE = 1e-6
"""What two machines' processors make of one score lies nearer; so it is the tolerance unless one is
stated."""
FEATURE_TOLERANCE = 1e-9
"""The same for features, relative: decimal numbers of a file are seldom exact in binary."""


class FeatureValue(Model):
    """What a feature should be.

    Example: ``customer_mean_1d: {value: 16.67, tolerance: 0.01}``; ``customer_mean_1d: 12.5`` will
    do, and so will ``true`` and ``false`` for 1 and 0.
    """

    value: Default
    """The number; ``null`` for a feature that has no value."""
    tolerance: float | None = Field(default=None, ge=0)
    """How far off it may be; without it 1e-9 of the value. 0 is to the last bit."""


def _value(value: Any) -> Any:
    if isinstance(value, Mapping | Model):
        return value
    if value is not None and not isinstance(value, int | float):
        raise ValueError(f"write a number, or {{value: 12.5, tolerance: 0.1}}, not {value!r}")
    return {"value": value}


def _id(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Expectation(Model):
    """What should come of one event. What is not named may be anything.

    Example: ``{event: t2, features: {customer_count_1h: 2}, score: 0.93, tolerance: 0.01, action:
    review}``
    """

    event: Annotated[str, BeforeValidator(_id)]
    """The event's id. Of an event that is sent twice, the first expectation is of the first time,
    the second of the second."""
    features: dict[str, Annotated[FeatureValue, BeforeValidator(_value)]] = {}
    """Feature -> its value. Those that are not named may have any."""
    score: float | None = None
    """The model's score; ``null`` where a feature without a value should keep the event from being
    scored."""
    tolerance: float | None = Field(default=None, ge=0)
    """How far off the score may be; without it 1e-6. 0 is to the last bit."""
    action: str | None = None
    """The action."""
    rules: list[str] | None = None
    """Every rule that should fire, in any order; ``[]`` for none."""
    dead_letter: str | None = None
    """The kind of dead letter that the event should become, such as ``implausible``."""

    @model_validator(mode="after")
    def _holds_something(self) -> "Expectation":
        stated = self.model_fields_set - {"event"}
        if "tolerance" in stated and self.score is None:
            raise Fault(("tolerance",), "'tolerance' is of the score: say which 'score', too")
        if not stated or (stated == {"features"} and not self.features):
            raise ValueError("say what comes of it: features, score, action, rules or dead_letter")
        if self.dead_letter is not None and len(stated) > 1:
            raise Fault(
                ("dead_letter",),
                "a dead letter has no features, score, action and rules: leave those out",
            )
        for name in ("action", "rules", "dead_letter"):
            if name in stated and getattr(self, name) is None:
                raise Fault((name,), f"'{name}' is empty: say which, or leave it out")
        return self


def _time(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000, UTC)
    return value


class ToldLabel(Model):
    """A label of one of the test's events.

    Example: ``{event: t2, known_at: 2026-01-08T12:00:00Z, source: bank}``
    """

    event: Annotated[str, BeforeValidator(_id)]
    """The event's id."""
    positive: bool = True
    """Whether it was what the model looks for."""
    known_at: Annotated[AwareDatetime, BeforeValidator(_time)]
    """When the source knew: ISO 8601 with its zone, or milliseconds. The label comes before the
    first event that is not older."""
    source: str = ""
    """Who says so."""


Fields = dict[str, Any]


class OneTest(Model):
    """Events in the order in which they come, from an empty state, and what should come of them."""

    name: str = Field(min_length=1)
    """What it shows, in a few words; no two tests of a file have the same."""
    given: Fields = {}
    """Fields of each of its events that does not say otherwise. Within a record, such as
    ``terminal: {country: FR}``, too."""
    events: list[Fields] = Field(min_length=1)
    """Written as JSON events are, whatever ``events.format`` is: a decimal is a number, a time
    is ISO 8601 with its zone or a number in the schema's unit, what is left out is null."""
    labels: list[ToldLabel] = []
    """What is said of them, of a pipeline with ``labels``."""
    expect: list[Expectation] = Field(min_length=1)
    """What should come of them. An event that is not named may lead to any decision, but not to a
    dead letter."""


class PipelineTests(Model):
    """Tests of a pipeline, in a file ``pipeline_test.yaml`` beside it; ``verdict test`` runs it."""

    pipeline: Path = Path("pipeline.yaml")
    """The pipeline file, relative to this one."""
    given: Fields = {}
    """Fields of each event of each test that does not say otherwise."""
    tests: list[OneTest] = Field(min_length=1)
    """The tests. Each has a state of its own."""

    @model_validator(mode="after")
    def _each_name_once(self) -> "PipelineTests":
        names = [test.name for test in self.tests]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise Fault(("tests", index, "name"), f"two tests are called '{name}'")
        return self
