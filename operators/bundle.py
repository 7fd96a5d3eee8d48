"""A model bundle: a folder with ``model.onnx`` and ``model.yaml``, refused unless proven."""

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from operators.errors import BadRecord, BundleError

onnxruntime.disable_telemetry_events()  # 1.31 opens a database in the user's cache folder
onnxruntime.set_default_logger_severity(3)  # errors; a warning a session is noise

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Output(_Part):
    """What the model puts out, and how it becomes a score."""

    kind: Literal["probability", "anomaly", "regression", "classes"]
    """``probability`` of the positive class; ``anomaly`` score; ``regression`` value; a vector of
    ``classes``, whose score is the probability of the positive ones together."""
    name: str | None = None
    """The ONNX output; by default the last one, which is where both usual converters put scores."""
    positive: list[int | str] = [1]
    """Class labels that count as positive."""
    classes: list[int | str] | None = None
    """Class labels in the vector's order; by default 0, 1, 2, …"""
    negate: bool = False
    """True for an anomaly score that is high for what is normal, as scikit-learn's are."""


class Vector(_Part):
    """One test vector."""

    features: list[float]
    score: float


class Baseline(_Part):
    """A histogram of the training data."""

    edges: list[float]
    """Bin ``i`` is ``edges[i - 1] < value <= edges[i]``."""
    counts: list[int]
    """One a bin: below the first edge, between, above the last, and NaN."""
    mean: float
    std: float

    @model_validator(mode="after")
    def _fits(self) -> "Baseline":
        if len(self.counts) != len(self.edges) + 2:
            raise ValueError("a baseline has two more counts than edges")
        return self


class Card(_Part):
    """``model.yaml``."""

    name: str
    """The model's name."""
    version: str
    """The model's version."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of ``model.onnx``."""
    features: list[str] = Field(min_length=1)
    """Feature names in the model's order."""
    output: Output
    """What it puts out."""
    vectors: list[Vector] = Field(min_length=1)
    """Test vectors with their scores."""
    tolerance: float = 1e-5
    """How far a vector's score may lie from the recorded one on another CPU."""
    baseline: dict[str, Baseline] = {}
    """Histograms of the training data: one a feature, and ``score``."""
    origin: dict[str, str | int | float] = {}
    """Where the model came from: data, code, date."""


class Bundle:
    """A verified model, ready to score.

    Attributes
    ----------
    card
        ``model.yaml``.
    folder
        Where it lies.
    """

    def __init__(self, folder: Path, card: Card, session: onnxruntime.InferenceSession) -> None:
        self.folder = folder
        self.card = card
        self._session = session
        inputs = session.get_inputs()
        outputs = [output.name for output in session.get_outputs()]
        self._output = [card.output.name or outputs[-1]]
        if self._output[0] not in outputs:
            raise BundleError(
                f"{folder}: the model has no output '{self._output[0]}', but {', '.join(outputs)}"
            )
        for put in inputs:
            if put.type not in DTYPES:
                raise BundleError(f"{folder}: input '{put.name}' is {put.type}, no numbers")
        self._feed = _one_tensor(inputs[0]) if len(inputs) == 1 else self._by_name(inputs)
        self._read = _reader(card.output)

    def _by_name(self, inputs: Sequence[Any]) -> Callable[[Sequence[float]], dict[str, Any]]:
        names = [put.name for put in inputs]
        if sorted(names) != sorted(self.card.features):
            raise BundleError(
                f"{self.folder}: the model's inputs {names} are not the card's features "
                f"{self.card.features}"
            )
        puts = [(put.name, self.card.features.index(put.name), DTYPES[put.type]) for put in inputs]
        return lambda row: {name: np.array([[row[at]]], dtype) for name, at, dtype in puts}

    def __call__(self, row: Sequence[float]) -> tuple[float, list[float]]:
        """Score one row of features.

        Parameters
        ----------
        row
            One number a feature, in the card's order.

        Returns
        -------
        tuple
            The score, and the class probabilities (empty but for ``classes``).

        Raises
        ------
        BadRecord
            The model fails on it, or its score is no finite number.
        """
        try:
            raw = self._session.run(self._output, self._feed(row))[0]
            score, classes = self._read(raw)
        except Exception as error:  # ONNX Runtime has no common root of its exceptions
            raise BadRecord("score", f"model {self.card.name}: {error}") from error
        if not math.isfinite(score):
            raise BadRecord("score", f"model {self.card.name} put out {score}")
        return score, classes


