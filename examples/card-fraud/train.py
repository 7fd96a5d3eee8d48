"""Trains the champion and the challenger of the card-fraud pipeline.

    python examples/card-fraud/train.py

Plays several worlds of the generator, takes every event's features from the pipeline's own
operators, trains on the days up to `TRAIN_UNTIL` and measures on days that neither model has seen.
Writes ``models/{champion,challenger}/`` with their model cards. Wants the ``train`` extra.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generator
import lightgbm
import numpy as np
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from rich.console import Console
from rich.progress import track
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from verdict import AvroFile, Bundle, Output, batches, load, write_bundle

HERE = Path(__file__).parent
DAY_MS = 86_400_000
WARM_UP = 30  # days until the longest window is filled
TRAIN_UNTIL = 70
TEST_FROM = 77  # a week apart, so that no window of a test event holds a training event's fraud run
DAYS = 100
SEEDS = (101, 102, 103, 104, 105, 106)  # the demo plays another one
CHALLENGER_LEAVES_OUT = ("terminal_count_1h", "terminal_count_1d")


@dataclass(frozen=True)
class Data:
    """Features ``[N, F]`` in the pipeline's order, labels, and the day of each row."""

    names: list[str]
    rows: "np.ndarray[Any, np.dtype[np.float64]]"
    fraud: "np.ndarray[Any, np.dtype[np.bool_]]"
    day: "np.ndarray[Any, np.dtype[np.int64]]"

    def between(self, first: int, end: int) -> "Data":
        """Select the days first, …, end - 1."""
        chosen = (self.day >= first) & (self.day < end)
        return Data(self.names, self.rows[chosen], self.fraud[chosen], self.day[chosen])

    def columns(self, names: list[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Select features by name."""
        return self.rows[:, [self.names.index(name) for name in names]]


def data() -> Data:
    """Play the worlds through the pipeline's operators."""
    pipeline = load(HERE / "pipeline.yaml")
    names = list(pipeline.spec.features)
    rows, fraud, day = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in track(SEEDS, "worlds"):
            events = Path(folder) / f"{seed}.avro"
            labels: dict[str, bool] = {}
            world = generator.World(days=DAYS, seed=seed)
            container = AvroFile(events, pipeline.schema.definition, length=0)
            for transaction in generator.transactions(world):
                labels[transaction.transaction_id] = transaction.is_fraud
                container.append([generator.encode(transaction)])
            container.close()
            for batch in batches(pipeline, [events], features_only=True):
                rows.append(np.column_stack([batch.column(name) for name in names]))
                fraud += [labels[name] for name in batch.column("event_id").to_pylist()]
                times = batch.column("event_time").cast("int64").to_numpy()
                day.append((times - world.start_ms) // DAY_MS)
    return Data(names, np.concatenate(rows), np.array(fraud), np.concatenate(day))


def card(name: str, bundle: Bundle, test: Data, what: str) -> str:
    """Measure a bundle on unseen days and say what it is."""
    used = bundle.card.features
    scores = np.array([bundle(row)[0] for row in test.columns(used).tolist()])
    auc = roc_auc_score(test.fraud, scores)
    precision = average_precision_score(test.fraud, scores)
    lines = [
        f"# {name}",
        "",
        what,
        "",
        f"- Trained on days {WARM_UP} to {TRAIN_UNTIL - 1} of {len(SEEDS)} simulated worlds of "
        "`generator.py` (300 customers, 600 terminals each), with the features of "
        "`pipeline.yaml`, computed by the pipeline's own operators.",
        f"- Measured on the unseen days {TEST_FROM} to {DAYS - 1}: {len(test.fraud):,} payments, "
        f"{int(test.fraud.sum()):,} of them fraud ({test.fraud.mean():.2%}).",
        "- The data are simulated: these figures say nothing of real cards.",
        "",
        "| on unseen days | |",
        "|---|---|",
        f"| AUC (ROC) | {auc:.4f} |",
        f"| average precision | {precision:.4f} |",
    ]
    for at in (0.4, 0.8):
        flagged = scores >= at
        hits = int((flagged & test.fraud).sum())
        share = hits / max(int(flagged.sum()), 1)
        found = hits / int(test.fraud.sum())
        lines.append(f"| score >= {at}: precision, recall | {share:.3f}, {found:.3f} |")
    lines += ["", f"Features: {', '.join(used)}.", "", "`train.py` printed these figures."]
    (bundle.folder / "MODEL_CARD.md").write_text("\n".join(lines) + "\n", "utf-8")
    Console().print(f"{name}: AUC {auc:.4f}, average precision {precision:.4f} on unseen days")
    return name


def train(out: Path) -> None:
    """Train both models and write their bundles."""
    whole = data()
    past, test = whole.between(WARM_UP, TRAIN_UNTIL), whole.between(TEST_FROM, DAYS)
    origin: dict[str, str | int] = {
        "code": "examples/card-fraud/train.py", "rows": len(past.fraud), "seeds": str(SEEDS),
    }  # fmt: skip
    watched = {name: past.columns([name])[:, 0].tolist() for name in past.names}

    names = past.names
    booster = lightgbm.LGBMClassifier(
        n_estimators=100, max_depth=6, num_leaves=31, min_child_samples=50, learning_rate=0.08,
        reg_lambda=5.0, deterministic=True, force_row_wise=True, random_state=1, verbose=-1,
    )  # fmt: skip
    booster.fit(past.columns(names), past.fraud.astype(int))
    inputs = [("features", FloatTensorType([None, len(names)]))]
    model = convert_lightgbm(booster, initial_types=inputs, zipmap=False, target_opset=15)
    champion = write_bundle(
        out / "champion", model.SerializeToString(),
        name="card-fraud-lightgbm", version="1", features=names, output=Output(kind="probability"),
        rows=test.columns(names), watched=watched, origin=origin,
    )  # fmt: skip
    card("card-fraud-lightgbm 1", champion, test, "LightGBM, 100 trees of depth 6.")

    names = [name for name in past.names if name not in CHALLENGER_LEAVES_OUT]
    forest = GradientBoostingClassifier(
        n_estimators=100, max_depth=4, subsample=0.5, min_samples_leaf=50, random_state=1
    )
    forest.fit(past.columns(names), past.fraud.astype(int))
    sample = past.columns(names)[:1].astype(np.float32)
    model = to_onnx(forest, sample, options={"zipmap": True}, target_opset=15)
    challenger = write_bundle(
        out / "challenger", model.SerializeToString(),
        name="card-fraud-sklearn", version="1", features=names, output=Output(kind="probability"),
        rows=test.columns(names), watched=watched, origin=origin,
    )  # fmt: skip
    card(
        "card-fraud-sklearn 1",
        challenger,
        test,
        "scikit-learn's gradient boosting, 100 trees of depth 4, without the terminal's count of "
        "the last hour and day: does the champion need them?",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=HERE / "models", help="folder of the bundles (%(default)s)"
    )
    train(parser.parse_args().out)
