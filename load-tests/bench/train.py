"""Trains the models of the benchmark's two pipelines.

    python load-tests/bench/train.py

What is fraud is made up: a payment far above its customer's habit, far from home, abroad or at
night is more likely to be. What matters is the work: 100 trees of depth 6 on 15 features, with
scores that lead to every action. Wants the ``train`` extra.
"""

import tempfile
from pathlib import Path

import events
import lightgbm
import numpy as np
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from rich.console import Console
from sklearn.metrics import roc_auc_score

from verdict.operators.models.card import Output
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.history.backfill import batches
from verdict.pipelines.models import write
from verdict.pipelines.spec.load import load

HERE = Path(__file__).parent
EVENTS = 120_000
WARM_UP = 40_000
"""Events left out at the beginning, whose windows are nearly empty."""
SEED = 2
"""Of a world that the benchmark does not play."""


def train(name: str) -> None:
    """Train one pipeline's model and write its bundle."""
    pipeline = load(HERE / f"{name}.yaml")
    names = list(pipeline.spec.features)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.avro"
        container = AvroFile(file, pipeline.schema.definition, length=0)
        container.append(event.value for event in events.encoded(EVENTS, seed=SEED))
        container.close()
        rows = np.concatenate(
            [
                np.column_stack([batch.column(name) for name in names])
                for batch in batches(pipeline, [file], features_only=True)
            ]
        )[WARM_UP:]

    def column(name: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = rows[:, names.index(name)]
        return found

    risk = (
        -4.5
        + 2.0 * np.log2(column("amount") / column("customer_mean_7d"))
        + 0.01 * column("amount")
        + 0.03 * column("distance")
        + 1.2 * column("abroad")
        + 0.8 * column("night")
        + 0.7 * column("online")
    )
    fraud = np.random.default_rng(SEED).random(len(rows)) < 1 / (1 + np.exp(-risk))
    booster = lightgbm.LGBMClassifier(
        n_estimators=100, max_depth=6, num_leaves=40, min_child_samples=50, learning_rate=0.08,
        reg_lambda=5.0, deterministic=True, force_row_wise=True, random_state=1, verbose=-1,
    )  # fmt: skip
    booster.fit(rows, fraud.astype(int))
    inputs = [("features", FloatTensorType([None, len(names)]))]
    model = convert_lightgbm(booster, initial_types=inputs, zipmap=False, target_opset=15)
    bundle = write.write(
        HERE / "models" / name, model.SerializeToString(),
        name=name, version="1", features=names, output=Output(kind="probability"),
        rows=rows[-5_000:], watched={}, origin={"code": "load-tests/bench/train.py"},
    )  # fmt: skip
    scores = np.array([bundle(row)[0] for row in rows[-5_000:].tolist()])
    depth = max(len(path) for path in _depths(booster))
    size = (bundle.folder / "model.onnx").stat().st_size
    Console().print(
        f"{name}: {size / 1000:.0f} kB, depth {depth}, fraud {fraud.mean():.1%}, "
        f"AUC {roc_auc_score(fraud[-5_000:], scores):.3f}, "
        f"scores >= 0.4: {(scores >= 0.4).mean():.1%}, >= 0.8: {(scores >= 0.8).mean():.1%}"
    )


def _depths(booster: lightgbm.LGBMClassifier) -> list[str]:
    """Return the way to every leaf, a letter a step."""
    ways: list[str] = []

    def walk(node: dict[str, object], way: str) -> None:
        if "left_child" not in node:
            ways.append(way)
            return
        walk(node["left_child"], way + "l")  # type: ignore[arg-type]
        walk(node["right_child"], way + "r")  # type: ignore[arg-type]

    for tree in booster.booster_.dump_model()["tree_info"]:
        walk(tree["tree_structure"], "")
    return ways


if __name__ == "__main__":
    for pipeline_name in ("one-entity", "two-entities"):
        train(pipeline_name)
