"""Events from files: the embedded engine without Kafka."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from verdict.operators.events.decode import Decoded
from verdict.operators.events.schema import Schema, mismatch
from verdict.operators.message import NO_TIMESTAMP, Message, new
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.avro_file import cut


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
        name = file.name
        for offset, value in enumerate(values):
            if offset >= start:
                row = (stream, None, value, name, partition, offset, NO_TIMESTAMP, ())
                yield new(Message, row)


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

    def other(plain: Any) -> str | None:
        wrong = mismatch(plain, schema)
        return None if wrong is None else f"{file}: {wrong}"

    for body, record in cut(file, schema.raw, other, progress):
        yield body if record is None else Decoded.of(body, record)
