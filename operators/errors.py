"""What the operators refuse: a record, an expression, a schema, a model bundle."""

from verdict.operators.names import BadKind
from verdict.state.errors import VerdictError


class BadRecord(VerdictError):
    """One record cannot be decoded, validated or scored: it becomes a dead letter, the rest go on.

    Attributes
    ----------
    kind
        What is wrong: one of a small set, whatever the record.
    stage
        Where it failed.
    """

    def __init__(self, kind: BadKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.stage = kind.stage


class ExpressionError(VerdictError):
    """An expression of the pipeline file is not of the language; mend the file."""


class SchemaError(VerdictError):
    """A schema cannot be read, or lacks what the pipeline asks of it; mend either."""


class BundleError(VerdictError):
    """A model bundle is refused: files missing, wrong hash, failing its own test vectors."""


class FunctionError(VerdictError):
    """A pipeline's own Python function cannot be loaded; mend the path or the file."""
