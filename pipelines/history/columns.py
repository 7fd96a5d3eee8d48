"""Rows of a backfill as columns."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from verdict.operators.features.columns import LABEL
from verdict.operators.models.card import read_card
from verdict.operators.score.rows import Row
from verdict.pipelines.errors import SpecError
from verdict.pipelines.jobs import parts
from verdict.pipelines.jobs.label_feed import LabelSummary
from verdict.pipelines.spec.pipeline import Pipeline

TIME = pa.timestamp("ms", "UTC")


@dataclass
class BackfillSummary:
    """What became of the events.

    ``events`` = ``rows`` + ``dead_letters`` + ``repeated``; the last are those that the producer
    sent again, whose first decision stands.
    """

    events: int = 0
    rows: int = 0
    dead_letters: int = 0
    repeated: int = 0
    labels: LabelSummary | None = None

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows; of labels, where there are files of them."""
        found = asdict(self)
        if self.labels is None:
            del found["labels"]
        return found


Says = Callable[[str, int], float | None]
"""An event's id and time -> its label."""


class Columns:
    """From rows to Arrow's columns.

    Parameters
    ----------
    pipeline
        Its entities and features name the columns.
    features_only
        Leave out score, action and model.
    labels
        Says each event's label, where there are files of labels.

    Raises
    ------
    SpecError
        Two columns would have one name.
    """

    def __init__(self, pipeline: Pipeline, features_only: bool, labels: Says | None = None) -> None:
        self._labels = labels
        known = parts.known(pipeline)
        self._model: str | None = None
        if not features_only:
            card = read_card(pipeline.models[0])
            self._model = f"{card.name}:{card.version}"
        decided = [] if features_only else ["score", "action", "model"]
        self._entities = pipeline.entities
        self._places = [known.index(name) for name in pipeline.spec.features]
        label = [LABEL] if labels is not None else []
        names = ["event_id", "event_time", *self._entities, *decided, *label]
        names += pipeline.spec.features
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SpecError(
                [
                    f"{pipeline.path}: two columns of a backfill would be named '{twice[0]}': "
                    "rename the feature or the entity"
                ]
            )
        types = {"event_time": TIME, "score": pa.float64(), LABEL: pa.float64()}
        types |= dict.fromkeys(pipeline.spec.features, pa.float64())
        self.schema = pa.schema([(name, types.get(name, pa.string())) for name in names])

    def __call__(self, rows: Sequence[Row]) -> pa.RecordBatch:
        """Turn rows around; NaN, and what has no value, is null."""
        ids, times, keys, _, scores, actions, features = zip(*rows, strict=True)
        columns = [pa.array(ids, pa.string()), pa.array(times, pa.int64()).cast(TIME)]
        columns += [pa.array(key, pa.string()) for key in zip(*keys, strict=True)]
        if self._model is not None:
            columns += [pa.array(scores, pa.float64()), pa.array(actions, pa.string())]
            columns.append(pa.array([self._model] * len(rows), pa.string()))
        if self._labels is not None:
            columns.append(pa.array(map(self._labels, ids, times), pa.float64()))
        values = np.array(features, np.float64).reshape(len(rows), len(features[0]))
        for place in self._places:
            column = np.ascontiguousarray(values[:, place])
            columns.append(pa.array(column, mask=np.isnan(column)))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def no_label(_event_id: str, _time: int) -> None:
    """Say nothing of any event."""
