"""The sections `topics` and `settings`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SecretStr, Tag, create_model, model_validator

from verdict.operators.names import Stream
from verdict.pipelines.spec.values import Duration, Ports, Topic
from verdict.pipelines.spec.yaml_file import Fault, Model


def _setting(stream: Stream) -> str:
    return stream.replace("-", "_")


def _topic(stream: Stream) -> Any:
    alias = stream.value if "-" in stream else None
    return Field(default=stream.value, alias=alias, description=stream.about)


_TOPICS: dict[str, Any] = {_setting(stream): (Topic, _topic(stream)) for stream in Stream}
_OutputTopics: Any = create_model("_OutputTopics", __base__=Model, **_TOPICS)


class Topics(_OutputTopics):  # type: ignore[misc]  # made of the streams, so that none is forgotten
    """Names of the output topics, and of the files where events come from files."""

    state_commands: Topic | None = Field(default=None, alias="state-commands")
    """An input: commands of `verdict state`, which looks at what is remembered of an entity, or
    erases it. Without it the job takes none."""

    def of(self, stream: Stream) -> str:
        """Return a stream's topic.

        >>> Topics(drift="psi").of(Stream.DRIFT)
        'psi'
        """
        topic: str = getattr(self, _setting(stream))
        return topic

    @model_validator(mode="after")
    def _each_its_own(self) -> "Topics":
        taken: list[str] = []
        for name, field in type(self).model_fields.items():
            topic = getattr(self, name)
            if topic is None:
                continue
            if topic in taken:
                raise Fault((field.alias or name,), f"two of the topics are called '{topic}'")
            taken.append(topic)
        return self


class FromEnvironment(Model):
    """A secret in an environment variable: ``{env: KAFKA_PASSWORD}``."""

    env: str
    """The variable's name."""

    def value(self) -> SecretStr:
        """Read it."""
        if self.env not in os.environ:
            raise ValueError(f"the environment variable {self.env} is not set")
        return SecretStr(os.environ[self.env])


class FromFile(Model):
    """A secret in a file: ``{file: /run/secrets/kafka}``."""

    file: Path
    """The file; white space around the secret is dropped."""

    def value(self) -> SecretStr:
        """Read it."""
        try:
            return SecretStr(self.file.read_text("utf-8").strip())
        except OSError as error:
            raise ValueError(f"cannot read the secret {self.file}: {error.strerror}") from None


class Schemas(Model):
    """Where schemas of Confluent's wire format are.

    Example: ``{registry: "http://127.0.0.1:8081"}`` or ``{folder: schemas}``
    """

    registry: str | None = None
    """Address of a Schema Registry."""
    folder: Path | None = None
    """A folder of ``ID.avsc`` files instead."""

    @model_validator(mode="after")
    def _one_place(self) -> "Schemas":
        if (self.registry is None) == (self.folder is None):
            raise ValueError("say either 'registry' or 'folder'")
        return self


def _secret_kind(value: Any) -> str:
    if isinstance(value, Model):
        return type(value).__name__
    if isinstance(value, Mapping):
        return "FromFile" if "file" in value else "FromEnvironment"
    return "plain"


ClientSetting = Annotated[
    Annotated[FromEnvironment, Tag("FromEnvironment")]
    | Annotated[FromFile, Tag("FromFile")]
    | Annotated[str | int | float | bool, Tag("plain")],
    Discriminator(_secret_kind),
]


class Metrics(Model):
    """Where the processes of a job show what they count and time, for Prometheus to ask.

    It is at ``http://HOST:PORT/metrics``.

    Example: ``metrics: {ports: 9400-9409}``; ``metrics: {}`` is the same.
    """

    host: str = "127.0.0.1"
    """Address to listen at; ``0.0.0.0`` for every one of the machine."""
    ports: Ports = "9400-9409"
    """A process takes the first of them that is free."""
    flink_ports: Ports | None = None
    """Of Flink's own metrics, on a mini cluster. Flink listens at every address of the machine, and
    can not be told otherwise. A standalone cluster has them in its configuration."""


class Settings(Model):
    """Where the pipeline runs."""

    kafka: dict[str, ClientSetting] = {}
    """Client settings under librdkafka's names; those listed below are taken, another is refused by
    name. Without ``bootstrap.servers`` it is ``$VERDICT_BOOTSTRAP``, else the broker that
    ``verdict up`` started in this folder, else ``127.0.0.1:9092``."""
    schemas: Schemas | None = None
    """Where schemas of Confluent's wire format are."""
    output_format: Literal["avro", "confluent"] = "avro"
    """Encoding of every output topic: plain Avro bodies of ``avro/*.avsc``, or Confluent's wire
    format with schema ids from the registry."""
    state: Path = Path(".verdict")
    """Folder of the embedded engine's state and of Flink's checkpoints, relative to the pipeline
    file."""
    checkpoint_interval: Duration = 10_000
    """How often Flink takes a checkpoint. With ``exactly-once`` a consumer that reads committed
    waits as long for a record at most."""
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    """Of Flink's outputs. ``exactly-once``: in transactions, which a checkpoint commits. A consumer
    with ``isolation.level: read_committed`` sees each record once, up to a checkpoint interval
    later; one with ``read_uncommitted`` sees it in milliseconds, and after a crash some again.
    ``at-least-once``: no transactions; after a crash every consumer sees some again. The embedded
    engine always delivers at least once."""
    metrics: Metrics | None = None
    """Where metrics are shown. Without it no port is opened, and nothing is counted or timed."""
    parallelism: int = Field(default=1, ge=1, le=128)
    """Flink subtasks of each hop. On a standalone cluster a job needs a slot for each subtask of
    each hop; more than the input topic has partitions are of use to later hops alone."""


def output_topics(topics: Topics) -> dict[str, str]:
    """Map to their topics the streams that every pipeline writes, and the answers to commands."""
    wanted = [stream for stream in Stream if stream.always]
    if topics.state_commands is not None:
        wanted.append(Stream.STATE_ANSWERS)
    return {stream: topics.of(stream) for stream in wanted}
