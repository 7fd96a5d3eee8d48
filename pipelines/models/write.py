"""Writes a model bundle: hash, test vectors and baselines beside the ONNX file."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from verdict.operators.models import bundle as bundles
from verdict.operators.models import card
from verdict.operators.models.bundle import Bundle
from verdict.operators.models.card import Card, Output, Vector
from verdict.operators.models.histogram import count, quantile_edges

BINS = 10
"""Bins of a baseline: deciles, as PSI is usually read."""
VECTORS = 20
"""Test vectors of a bundle."""


def write(
    folder: Path,
    onnx: bytes,
    *,
    name: str,
    version: str,
    features: Sequence[str],
    output: Output,
    rows: "np.ndarray[Any, np.dtype[np.float64]]",
    watched: Mapping[str, Sequence[float]],
    origin: Mapping[str, str | int | float],
) -> Bundle:
    """Write a bundle and load it back, verified.

    Parameters
    ----------
    folder
        Of the bundle; made if it is not there.
    onnx
        The serialised model.
    name, version
        Of the model.
    features
        Their names, in the model's order.
    output
        How the ONNX output becomes a score.
    rows
        ``[N, F]``, of the training or the test set; the test vectors are taken from them evenly.
    watched
        Name -> values that the drift baselines are made of: every feature the pipeline computes.
        The score's baseline is made of ``rows``.
    origin
        Where the model came from.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from verdict.pipelines.paths import resource
    >>> model = resource("init/model/model.onnx").read_bytes()
    >>> rows = np.array([[20.0, 1.0], [249.0, 3.0]])
    >>> with TemporaryDirectory() as folder:
    ...     bundle = write(
    ...         Path(folder),
    ...         model,
    ...         name="tiny",
    ...         version="2",
    ...         features=["amount", "card_count_1h"],
    ...         output=Output(kind="probability"),
    ...         rows=rows,
    ...         watched={"amount": rows[:, 0].tolist()},
    ...         origin={"code": "an example"},
    ...     )
    >>> [round(vector.score, 6) for vector in bundle.card.vectors]
    [0.057324, 0.816078]
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(onnx)
    draft = Card(
        name=name,
        version=version,
        sha256=hashlib.sha256(onnx).hexdigest(),
        features=list(features),
        output=output,
        vectors=[Vector(features=rows[0].tolist(), score=0.0)],
        tolerance=float("inf"),
    )
    _save(folder, draft)
    bundle = bundles.load(folder)
    scores = [bundle(row)[0] for row in rows.tolist()]
    step = max(len(rows) // VECTORS, 1)
    picked = range(0, len(rows), step)[:VECTORS]
    card = draft.model_copy(
        update={
            "vectors": [Vector(features=rows[i].tolist(), score=scores[i]) for i in picked],
            "tolerance": Card.model_fields["tolerance"].default,
            "baseline": {
                **{key: baseline(values) for key, values in watched.items()},
                "score": baseline(scores),
            },
            "origin": dict(origin),
        }
    )
    _save(folder, card)
    return bundles.load(folder)


def baseline(values: Sequence[float]) -> card.Baseline:
    """Make a baseline: bins of about equal population, and the moments.

    >>> baseline([1.0, 2.0, 2.0, 3.0]).mean
    2.0
    """
    edges = quantile_edges(list(values), BINS)
    known = np.asarray([value for value in values if value == value], dtype=np.float64)
    return card.Baseline(
        edges=[float(edge) for edge in edges],
        counts=count(edges, list(values)),
        mean=float(known.mean()) if len(known) else 0.0,
        std=float(known.std()) if len(known) else 0.0,
    )


def _save(folder: Path, card: Card) -> None:
    text = yaml.safe_dump(
        card.model_dump(exclude_none=True), sort_keys=False, width=100, default_flow_style=None
    )
    (folder / "model.yaml").write_text(text, "utf-8")
