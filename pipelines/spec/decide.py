"""The sections `model`, `decide` and `watch`."""

from pathlib import Path

from pydantic import Field, model_validator

from verdict.pipelines.spec.values import Duration, Name
from verdict.pipelines.spec.yaml_file import Fault, Model


class Models(Model):
    """The model that decides, and those that only watch.

    Example: ``model: {champion: models/a, challengers: [models/b]}``; ``model: models/a`` will do.
    """

    champion: Path
    """Bundle folder of the model that decides."""
    challengers: list[Path] = []
    """Bundle folders of the models that the ``shadow`` job scores beside it."""

    @model_validator(mode="after")
    def _each_once(self) -> "Models":
        for index, folder in enumerate(self.challengers):
            if folder in self.challengers[:index]:
                raise Fault(("challengers", index), f"the challenger {folder} stands twice")
        return self


class RuleSpec(Model):
    """A condition of your own on event, features and score.

    Example: ``{name: huge, when: amount > 5000, action: review}``
    """

    name: Name
    """Stands in the decision when the rule fired."""
    when: str
    """An expression over the event's fields, the features and ``score``. Where it has no value
    (a field is null), the rule does not fire."""
    action: Name | None = None
    """The first rule that fired and has an action decides. Without one it is only recorded."""


class Threshold(Model):
    """From this score on, this action.

    Example: ``{at: 0.9, action: decline}``
    """

    at: float
    """The smallest score it takes."""
    action: Name
    """The action."""


class DecideSpec(Model):
    """How a score becomes an action: rules first, then thresholds, then ``otherwise``."""

    rules: list[RuleSpec] = []
    """In order. Every rule that fired is recorded; the first of them with an action decides."""
    thresholds: list[Threshold] = []
    """From the highest to the lowest; the first that the score reaches decides."""
    otherwise: Name = "approve"
    """The action where nothing else decided."""
    missing: Name | None = None
    """The action where a feature has neither value nor default, so that no model can score the
    event. Without it such an event is a dead letter."""

    @model_validator(mode="after")
    def _ordered(self) -> "DecideSpec":
        for index, threshold in enumerate(self.thresholds[1:], 1):
            if threshold.at >= self.thresholds[index - 1].at:
                raise Fault(
                    ("thresholds", index),
                    f"threshold {threshold.at:g} comes after {self.thresholds[index - 1].at:g}: "
                    "they go from the highest to the lowest, each but once",
                )
        names = [rule.name for rule in self.rules]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise Fault(("rules", index), f"two rules are called '{name}'")
        return self


class Watch(Model):
    """How the ``watch`` job looks for drift. Its windows are of event time, and do not overlap."""

    window: Duration = 3_600_000
    """Length of a window."""
    psi_alarm: float = Field(default=0.25, gt=0)
    """PSI against the bundle's baseline from which a window raises an alarm. 0.1 to 0.25 is usually
    read as a moderate shift, above as a large one (Siddiqi, *Credit Risk Scorecards*, 2006)."""
    adwin_delta: float = Field(default=0.002, gt=0, lt=1)
    """ADWIN's confidence: the smaller, the fewer false alarms (Bifet and Gavaldà, 2007)."""
    min_events: int = Field(default=100, ge=1)
    """A window with fewer events is shown, but raises no alarm."""
    ignore: list[str] = []
    """Features that are not watched: those that follow the calendar more slowly than the window
    does, such as ``weekend`` in windows of a day."""
