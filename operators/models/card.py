"""What a bundle says of its model: ``model.yaml``."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from verdict.operators.errors import BundleError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Output(_Part):
    """What the model puts out, and how it becomes a score.

    >>> Output(kind="probability").name is None
    True
    """

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
