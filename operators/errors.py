"""What the operators refuse: a record, an expression, a schema, a model bundle."""

from verdict.state.errors import VerdictError


class BadRecord(VerdictError):
    """One record cannot be decoded, validated or scored: it becomes a dead letter, the rest go on.

    Attributes
    ----------
    stage
        Where it failed: ``decode``, ``validate``, ``features``, ``score``.
    kind
        What is wrong, as a word that can be counted: one of a small set, whatever the record.
    """

    def __init__(self, stage: str, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage
        self.kind = kind


class ExpressionError(VerdictError):
    """An expression of the pipeline file is not of the language; mend the file."""


class SchemaError(VerdictError):
    """A schema cannot be read, or lacks what the pipeline asks of it; mend either."""


class BundleError(VerdictError):
    """A model bundle is refused: files missing, wrong hash, failing its own test vectors."""


class FunctionError(VerdictError):
    """A pipeline's own Python function cannot be loaded; mend the path or the file."""
