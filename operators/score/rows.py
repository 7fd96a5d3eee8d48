"""The end of a backfill: rows in the place of records."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from verdict.operators.features.formulas import Formulas
from verdict.operators.features.lookups import Lookups
from verdict.operators.meter import Meter
from verdict.operators.names import ROWS
from verdict.operators.policy.decide import Verdict
from verdict.operators.score.carry import Carry
from verdict.operators.score.finish import Finish


class Row(NamedTuple):
    """What a backfill keeps of an event; ``features`` in the order in which they become known.

    ``score`` and ``action`` are None where no model was asked, ``score`` also where
    ``decide.missing`` gave the action.
    """

    event_id: str
    event_time: int
    keys: Sequence[str | None]
    repeated: bool
    score: float | None
    action: str | None
    features: Sequence[float | None]


class ScoredRows(Finish):
    """Ends the last hop with what was decided, and leaves it unencoded."""

    output = ROWS


def scored_row(
    event_id: str,
    time: int,
    keys: Sequence[str | None],
    _money: bytes,
    repeated: bool,
    score: float | None,
    _classes: Sequence[float],
    verdict: Verdict,
    _implausible: Sequence[str],
    known: Sequence[float | None],
    _fields: Mapping[str, Any],
) -> Row:
    """Stand in the place of an encoder of decisions."""
    return Row(event_id, time, keys, repeated, score, verdict.action, known)


class FeatureRows:
    """Ends the last hop without a model: the features alone, to train one."""

    output = ROWS

    def __init__(self, formulas: Formulas, lookups: Lookups | None = None) -> None:
        self._formulas = formulas
        self.lookups = lookups

    def __call__(self, carry: Carry, meter: Meter, timed: bool) -> Row:
        """Return an event's row: its features, and no score."""
        event, features = carry.event, carry.features
        if self.lookups is not None:
            features.extend(self.lookups(event))
        features.extend(self._formulas(event.fields, features))
        return Row(event.id, event.time, carry.hops, carry.repeated, None, None, features)