def load(folder: Path) -> Bundle:
    """Load a bundle and verify its hash and its test vectors.

    Raises
    ------
    BundleError
        It is refused; the message says why.
    """
    card = read_card(folder)
    model = folder / "model.onnx"
    try:
        content = model.read_bytes()
    except OSError as error:
        raise BundleError(f"{model}: cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.sha256:
        raise BundleError(
            f"{model}: its sha256 is {digest[:12]}…, model.yaml says {card.sha256[:12]}…: "
            "the file is not the one the card describes; train again, or restore it"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{model}: ONNX Runtime does not load it: {error}") from None
    bundle = Bundle(folder, card, session)
    _verify(bundle)
    return bundle


def read_card(folder: Path) -> Card:
    """Read a bundle's ``model.yaml`` alone.

    Raises
    ------
    BundleError
        It is missing or wrong.
    """
    path = folder / "model.yaml"
    try:
        return Card.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not YAML: {error}") from None
    except ValidationError as errors:
        first = errors.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path}: {where}: {first['msg']}") from None


def _verify(bundle: Bundle) -> None:
    card = bundle.card
    for index, vector in enumerate(card.vectors):
        if len(vector.features) != len(card.features):
            raise BundleError(
                f"{bundle.folder}: test vector {index} has {len(vector.features)} features, "
                f"the card names {len(card.features)}"
            )
        try:
            score, _ = bundle(vector.features)
        except BadRecord as error:
            raise BundleError(f"{bundle.folder}: test vector {index}: {error}") from None
        if not abs(score - vector.score) <= card.tolerance:  # NaN is not a score to agree with
            raise BundleError(
                f"{bundle.folder}: test vector {index} scores {score:.9g}, "
                f"the card says {vector.score:.9g}: the model is not the one that was tested"
            )


def _one_tensor(put: Any) -> Callable[[Sequence[float]], dict[str, Any]]:
    name, dtype = put.name, DTYPES[put.type]
    return lambda row: {name: np.array([row], dtype)}


def _reader(output: Output) -> Callable[[Any], tuple[float, list[float]]]:
    """Compile the way from the ONNX output to a score.

    Class probabilities come as an [N, C] tensor or, from the converters' default ZipMap, as one
    dictionary a row.
    """
    if output.kind in ("probability", "classes"):
        vector_wanted = output.kind == "classes"

        def from_classes(raw: Any) -> tuple[float, list[float]]:
            first = raw[0]
            if isinstance(first, dict):
                probabilities = first
            else:
                flat = np.asarray(first, dtype=np.float64).reshape(-1)
                if len(flat) == 1 and not vector_wanted:  # the positive class alone
                    return float(flat[0]), []
                labels = output.classes or range(len(flat))
                if len(labels) != len(flat):
                    raise ValueError(f"{len(flat)} classes come out, the card names {len(labels)}")
                probabilities = dict(zip(labels, flat.tolist(), strict=True))
            strange = [label for label in output.positive if label not in probabilities]
            if strange:
                raise ValueError(f"no class is labelled {strange[0]!r}, but {[*probabilities]}")
            score = float(sum(probabilities[label] for label in output.positive))
            vector = [float(p) for p in probabilities.values()] if vector_wanted else []
            return score, vector

        return from_classes
    sign = -1.0 if output.negate else 1.0
    return lambda raw: (sign * float(np.asarray(raw).reshape(-1)[0]), [])
