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

from verdict.operators.errors import BadRecord, BundleError

onnxruntime.disable_telemetry_events()  # 1.31 opens a database in the user's cache folder
onnxruntime.set_default_logger_severity(3)  # errors; a warning a session is noise

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


MOST_AT_ONCE = 256
"""Most rows of one call: above some dozens the time of a row falls no further."""
BATCH_SIZES = (2, 3, 4, 7, 16, 31, 64, 129, MOST_AT_ONCE)
"""Sizes at which a model has to prove itself; libraries change their ways at such."""


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


Scored = tuple[float, Sequence[float]]
"""A score, and the class probabilities (empty but for ``classes``)."""


class Bundle:
    """A verified model, ready to score in one thread.

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
        self._output = card.output.name or outputs[-1]
        if self._output not in outputs:
            raise BundleError(
                f"{folder}: the model has no output '{self._output}', but {', '.join(outputs)}"
            )
        for put in inputs:
            if put.type not in DTYPES:
                raise BundleError(f"{folder}: input '{put.name}' is {put.type}, no numbers")
        self._feed = _one_tensor(inputs[0]) if len(inputs) == 1 else self._by_name(inputs)
        self._read = _reader(card.output)
        self._score: Callable[[Sequence[float]], Scored] = self._first
        """How a row is scored: known once the first one was."""
        self.batches = len(inputs) == 1 and self._proves_batches()
        """Whether many rows at once get the very scores that they get one by one."""

    def _by_name(self, inputs: Sequence[Any]) -> Callable[[Sequence[float]], dict[str, Any]]:
        names = [put.name for put in inputs]
        if sorted(names) != sorted(self.card.features):
            raise BundleError(
                f"{self.folder}: the model's inputs {names} are not the card's features "
                f"{self.card.features}"
            )
        puts = [(put.name, self.card.features.index(put.name), DTYPES[put.type]) for put in inputs]
        return lambda row: {name: np.array([[row[at]]], dtype) for name, at, dtype in puts}

    def __call__(self, row: Sequence[float]) -> Scored:
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
            score, classes = self._score(row)
        except Exception as error:  # ONNX Runtime has no common root of its exceptions
            message = f"model {self.card.name}: {error}"
            raise BadRecord("score", "model-error", message) from error
        if not math.isfinite(score):
            raise BadRecord("score", "not-finite", f"model {self.card.name} put out {score}")
        return score, classes

    def many(self, rows: Sequence[Sequence[float]]) -> list[Scored | BadRecord]:
        """Score many rows, at once where `batches` says so: a fifth of the time of one by one.

        Returns
        -------
        list
            One a row: what a call returns, or the error that it raises.
        """
        found: list[Scored | BadRecord] = []
        if self.batches and len(rows) > 1:
            for start in range(0, len(rows), MOST_AT_ONCE):
                some = rows[start : start + MOST_AT_ONCE]
                try:
                    scored = list(map(self._read, self._batch(some)))
                    if all(math.isfinite(score) for score, _ in scored):
                        found += scored
                        continue
                except Exception:  # one by one says which row it is, and why
                    pass
                found += map(self._or_error, some)
            return found
        return list(map(self._or_error, rows))

    def _or_error(self, row: Sequence[float]) -> Scored | BadRecord:
        try:
            return self(row)
        except BadRecord as error:
            return error

    def _batch(self, rows: Sequence[Sequence[float]]) -> list[Any]:
        put = self._session.get_inputs()[0]
        feed = {put.name: np.array(rows, DTYPES[put.type])}
        raw = self._session.run([self._output], feed)[0]
        return list(raw.tolist()) if isinstance(raw, np.ndarray) else list(raw)

    def _proves_batches(self) -> bool:
        """Hold batches of several sizes against single rows, bit for bit, on the test vectors.

        ONNX Runtime takes other ways through some models for more rows (its issue 10058).
        """
        vectors = [vector.features for vector in self.card.vectors]
        try:
            single = [self(row) for row in vectors]
            for size in BATCH_SIZES:
                rows = [vectors[i % len(vectors)] for i in range(size)]
                for i, row in enumerate(self._batch(rows)):
                    if self._read(row) != single[i % len(vectors)]:
                        return False
        except Exception:  # a model that takes one row; or a bad one, which `load` then refuses
            return False
        return True

    def _first(self, row: Sequence[float]) -> Scored:
        """Score a row, and find out whether the following ones can go through fixed buffers."""
        feed = self._feed(row)
        raw = self._session.run([self._output], feed)[0]
        bound = len(feed) == 1 and isinstance(raw, np.ndarray) and raw.dtype.kind == "f"
        self._score = self._through_buffers(feed, raw) if bound else self._plainly
        return self._read(_as_list(raw))

    def _plainly(self, row: Sequence[float]) -> Scored:
        return self._read(_as_list(self._session.run([self._output], self._feed(row))[0]))

    def _through_buffers(
        self, feed: dict[str, Any], raw: "np.ndarray[Any, Any]"
    ) -> Callable[[Sequence[float]], Scored]:
        """Bind input and output to memory that stays: 2 to 4 us less than arrays of each call."""
        ((name, put),) = feed.items()
        out = raw.copy()
        binding = self._session.io_binding()
        binding.bind_input(name, "cpu", 0, put.dtype, put.shape, put.ctypes.data)
        binding.bind_output(self._output, "cpu", 0, out.dtype, out.shape, out.ctypes.data)
        run, read = self._session.run_with_iobinding, self._read

        width = put.shape[1]

        def score(row: Sequence[float]) -> Scored:
            if len(row) != width:  # numpy would spread one number over all
                raise ValueError(f"it takes {width} features, not {len(row)}")
            put[0] = row
            run(binding)
            return read(out[0].tolist())

        return score


def _as_list(raw: Any) -> Any:
    """Take the one row out of an output: a number, a list of numbers, or a dictionary."""
    return raw[0].tolist() if isinstance(raw, np.ndarray) else raw[0]


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


def _reader(output: Output) -> Callable[[Any], Scored]:
    """Compile the way from the ONNX output's one row to a score.

    Class probabilities come as an [N, C] tensor or, from the converters' default ZipMap, as one
    dictionary a row.
    """
    if output.kind in ("probability", "classes"):
        return _ClassReader(output)
    sign = -1.0 if output.negate else 1.0
    return lambda row: (sign * _first_of(row), ())


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

    def _labels(self, labels: list[int | str]) -> None:
        strange = [label for label in self._output.positive if label not in labels]
        if strange:
            raise ValueError(f"no class is labelled {strange[0]!r}, but {labels}")
        self._positive = [labels.index(label) for label in self._output.positive]
        self._length = len(labels)
