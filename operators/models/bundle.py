"""A model bundle: a folder with ``model.onnx`` and ``model.yaml``, refused unless proven."""

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verdict.operators.errors import BadRecord, BundleError
from verdict.operators.models.card import Card, read_card
from verdict.operators.models.outputs import Scored, reader
from verdict.operators.names import BadKind

if TYPE_CHECKING:
    import onnxruntime

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
CODES = {np.float32: "f", np.float64: "d"}
MOST_AT_ONCE = 256
"""Most rows of one call: above some dozens the time of a row falls no further."""
BATCH_SIZES = (2, 3, 4, 7, 16, 31, 64, 129, MOST_AT_ONCE)
"""Sizes at which a model has to prove itself; libraries change their ways at such."""


class Bundle:
    """A verified model, ready to score in one thread.

    Attributes
    ----------
    card
        ``model.yaml``.
    folder
        Where it lies.

    Examples
    --------
    >>> from verdict.pipelines.paths import resource
    >>> bundle = load(resource("init/model"))
    >>> bundle.card.features
    ['amount', 'card_count_1h']
    >>> score, _ = bundle([249.0, 3.0])
    >>> round(score, 6)
    0.816078
    """

    def __init__(self, folder: Path, card: Card, session: "onnxruntime.InferenceSession") -> None:
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
        self._name, self._dtype = inputs[0].name, DTYPES[inputs[0].type]
        self._read = reader(card.output)
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
            raise BadRecord(BadKind.MODEL_ERROR, message) from error
        if not math.isfinite(score):
            raise BadRecord(BadKind.NOT_FINITE, f"model {self.card.name} put out {score}")
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
                    scored = self._read.many(self._batch(some))
                    if math.isfinite(sum([score for score, _ in scored])):
                        found += scored
                        continue
                except Exception:  # noqa: S110  one by one says which row it is, and why
                    pass
                found += map(self._or_error, some)
            return found
        return list(map(self._or_error, rows))

    def _or_error(self, row: Sequence[float]) -> Scored | BadRecord:
        try:
            return self(row)
        except BadRecord as error:
            return error

    def _batch(self, rows: Sequence[Sequence[float]]) -> Any:
        """Return the model's output for rows: an array, or a list of dictionaries."""
        return self._session.run([self._output], {self._name: _tensor(rows, self._dtype)})[0]

    def _proves_batches(self) -> bool:
        """Hold batches of several sizes against single rows, bit for bit, on the test vectors.

        ONNX Runtime takes other ways through some models for more rows (its issue 10058).
        """
        vectors = [vector.features for vector in self.card.vectors]
        try:
            single = [self(row) for row in vectors]
            for size in BATCH_SIZES:
                rows = [vectors[i % len(vectors)] for i in range(size)]
                for i, scored in enumerate(self._read.many(self._batch(rows))):
                    if scored != single[i % len(vectors)]:
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

    Examples
    --------
    >>> load(Path("nowhere"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    verdict.operators.errors.BundleError: nowhere/model.yaml: cannot be read: No such file ...
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
    onnxruntime = _runtime()
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


@cache
def _runtime() -> Any:
    """Import ONNX Runtime: 0.1 s, which a command that loads no model does not pay."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # 1.31 opens a database in the user's cache folder
    onnxruntime.set_default_logger_severity(3)  # errors; a warning a session is noise
    return onnxruntime


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


def _tensor(rows: Sequence[Sequence[float]], dtype: Any) -> "np.ndarray[Any, Any]":
    """Make an array of rows; of reals by ``struct``, in a third of the time that numpy takes."""
    code = CODES.get(dtype)
    if code is None:
        return np.array(rows, dtype)
    pack = struct.Struct(f"={len(rows[0])}{code}").pack
    return np.frombuffer(b"".join([pack(*row) for row in rows]), dtype).reshape(len(rows), -1)


def _one_tensor(put: Any) -> Callable[[Sequence[float]], dict[str, Any]]:
    name, dtype = put.name, DTYPES[put.type]
    return lambda row: {name: np.array([row], dtype)}
