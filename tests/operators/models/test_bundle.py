"""Bundles: every layout of outputs that converters make, and every reason to refuse one.

The bundles are small real models, made by `fixtures/make_models.py`; a bundle that loads has proven
its test vectors, whose scores come from the library that trained it.
"""

import hashlib
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from verdict.operators.errors import BadRecord, BundleError
from verdict.operators.models.bundle import load
from verdict.operators.models.card import Baseline, read_card

FIXTURES = Path(__file__).parents[1] / "fixtures"
WEIGHTS, BIAS = (0.75, -0.5), 0.25
"""Of the hand-made models."""

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Path]:
    """Copies a bundle, with changes to its card."""

    def copy(name: str, edit: Edit = dict) -> Path:
        folder = Path(shutil.copytree(FIXTURES / name, tmp_path / name))
        path = folder / "model.yaml"
        card = yaml.safe_load(path.read_text("utf-8"))
        edit(card)
        path.write_text(yaml.safe_dump(card), "utf-8")
        return folder

    return copy


# Layouts


@pytest.mark.parametrize(
    "name",
    ["tensor", "zipmap", "lightgbm", "column", "double", "by_name", "anomaly", "regression"],
)
def test_one_score(name: str) -> None:
    bundle = load(FIXTURES / name)
    for vector in bundle.card.vectors:
        score, classes = bundle(vector.features)
        assert score == pytest.approx(vector.score, abs=1e-5)
        assert not classes


@pytest.mark.parametrize("name", ["column", "double", "by_name"])
def test_features_go_in_by_the_cards_order(name: str) -> None:
    amount, speed = 7.0, -0.5
    expected = 1 / (1 + math.exp(-(WEIGHTS[0] * amount + WEIGHTS[1] * speed + BIAS)))
    assert load(FIXTURES / name)([amount, speed])[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["classes", "classes_zipmap"])
def test_a_class_vector_scores_its_positive_classes_together(name: str) -> None:
    bundle = load(FIXTURES / name)
    assert bundle.card.output.positive == ["mule", "stolen"]
    for vector in bundle.card.vectors:
        score, (mule, ok, stolen) = bundle(vector.features)
        assert score == mule + stolen == pytest.approx(vector.score, abs=1e-5)
        assert mule + ok + stolen == pytest.approx(1.0, abs=1e-5)


def test_an_anomaly_score_is_turned_round(copied: Callable[..., Path]) -> None:
    def plain(card: dict[str, Any]) -> None:
        card["output"]["negate"] = False
        for vector in card["vectors"]:
            vector["score"] *= -1

    strange, normal = [9.0, -9.0], [0.0, 0.0]
    turned, as_it_is = load(FIXTURES / "anomaly"), load(copied("anomaly", plain))
    assert turned(strange)[0] > turned(normal)[0]
    assert as_it_is(strange)[0] == -turned(strange)[0]


def test_the_last_output_is_the_default(copied: Callable[..., Path]) -> None:
    named = load(copied("tensor", lambda card: card["output"].update(name="probabilities")))
    row = named.card.vectors[0].features
    assert named(row) == load(FIXTURES / "tensor")(row)


def test_a_probability_may_be_of_another_class(copied: Callable[..., Path]) -> None:
    def other(card: dict[str, Any]) -> None:
        card["output"]["positive"] = [0]
        for vector in card["vectors"]:
            vector["score"] = 1 - vector["score"]

    for name in ("tensor", "zipmap"):
        load(copied(name, other))


def test_a_batch_of_one_is_scored_alike_every_time() -> None:
    bundle = load(FIXTURES / "lightgbm")
    row = bundle.card.vectors[1].features
    assert len({bundle(row)[0] for _ in range(20)}) == 1


# Refused


def _set(**values: Any) -> Edit:
    return lambda card: card.update(values)


def _output(**values: Any) -> Edit:
    return lambda card: card["output"].update(values)


