"""What a model puts out, read as a score: by its kind."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from verdict.operators.models.card import Output

Scored = tuple[float, Sequence[float]]
"""A score, and the class probabilities (empty but for ``classes``)."""


class ReadsOutput(Protocol):
    """The way from an ONNX output to scores."""

    def __call__(self, row: Any, /) -> Scored:
        """Return the score of one row, a list or a number."""
        ...

    def many(self, raw: Any, /) -> list[Scored]:
        """Return those of all rows of an output."""
        ...


def reader(output: Output) -> ReadsOutput:
    """Compile the way from the ONNX output to scores.

    Class probabilities come as an [N, C] tensor or, from the converters' default ZipMap, as one
    dictionary a row.
    """
    return _ClassReader(output) if output.kind in ("probability", "classes") else _Margin(output)


class _Margin:
    """Takes the one number of a row, or the first."""

    def __init__(self, output: Output) -> None:
        self._sign = -1.0 if output.negate else 1.0

    def __call__(self, row: Any) -> Scored:
        return self._sign * _first_of(row), ()

    def many(self, raw: Any) -> list[Scored]:
        return list(map(self, _rows(raw)))


def _rows(raw: Any) -> list[Any]:
    return list(raw.tolist()) if isinstance(raw, np.ndarray) else list(raw)


def _first_of(row: Any) -> float:
    while isinstance(row, list):
        row = row[0]
    return float(row)


class _ClassReader:
    """Adds up the probabilities of the positive classes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._vector = output.kind == "classes"
        self._length: int | None = None
        self._positive: list[int] = []

    def __call__(self, row: Any) -> Scored:
        if isinstance(row, dict):
            self._labels(list(row))
            values = [float(value) for value in row.values()]
        else:
            values = row if isinstance(row, list) else [row]
            if len(values) == 1 and not self._vector:  # the positive class alone
                return _first_of(values), ()
            if len(values) != self._length:
                labels = self._output.classes or range(len(values))
                if len(labels) != len(values):
                    raise ValueError(
                        f"{len(values)} classes come out, the card names {len(labels)}"
                    )
                self._labels(list(labels))
        score = 0.0
        for at in self._positive:
            score += values[at]
        return score, values if self._vector else ()

    def many(self, raw: Any) -> list[Scored]:
        known = self._length is not None and not self._vector and len(self._positive) == 1
        if known and isinstance(raw, np.ndarray) and raw.shape[1:] == (self._length,):
            return [(0.0 + score, ()) for score in raw[:, self._positive[0]].tolist()]
        return list(map(self, _rows(raw)))

    def _labels(self, labels: list[int | str]) -> None:
        strange = [label for label in self._output.positive if label not in labels]
        if strange:
            raise ValueError(f"no class is labelled {strange[0]!r}, but {labels}")
        self._positive = [labels.index(label) for label in self._output.positive]
        self._length = len(labels)
