"""A decision and its replay, held against each other field by field."""

import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from verdict.operators.expressions import Expression, Kind
from verdict.operators.features.columns import WindowedFeature
from verdict.pipelines.jobs import parts
from verdict.pipelines.replay.gaps import Gap
from verdict.pipelines.spec.pipeline import Pipeline

SAME, DIFFERS = "same", "differs"
COLD, HISTORY, LOOKUP, ABSENT, MODEL = "cold", "history", "lookup", "absent", "model"
REASONS: Mapping[str, str] = {
    COLD: "cold when it was decided: its window reached back behind what was remembered",
    HISTORY: "events before it are not there any more, or not all of them",
    LOOKUP: "looked up: the table has moved on, so the recorded value is taken",
    ABSENT: "the pipeline that decided had no such feature, or this one has it no more",
    MODEL: "another model decided",
}
"""Why a value is not compared -> in words."""
OUTCOME = ("score", "action", "because", "rules")
"""What a decision says beside features and hops."""
KEY, SEQ, LATE = "key of {}", "hop_seq of {}", "late at {}"
"""What a hop says of itself."""
GUESSED = "events without decision share its key: their place is a guess"
LABELS = "a label came when it did not count any more (labels_late_total), or was added since"
LETTER = "decision"
"""What differs where the job decided an event and the replay does not, or the other way round."""
LOST = "no decision of it: lost, dead letter then, or removed by retention of the decisions topic"


class Difference(NamedTuple):
    """One value that is another one in the replay.

    ``feature`` is a feature, or ``score``, ``action``, ``because``, ``rules``, or what a hop says:
    ``hop_seq of customer``.
    """

    event_id: str
    source: str
    feature: str
    decided: Any
    replayed: Any
    why: str

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows: NaN as text."""
        return {
            **self._asdict(),
            "decided": _plain(self.decided),
            "replayed": _plain(self.replayed),
        }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same: numbers to the bit, any NaN as any other.

    >>> alike(float("nan"), -float("nan")), alike(0.0, -0.0), alike(None, 0.0)
    (True, False, False)
    """
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or (one != one and other != other)
    return bool(one == other)


