"""What the pipelines layer refuses, a class a cause."""

from collections.abc import Sequence

from state.errors import VerdictError


class SpecError(VerdictError):
    """The pipeline file is wrong; each line says where and what to write instead."""

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = list(messages)


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


class RegistryError(VerdictError):
    """Schemas cannot be had or kept just now: nothing is lost by waiting and trying again."""
