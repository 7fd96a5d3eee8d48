"""A bundle that is written is one that loads, with the vectors and baselines of its data."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.errors import BundleError
from verdict.operators.models.bundle import Bundle, load
from verdict.operators.models.card import Output
from verdict.operators.models.histogram import psi
from verdict.pipelines.models import write as bundles
from verdict.pipelines.paths import resource

ONNX = (resource("init/model") / "model.onnx").read_bytes()
NAMES = ["amount", "card_count_1h"]


def rows(count: int) -> Any:
    return np.array([[number * 1.5, number % 4 + 1] for number in range(count)], dtype=np.float64)


def write(folder: Path, count: int = 100, **changes: Any) -> Bundle:
    settings = {
        "name": "tiny",
        "version": "3",
        "features": NAMES,
        "output": Output(kind="probability"),
        "rows": rows(count),
        "watched": {name: rows(count)[:, i].tolist() for i, name in enumerate(NAMES)},
        "origin": {"code": "a test"},
    }
    return bundles.write(folder, ONNX, **{**settings, **changes})


def test_what_is_written_is_loaded_verified(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    card = write(folder).card
    assert load(folder).card == card
    assert (card.name, card.version, card.features) == ("tiny", "3", NAMES)
    assert card.sha256 == hashlib.sha256(ONNX).hexdigest()
    assert (folder / "model.onnx").read_bytes() == ONNX
    assert card.origin == {"code": "a test"}
    assert card.tolerance == 1e-5


@pytest.mark.parametrize(("count", "vectors"), [(1, 1), (7, 7), (100, 20), (999, 20)])
def test_test_vectors_are_taken_evenly_from_the_rows(
    tmp_path: Path, count: int, vectors: int
) -> None:
    bundle = write(tmp_path, count)
    taken = [vector.features for vector in bundle.card.vectors]
    step = max(count // bundles.VECTORS, 1)
    assert taken == rows(count)[::step][:vectors].tolist()
    assert [vector.score for vector in bundle.card.vectors] == [bundle(row)[0] for row in taken]


def test_baselines_are_of_each_feature_and_the_score(tmp_path: Path) -> None:
    bundle = write(tmp_path, watched={"amount": rows(100)[:, 0].tolist(), "other": [1.0, 2.0]})
    assert list(bundle.card.baseline) == ["amount", "other", "score"]
    assert all(sum(bundle.card.baseline[name].counts) == 100 for name in ("amount", "score"))
    assert bundle.card.baseline["amount"].counts == [10] * 10 + [0]


def test_a_model_that_does_not_fit_its_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        write(tmp_path, features=["amount"], rows=rows(10)[:, :1])


numbers = st.floats(-1e9, 1e9) | st.just(float("nan"))


@given(st.lists(numbers, max_size=60))
def test_a_baseline_counts_every_value_and_lies_at_no_distance_from_itself(
    values: list[float],
) -> None:
    baseline = bundles.baseline(values)
    known = [value for value in values if value == value]
    assert sum(baseline.counts) == len(values)
    assert baseline.counts[-1] == len(values) - len(known)
    assert len(baseline.edges) < bundles.BINS
    assert baseline.edges == sorted(set(baseline.edges))
    if known:
        assert min(known) - 1e-6 <= baseline.mean <= max(known) + 1e-6
        assert all(min(known) <= edge < max(known) for edge in baseline.edges)
    assert psi(baseline.counts, baseline.counts) == 0


def test_the_examples_bundles_are_right_and_small() -> None:
    folder = Path(__file__).parents[3] / "examples/card-fraud/models"
    for name in ("champion", "challenger"):
        bundle = load(folder / name)
        assert {*bundle.card.features, "score"} <= set(bundle.card.baseline)
        assert (folder / name / "model.onnx").stat().st_size < 1_000_000
        assert "AUC" in (folder / name / "MODEL_CARD.md").read_text()
