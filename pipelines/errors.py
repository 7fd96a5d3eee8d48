"""What the pipelines layer refuses, a class a cause."""

import traceback
from collections.abc import Sequence
from pathlib import Path

from verdict.state.errors import VerdictError


class SpecError(VerdictError):
    """The pipeline file is wrong; each line says where and what to write instead."""

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = list(messages)


class UntestableError(SpecError):
    """Tests of a pipeline cannot be run: the file of tests, the pipeline or a model is wrong."""


class LocalError(VerdictError):
    """The local broker, its Java runtime or its jars cannot be had; see the log it names."""


class KafkaError(VerdictError):
    """The broker does not answer, a topic is missing, or a client setting is refused."""


class FlinkError(VerdictError):
    """A Flink job could not start, or died.

    Attributes
    ----------
    details
        Flink's whole text, for ``-v``.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class FileError(VerdictError):
    """A file of events or of outputs cannot be read or written; mend or restore it."""


class Interrupted(VerdictError):
    """A run was told to stop before its end, and has left nothing behind."""


class RegistryError(VerdictError):
    """Schemas cannot be had or kept just now: nothing is lost by waiting and trying again."""


class OperatorError(VerdictError):
    """An operator failed as none should on a record: it, or a function of one's own, is wrong."""


def safe_text(error: BaseException) -> str:
    """Say an error without quoting the record: it goes to logs, which must not hold a key or value.

    Ours say nothing of a record's. Of another one the text is left out, and its place is named.

    Examples
    --------
    >>> safe_text(KafkaError("no broker answers"))
    'KafkaError: no broker answers'
    >>> safe_text(KeyError("card-4711"))
    'KeyError; its text may quote the record and is left out'
    """
    kind = type(error).__name__
    if isinstance(error, VerdictError):
        return f"{kind}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{kind}{where}; its text may quote the record and is left out"


def frames(error: BaseException) -> list[str]:
    """List where an error comes from, innermost first."""
    found = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(found)]
