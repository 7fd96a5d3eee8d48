"""Events from files, outputs to files: the embedded engine without Kafka."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import fastavro
from fastavro.write import Writer

from verdict.operators.events.decode import Decoded
from verdict.operators.events.schema import Schema, mismatch, without_logical_types
from verdict.operators.message import Message
from verdict.pipelines.errors import FileError

NO_TIMESTAMP = -1
"""Kafka's own value for a record without one."""


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
            same = _canonical(plain) == _canonical(without_logical_types(schema.raw))
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
        raise _damaged(file, number, error) from None


def _canonical(definition: Any) -> str:
    """Write a schema as text to compare; a default of bytes as JSON has it."""
    return json.dumps(definition, sort_keys=True, default=lambda data: data.decode("latin-1"))


def _damaged(file: Path, number: int, error: Exception) -> FileError:
    why = str(error) or "it ends early"
    return FileError(f"{file}: damaged after {number} records: {type(error).__name__}: {why}")


def _encoded(record: Any, schema: Schema) -> bytes:
    body: io.BytesIO = io.BytesIO()
    fastavro.schemaless_writer(body, schema.raw, record)
    return bytes(body.getvalue())


class AvroFile:
    """An Avro container that grows by whole blocks and can be cut back to a known length.

    Parameters
    ----------
    path
        Of the file; made if it is not there.
    definition
        The schema in its JSON form.
    length
        Bytes to keep of a file that is there, as `length` said after the last block that counts;
        what lies behind was not committed. 0 starts the file anew.
    """

    def __init__(self, path: Path, definition: Any, length: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO
        if length and path.exists() and path.stat().st_size >= length:
            self._file = path.open("r+b")
            self._file.truncate(length)
            self._file.seek(length)  # else the writer writes a second header over the first
        elif length:
            raise FileError(
                f"{path} is shorter than it was: the state knows of {length} bytes; "
                "restore the file, or start anew with an empty state folder"
            )
        else:
            self._file = path.open("w+b")
        self._writer = Writer(self._file, definition)
        self._file.seek(0, io.SEEK_END)
        self._file.flush()

    @property
    def length(self) -> int:
        """Bytes of the file up to the last block."""
        return self._file.tell()

    def append(self, bodies: Iterable[bytes]) -> None:
        """Write records, already encoded, as one block."""
        records = list(bodies)
        if records:
            block = SimpleNamespace(num_records=len(records), bytes_=io.BytesIO(b"".join(records)))
            self._writer.write_block(block)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read an output file back, decimals as `Decimal` and times as `datetime`.

    Raises
    ------
    FileError
        It cannot be read, or ends within a block: a run that was killed leaves it so, and mends it
        when it is started again.
    """
    number = 0
    try:
        with path.open("rb") as container:
            for record in fastavro.reader(container):
                yield record
                number += 1
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # fastavro raises a dozen kinds
        raise _damaged(path, number, error) from None


def read_bodies(path: Path, definition: Any) -> Iterator[bytes]:
    """Read an output file back, each record as it was encoded.

    Parameters
    ----------
    path
        An Avro container, of this release or of one whose schema resolves to this one's.
    definition
        The stream's schema in its JSON form.

    Raises
    ------
    FileError
        It cannot be read, is damaged, or holds other records.
    """
    schema = without_logical_types(definition)
    number = 0
    try:
        with path.open("rb") as container:
            blocks = fastavro.block_reader(container)
            plain = without_logical_types(blocks.writer_schema)
            if plain.get("name", "").rpartition(".")[2] != definition["name"]:
                raise FileError(
                    f"{path} holds records '{plain.get('name')}', no {definition['name']}s"
                )
            same = _canonical(plain) == _canonical(schema)
            writer, reader = fastavro.parse_schema(plain), fastavro.parse_schema(schema)
            for block in blocks:
                body = block.bytes_
                data = body.getvalue()
                for _ in range(block.num_records):
                    start = body.tell()
                    record = fastavro.schemaless_reader(body, writer, None if same else reader)
                    if same:
                        yield data[start : body.tell()]
                    else:
                        again: io.BytesIO = io.BytesIO()
                        fastavro.schemaless_writer(again, reader, record)
                        yield again.getvalue()
                    number += 1
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # fastavro raises a dozen kinds
        raise _damaged(path, number, error) from None
