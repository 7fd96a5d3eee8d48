"""Rows of a backfill as columns."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
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
    """From rows to Arrow's columns: rows go in, now and then a batch comes out.

    Parameters
    ----------
    pipeline
        Its entities and features name the columns.
    features_only
        Leave out score, action and model.
    labels
        Says each event's label, where there are files of labels; whether there are stays as it is.

    Raises
    ------
    SpecError
        Two columns would have one name.
    """

    def __init__(self, pipeline: Pipeline, features_only: bool, labels: Says | None = None) -> None:
        self.labels = labels
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
        self._forget()

    def __len__(self) -> int:
        return len(self._ids)

    def append(self, rows: Sequence[Row]) -> None:
        """Keep rows, turned around: of many rows there are a few lists then, not many tuples."""
        if not rows:
            return
        ids, times, keys, _, scores, actions, features = zip(*rows, strict=True)
        self._ids += ids
        self._times += times
        for kept, column in zip(self._keys, zip(*keys, strict=True), strict=True):
            kept += column
        if self._model is not None:
            self._scores += scores
            self._actions += actions
        self._width = len(features[0])
        start = len(self._features)
        try:
            self._features.extend(chain.from_iterable(features))
        except TypeError:  # None among them
            del self._features[start:]
            self._features.frombytes(np.array(features, np.float64).tobytes())

    def batch(self) -> pa.RecordBatch:
        """Make a batch of the rows kept, and forget them; NaN, and what has no value, is null."""
        count = len(self)
        columns = [pa.array(self._ids, pa.string()), pa.array(self._times, pa.int64()).cast(TIME)]
        columns += [pa.array(key, pa.string()) for key in self._keys]
        if self._model is not None:
            columns += [pa.array(self._scores, pa.float64()), pa.array(self._actions, pa.string())]
            columns.append(pa.array([self._model] * count, pa.string()))
        if self.labels is not None:
            columns.append(pa.array(map(self.labels, self._ids, self._times), pa.float64()))
        values = np.array(self._features).reshape(count, self._width).T
        for place in self._places:
            column = np.ascontiguousarray(values[place])
            columns.append(pa.array(column, mask=np.isnan(column)))
        self._forget()
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _forget(self) -> None:
        self._ids: list[str] = []
        self._times: list[int] = []
        self._keys: list[list[str | None]] = [[] for _ in self._entities]
        self._scores: list[float | None] = []
        self._actions: list[str | None] = []
        self._features = array("d")
        self._width = 0


def no_label(_event_id: str, _time: int) -> None:
    """Say nothing of any event."""
