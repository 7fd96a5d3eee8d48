"""Events from files, outputs to files: the embedded engine without Kafka."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fastavro

from verdict.operators.events.decode import Decoded
from verdict.operators.events.schema import Schema, mismatch, without_logical_types
from verdict.operators.message import NO_TIMESTAMP, Message
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.avro_file import canonical, damaged


def read_events(
    files: Sequence[Path],
    schema: Schema,
    stream: str,
    starts: Sequence[int] = (),
    progress: Callable[[int], None] | None = None,
) -> Iterator[Message]:
    """Read events from Avro containers, Parquet and JSON lines, one file after another.

    Parameters
    ----------
    files
        ``.avro``, ``.parquet`` or ``.jsonl``; each is one partition, its records numbered from 0.
    schema
        Of the pipeline's events; a container's own schema resolves to it by Avro's rules, and
        Parquet's columns go by their names.
    stream
        Name of the stream that the messages belong to.
    starts
        Records to skip of each file: those of a run before.
    progress
        Called now and then with how many bytes more of the files have been read.

    Raises
    ------
    FileError
        A file cannot be read, or is damaged; the message says where.
    """
    for partition, file in enumerate(files):
        values = _values(file, schema, progress or _unseen)
        start = starts[partition] if starts else 0
        for offset, value in enumerate(values):
            if offset < start:
                continue
            yield Message(stream, None, value, file.name, partition, offset, NO_TIMESTAMP)


def _unseen(_read: int) -> None:
    pass


def _values(file: Path, schema: Schema, progress: Callable[[int], None]) -> Iterator[bytes]:
    if file.suffix == ".avro":
        return _avro_values(file, schema, progress)
    if file.suffix == ".parquet":
        from verdict.pipelines.formats.parquet import values

        return values(file, schema, progress)
    return _lines(file, progress)


def _lines(file: Path, progress: Callable[[int], None]) -> Iterator[bytes]:
    try:
        with file.open("rb") as lines:
            for line in lines:
                progress(len(line))
                stripped = line.strip()
                if stripped:
                    yield stripped
    except OSError as error:
        raise FileError(f"cannot read {file}: {error.strerror}") from None


def _avro_values(file: Path, schema: Schema, progress: Callable[[int], None]) -> Iterator[bytes]:
    """Cut a container into the bodies of its records, in the pipeline's schema."""
    number = at = 0
    try:
        with file.open("rb") as container:
            blocks = fastavro.block_reader(container)
            plain = without_logical_types(blocks.writer_schema)
            wrong = mismatch(plain, schema)
            if wrong is not None:
                raise FileError(f"{file}: {wrong}")
            same = canonical(plain) == canonical(without_logical_types(schema.raw))
            writer = fastavro.parse_schema(plain)
            for block in blocks:
                body = block.bytes_
                data = body.getvalue()
                progress(container.tell() - at)
                at = container.tell()
                for _ in range(block.num_records):
                    start = body.tell()
                    record = fastavro.schemaless_reader(body, writer, None if same else schema.raw)
                    if same:
                        yield Decoded.of(data[start : body.tell()], record)
                    else:
                        yield _encoded(record, schema)
                    number += 1
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {file}: {error.strerror}") from None
    except Exception as error:  # fastavro raises a dozen kinds
        raise damaged(file, number, error) from None


def _encoded(record: Any, schema: Schema) -> bytes:
    body: io.BytesIO = io.BytesIO()
    fastavro.schemaless_writer(body, schema.raw, record)
    return bytes(body.getvalue())
