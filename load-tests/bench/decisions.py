"""What the contestants decided, read back and compared: the same scores, features and actions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import yaml
from events import event_number
from handmade import FEATURES, schema

from verdict.pipelines.paths import resource

HERE = Path(__file__).parent


class Wrong(Exception):
    """A contestant decided something else than another, or not everything."""


def verdict_decoder() -> Callable[[bytes], dict[str, Any]]:
    """Compile a decoder of verdict's decisions."""
    return _decoder(fastavro.schema.load_schema(resource("avro/decision.avsc")))


def flat_decoder() -> Callable[[bytes], dict[str, Any]]:
    """Compile a decoder of the peers' decisions, to the shape of verdict's."""
    decode = _decoder(schema("decision.avsc"))

    def nested(value: bytes) -> dict[str, Any]:
        record = decode(value)
        return {**record, "features": {name: record[name] for name in FEATURES}}

    return nested


def _decoder(parsed: Any) -> Callable[[bytes], dict[str, Any]]:
    def decode(value: bytes) -> dict[str, Any]:
        record: dict[str, Any] = fastavro.schemaless_reader(BytesIO(value), parsed, None)
        return record

    return decode


def feature_names(pipeline: str) -> list[str]:
    """Return a pipeline's features, in the order of its file."""
    return list(yaml.safe_load((HERE / f"{pipeline}.yaml").read_text("utf-8"))["features"])


@dataclass(frozen=True)
class Decisions:
    """What one contestant decided, a row an event.

    Attributes
    ----------
    who
        The contestant.
    names
        Of the features.
    scores, features, actions
        Of each event.
    last_bit
        Features that may differ from another's in their last bit.
    """

    who: str
    names: list[str]
    scores: npt.NDArray[np.float64]
    features: npt.NDArray[np.float64]
    actions: npt.NDArray[np.str_]
    last_bit: Sequence[str] = ()

    @classmethod
    def collect(
        cls,
        who: str,
        names: list[str],
        count: int,
        values: Iterable[bytes],
        decode: Callable[[bytes], dict[str, Any]],
        last_bit: Sequence[str] = (),
    ) -> "Decisions":
        """Decode a contestant's decisions.

        Raises
        ------
        Wrong
            An event is missing, decided twice, or nobody's.
        """
        scores = np.full(count, np.nan)
        features = np.full((count, len(names)), np.nan)
        actions = np.empty(count, dtype="U8")
        seen = np.zeros(count, dtype=np.int64)
        for value in values:
            decision = decode(value)
            number = event_number(decision["event_id"])
            if not 0 <= number < count:
                raise Wrong(f"{who} decided {decision['event_id']}, which is no event")
            seen[number] += 1
            scores[number] = decision["score"]
            features[number] = [decision["features"][name] for name in names]
            actions[number] = decision["action"]
        if (seen != 1).any():
            missing, twice = int((seen == 0).sum()), int((seen > 1).sum())
            raise Wrong(f"{who} did not decide {missing:,} events, and {twice:,} more than once")
        return cls(who, names, scores, features, actions, last_bit)

    def compare(self, other: "Decisions") -> float:
        """Hold two contestants against each other; return the largest difference of a score.

        Raises
        ------
        Wrong
            A feature differs at all, a score by more than 1e-6, or an action.
        """
        for column, name in enumerate(self.names):
            mine, others = self.features[:, column], other.features[:, column]
            unequal = mine != others
            if name in (*self.last_bit, *other.last_bit):
                unequal &= np.nextafter(mine, others) != others
            if unequal.any():
                at = int(unequal.argmax())
                ours, theirs = self.features[at, column], other.features[at, column]
                raise Wrong(
                    f"feature '{name}' of event {at}: {ours!r} by {self.who}, {theirs!r} by "
                    f"{other.who}; {int(unequal.sum()):,} events differ"
                )
        differences = np.abs(self.scores - other.scores)
        if not (differences <= 1e-6).all():
            at = int(np.nanargmax(differences))
            raise Wrong(
                f"the score of event {at}: {self.scores[at]!r} by {self.who}, "
                f"{other.scores[at]!r} by {other.who}"
            )
        if (self.actions != other.actions).any():
            at = int((self.actions != other.actions).argmax())
            raise Wrong(
                f"the action for event {at}: {self.actions[at]} by {self.who}, "
                f"{other.actions[at]} by {other.who}"
            )
        return float(differences.max())