class Compare:
    """Compares decisions with their replay, and counts.

    Parameters
    ----------
    pipeline
        The one of the replay.

    Attributes
    ----------
    equal
        Decisions that are equal to the last byte, which whoever saw it counts here.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.equal = 0
        self._counts: dict[str, Counter[str]] = {}
        self._names = [*pipeline.spec.features, *OUTCOME]
        for entity in pipeline.entities:
            self._names += [each.format(entity) for each in (KEY, SEQ, LATE)]
        self._hops: dict[str, Sequence[WindowedFeature]] = {
            entity: pipeline.windowed(entity) for entity in pipeline.entities
        }
        self._looked_up = set(parts.known(pipeline)) - {
            *(each.name for features in self._hops.values() for each in features),
            *(formula.name for formula in pipeline.formulas),
        }
        names = {**pipeline.rule_names, **dict.fromkeys(pipeline.spec.features, Kind.NUMBER)}
        self._reads: dict[str, list[str]] = {}
        """Feature -> the features that it is derived from."""
        for formula in pipeline.formulas:
            read: Sequence[str] = ()
            if formula.expression is not None:
                read = Expression(formula.expression, names).reads
            known = pipeline.schema.fields
            self._reads[formula.name] = [
                name for name in read if name in pipeline.spec.features and name not in known
            ]

    def __call__(
        self,
        decided: Mapping[str, Any],
        replayed: Mapping[str, Any],
        gaps: Sequence[Gap | None],
        source: str,
        guessed: Sequence[bool] = (),
    ) -> list[Difference]:
        """Compare one.

        ``gaps`` has what each hop's history lacks, ``guessed`` whether the key has events there
        that were not decided, so that their place is a guess.
        """
        self._differing: list[tuple[str, Any, Any, str]] = []
        self._without: dict[str, str] = {}
        """Feature -> why it is not compared."""
        hops = {hop["entity"]: hop for hop in decided["hops"]}
        self._others: set[str] = set()
        """Features that differ."""
        for index, (again, gap) in enumerate(zip(replayed["hops"], gaps, strict=True)):
            why = GUESSED if index < len(guessed) and guessed[index] else ""
            self._hop(hops.get(again["entity"]), again, gap, decided, replayed, why)
        for name in self._looked_up:
            self._without[name] = LOOKUP if name in decided["features"] else ABSENT
            self._count(name, self._without[name])
        for name, reads in self._reads.items():
            self._derived(name, reads, decided["features"], replayed["features"])
        for name in decided["features"].keys() - replayed["features"].keys():
            self._count(name, ABSENT)
        self._compare_outcome(decided, replayed)
        event_id = decided["event_id"]
        return [Difference(event_id, source, *each) for each in self._differing]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return by name how many of its values are ``same``, ``differs`` and so on."""
        rows = {}
        for name in dict.fromkeys((*self._names, *self._counts)):
            found = dict(self._counts.get(name, ()))
            if self.equal and name in self._names:
                what = LOOKUP if name in self._looked_up else SAME
                found[what] = found.get(what, 0) + self.equal
            rows[name] = found
        return rows

    def died(self, decided: Mapping[str, Any], source: str, reason: str) -> Difference:
        """Count a decided event that is a dead letter in the replay."""
        self._count(LETTER, DIFFERS)
        why = "the checks, the schema or a default changed"
        return Difference(decided["event_id"], source, LETTER, decided["action"], reason, why)

    def lost(self, replayed: Mapping[str, Any], source: str) -> Difference:
        """Count an event that the replay alone decides."""
        self._count(LETTER, DIFFERS)
        return Difference(replayed["event_id"], source, LETTER, None, replayed["action"], LOST)

    def _count(self, name: str, what: str) -> None:
        self._counts.setdefault(name, Counter())[what] += 1

    def _hop(
        self,
        hop: Mapping[str, Any] | None,
        again: Mapping[str, Any],
        gap: Gap | None,
        decided: Mapping[str, Any],
        replayed: Mapping[str, Any],
        others: str,
    ) -> None:
        entity = again["entity"]
        if hop is not None:
            others = self._compare_hop(hop, again, gap, others)
        cold = () if hop is None else hop["cold"]
        at = decided["event_time"]
        for feature in self._hops[entity]:
            name = feature.name
            if hop is None or name not in decided["features"]:
                self._leave(name, ABSENT)
            elif name in cold:
                self._leave(name, COLD)
            elif gap is not None and not _covered(feature, gap, at):
                self._leave(name, HISTORY)
            else:
                why = others or (LABELS if feature.labelled else "")
                self._value(name, decided["features"], replayed["features"], why)

    def _compare_hop(
        self, hop: Mapping[str, Any], again: Mapping[str, Any], gap: Gap | None, others: str
    ) -> str:
        """Compare what a hop says of itself; return why its features may differ."""
        entity = again["entity"]
        seq = again["hop_seq"]
        if seq is not None and gap is not None:
            seq += gap.missing
        if not self._same(KEY.format(entity), hop["key"], again["key"], "the entity's key changed"):
            others = "the key differs"
        elif not self._same(
            SEQ.format(entity), hop["hop_seq"], seq, _numbered(hop["hop_seq"], seq)
        ):
            others = f"{SEQ.format(entity)} differs: other events came before"
        if gap is None or gap.since is not None:
            self._same(LATE.format(entity), hop["late"], again["late"], others)
        else:
            self._count(LATE.format(entity), HISTORY)
        return others

    def _derived(
        self,
        name: str,
        reads: Sequence[str],
        decided: Mapping[str, float],
        replayed: Mapping[str, float],
    ) -> None:
        without = [
            self._without[read] for read in reads if self._without.get(read, LOOKUP) != LOOKUP
        ]
        if name not in decided:
            self._leave(name, ABSENT)
        elif without:
            self._leave(name, without[0])
        else:
            other = [read for read in reads if read in self._others]
            self._value(name, decided, replayed, _follows(other))

    def _compare_outcome(self, decided: Mapping[str, Any], replayed: Mapping[str, Any]) -> None:
        """Compare the decision itself, where everything that it is made of can be compared."""
        without = [why for why in self._without.values() if why != LOOKUP]
        other = decided["model"]["sha256"] != replayed["model"]["sha256"]
        for name in OUTCOME:
            if without or other:
                self._count(name, without[0] if without else MODEL)
                continue
            why = _follows([each for each in self._inputs_of(name) if each in self._others])
            if not why and name != "score":
                why = "rules or thresholds changed, or the decision did"
            if not self._same(name, decided[name], replayed[name], why):
                self._others.add(name)

    def _inputs_of(self, name: str) -> Sequence[str]:
        """List what a part of the decision is made of, the nearest alone where it differs."""
        nearest = {"action": "score", "because": "action"}.get(name)
        return [nearest] if nearest in self._others and nearest else self._names

    def _leave(self, name: str, why: str) -> None:
        self._without[name] = why
        self._count(name, why)

    def _value(
        self, name: str, decided: Mapping[str, float], replayed: Mapping[str, float], why: str
    ) -> None:
        why = why or "its definition changed, or the decision did"
        if not self._same(name, decided[name], replayed[name], why):
            self._others.add(name)

    def _same(self, name: str, decided: Any, replayed: Any, why: str) -> bool:
        same = alike(decided, replayed)
        self._count(name, SAME if same else DIFFERS)
        if not same:
            self._differing.append((name, decided, replayed, why))
        return same


def _covered(feature: WindowedFeature, gap: Gap, at: int) -> bool:
    """Whether a window begins no earlier than where a history is whole again."""
    return gap.since is not None and not feature.decayed and at - feature.reach >= gap.since


def _follows(others: Sequence[str]) -> str:
    return f"follows from {', '.join(others)}" if others else ""


def _numbered(decided: int | None, replayed: int | None) -> str:
    if decided is None or replayed is None:
        return "only one of the two went through this hop"
    if decided < replayed:
        return "its key began anew: its state was lost, forgotten by command, or a new job's"
    return "events of its key that came before are not there"