def _vector(index: int, **values: Any) -> Edit:
    return lambda card: card["vectors"][index].update(values)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("tensor", _set(sha256="0" * 64), r"its sha256 is \w{12}…, model.yaml says 000000000000…"),
        (
            "tensor",
            _vector(1, score=0.5),
            "test vector 1 scores 0.0.*, the card says 0.5: the model",
        ),
        ("tensor", _vector(2, score=math.nan), "test vector 2 scores .*, the card says nan"),
        ("tensor", _vector(0, features=[1.0]), "test vector 0 has 1 features, the card names 2"),
        ("tensor", _output(name="probs"), "has no output 'probs', but label, probabilities"),
        ("tensor", _output(name="label"), "test vector 0 scores 0, the card says 0.3"),
        ("tensor", _output(positive=["1"]), r"no class is labelled '1', but \[0, 1\]"),
        ("zipmap", _output(positive=[2]), r"no class is labelled 2, but \[0, 1\]"),
        ("classes", _output(classes=["ok", "mule"]), "3 classes come out, the card names 2"),
        ("classes", _output(classes=["mule", "good", "bad"]), "no class is labelled 'stolen'"),
        (
            "by_name",
            _set(features=["amount", "pace"]),
            r"inputs \['speed', 'amount'\] are not the card's features \['amount', 'pace'\]",
        ),
        ("text_input", _set(), r"input 'words' is tensor\(string\), no numbers"),
        (
            "regression",
            _vector(0, features=[1e300, 0.0]),
            "test vector 0: model .* put out -?inf|nan",
        ),
        # the card itself
        ("tensor", _set(sha256="abc"), "model.yaml: sha256: String should match"),
        ("tensor", _set(vectors=[]), "model.yaml: vectors: List should have at least 1"),
        ("tensor", _set(features=[]), "model.yaml: features"),
        ("tensor", _set(colour="red"), "model.yaml: colour: Extra inputs are not permitted"),
        ("tensor", _output(kind="odds"), "model.yaml: output.kind"),
        ("tensor", lambda card: card.pop("version"), "model.yaml: version: Field required"),
        (
            "tensor",
            _set(baseline={"amount": {"edges": [1.0], "counts": [1], "mean": 0.0, "std": 1.0}}),
            "baseline.amount: .*two more counts than edges",
        ),
    ],
)
def test_refused(copied: Callable[..., Path], name: str, edit: Edit, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        load(copied(name, edit))
    assert name in str(caught.value)  # which bundle it is


def test_refused_for_the_number_of_features(copied: Callable[..., Path]) -> None:
    def wider(card: dict[str, Any]) -> None:
        card["features"].append("distance")
        for vector in card["vectors"]:
            vector["features"].append(0.0)

    with pytest.raises(BundleError, match=r"test vector 0: .*(?i:dimension)"):
        load(copied("tensor", wider))
    with pytest.raises(BundleError, match="are not the card's features"):
        load(copied("by_name", wider))


def test_a_vector_within_the_tolerance_passes(copied: Callable[..., Path]) -> None:
    def near(card: dict[str, Any]) -> None:
        card["vectors"][0]["score"], card["tolerance"] = 0.6, 0.15

    load(copied("column", near))


@pytest.mark.parametrize("file", ["model.onnx", "model.yaml"])
def test_a_missing_file(copied: Callable[..., Path], file: str) -> None:
    folder = copied("tensor")
    (folder / file).unlink()
    with pytest.raises(BundleError, match=f"{file}: cannot be read: No such file"):
        load(folder)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", bytes(1_000), b"\x08\x08\x12\x05hello" * 50, None]
)
def test_garbage_in_model_onnx(copied: Callable[..., Path], content: bytes | None) -> None:
    folder = copied("lightgbm")
    model = folder / "model.onnx"
    whole = model.read_bytes()
    content = whole[: len(whole) // 2] if content is None else content
    model.write_bytes(content)
    with pytest.raises(BundleError, match="its sha256 is"):
        load(folder)
    card = (folder / "model.yaml").read_text("utf-8")
    card = card.replace(hashlib.sha256(whole).hexdigest(), hashlib.sha256(content).hexdigest())
    (folder / "model.yaml").write_text(card, "utf-8")
    with pytest.raises(BundleError, match="ONNX Runtime does not load it"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "model.yaml"),
        (b"[1, 2]", "model.yaml"),
        (b"name: {", "model.yaml: not YAML"),
        (b"\xff\xfe\x00\x01", "model.yaml: not YAML"),
    ],
)
def test_garbage_in_model_yaml(copied: Callable[..., Path], content: bytes, message: str) -> None:
    folder = copied("tensor")
    (folder / "model.yaml").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        read_card(folder)


# Scoring


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("row", [[1.0], [1.0, 2.0, 3.0], [1e300, -1e300]])
def test_a_row_that_the_model_fails_on_is_a_bad_record(row: list[float]) -> None:
    bundle = load(FIXTURES / "regression")
    with pytest.raises(BadRecord, match="model regression") as caught:
        bundle(row)
    assert caught.value.stage == "score"
    assert math.isfinite(bundle([1.0, 2.0])[0])  # and goes on


@pytest.mark.parametrize(
    ("name", "batches"),
    [
        ("lightgbm", True),
        ("column", True),
        ("regression", True),
        ("anomaly", True),
        ("classes_zipmap", True),
        # What ONNX Runtime does for more rows differs in the last bit; or it takes one feature a
        # tensor.
        ("tensor", False),
        ("by_name", False),
    ],
)
def test_many_rows_score_as_one_by_one(name: str, batches: bool) -> None:
    bundle = load(FIXTURES / name)
    assert bundle.batches is batches
    rows = [vector.features for vector in bundle.card.vectors] * 200
    assert bundle.many(rows) == [bundle(row) for row in rows]
    assert bundle.many([]) == []


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_bad_row_among_many_is_found() -> None:
    bundle = load(FIXTURES / "regression")
    good, bad, _ = bundle.many([[1.0, 2.0], [1e300, -1e300], [2.0, 1.0]])
    assert good == bundle([1.0, 2.0])
    assert isinstance(bad, BadRecord)


def test_a_baseline_has_a_bin_below_one_above_and_one_for_nan() -> None:
    Baseline(edges=[1.0, 2.0], counts=[1, 2, 3, 0], mean=0.0, std=1.0)
    with pytest.raises(ValidationError, match="two more counts than edges"):
        Baseline(edges=[1.0, 2.0], counts=[1, 2, 3], mean=0.0, std=1.0)
