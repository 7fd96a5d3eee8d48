"""The output streams: their schemas, and how their records are encoded and read."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from verdict.operators.events.decode import CONFLUENT_HEADER, CONFLUENT_MAGIC
from verdict.operators.events.schema import without_logical_types
from verdict.operators.names import Stream
from verdict.operators.records.streams import Decode, Encode, decoder, encoder
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.settings import Settings


@cache
def definition(stream: str) -> Any:
    """Read a stream's schema in its JSON form."""
    path = resource(f"avro/{Stream(stream).schema}.avsc")
    return json.loads(path.read_text("utf-8"))


def stream_encoder(stream: str, prefix: bytes = b"") -> Encode:
    """Compile a stream's encoder; ``prefix`` is what `stream_prefix` returned."""
    return encoder(without_logical_types(definition(stream)), prefix)


def stream_prefix(stream: str, settings: Settings, topic: str, folder: Path) -> bytes:
    """Return what stands before every record: Confluent's header where the settings ask for it.

    Parameters
    ----------
    stream, topic
        What is written, and the topic that its schema is registered for.
    settings, folder
        Of the pipeline file.

    Raises
    ------
    RegistryError
        The registry that the header's schema id comes from does not answer.
    """
    if settings.output_format == "confluent" and settings.schemas is not None:
        from verdict.pipelines.formats.registry import SchemaSource

        schema_id = SchemaSource(settings.schemas, folder).register(
            f"{topic}-value", definition(stream)
        )
        return bytes([CONFLUENT_MAGIC]) + schema_id.to_bytes(4, "big")
    return b""


def stream_decoder(stream: str, settings: Settings, *, logical: bool = False) -> Decode:
    """Compile a stream's decoder.

    Decimals come as bytes and times as milliseconds; as `Decimal` and `datetime` if ``logical``.
    """
    prefix = CONFLUENT_HEADER if settings.output_format == "confluent" else 0
    schema = definition(stream)
    return decoder(schema if logical else without_logical_types(schema), prefix)
