"""What a comparison of decisions with their replay found, in figures."""

from dataclasses import asdict, dataclass, field
from typing import Any

from verdict.pipelines.parity.compare import Difference
from verdict.pipelines.replay.decisions import Decisions
from verdict.pipelines.replay.past import ReplayCounts


@dataclass
class ParitySummary:
    """What was compared.

    Attributes
    ----------
    decisions
        Read, each event's first.
    repeats
        Further copies of them, left out.
    events
        Read.
    compared
        Events whose decision was held against its replay.
    equal
        Of them, those whose decision is equal to the last byte.
    differing
        Of them, those with a difference.
    differences
        Values that differ.
    features
        Each feature, and what else a decision says: how many values are the ``same``, how many
        ``differs``, and how many were not compared, by reason.
    without_event
        Decisions whose event is not there: retention.
    without_decision
        Events between decided ones that were not decided.
    lost
        Of them, those that the replay decides, although no dead letter of them is there. Each is a
        difference.
    before_decisions
        Events that come before the first decided one of their partition or file.
    undecided
        Events that come after the last decided one of their partition or file.
    other_pipeline
        Decisions of another pipeline, left out.
    forced
        Events that were replayed although one that should have come before them never did.
    shown
        The first differences.
    """

    decisions: int = 0
    repeats: int = 0
    events: int = 0
    compared: int = 0
    equal: int = 0
    differing: int = 0
    differences: int = 0
    without_event: int = 0
    without_decision: int = 0
    lost: int = 0
    before_decisions: int = 0
    undecided: int = 0
    other_pipeline: int = 0
    forced: int = 0
    features: dict[str, dict[str, int]] = field(default_factory=dict)
    shown: list[Difference] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return {**asdict(self), "shown": [each.as_json() for each in self.shown]}

    def take_decisions(self, decisions: Decisions) -> None:
        """Take what there is to compare, once the events were looked through."""
        self.decisions = decisions.count
        self.repeats = decisions.repeats
        self.other_pipeline = decisions.other_pipeline
        self.without_event = decisions.count - sum(decisions.there)

    def take_replayed(self, replayed: ReplayCounts) -> None:
        """Take what became of the events."""
        self.events = replayed.events
        self.without_decision = replayed.without_decision
        self.before_decisions = replayed.before_decisions
        self.undecided = replayed.undecided
        self.forced = replayed.forced
