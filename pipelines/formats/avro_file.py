"""Avro containers: outputs written, and read back."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import fastavro
from fastavro.write import Writer

from verdict.operators.events.schema import without_logical_types
from verdict.pipelines.errors import FileError

PRIMITIVES = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
TYPES = PRIMITIVES | {"record", "error", "fixed", "enum", "array", "map"}
"""Avro's own names of types."""


def canonical(definition: Any) -> str:
    """Write a schema as text to compare; a default of bytes as JSON has it."""
    return json.dumps(definition, sort_keys=True, default=lambda data: data.decode("latin-1"))


def damaged(file: Path, number: int, error: Exception) -> FileError:
    """Make the error of a file that ends, or is wrong, after so many records."""
    why = str(error) or "it ends early"
    return FileError(f"{file}: damaged after {number} records: {type(error).__name__}: {why}")


class AvroFile:
    r"""An Avro container that grows by whole blocks and can be cut back to a known length.

    Parameters
    ----------
    path
        Of the file; made if it is not there.
    definition
        The schema in its JSON form.
    length
        Bytes to keep of a file that is there, as `length` said after the last block that counts;
        what lies behind was not committed. 0 starts the file anew.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> counted = {"type": "record", "name": "Counted", "fields": [{"name": "n", "type": "int"}]}
    >>> with TemporaryDirectory() as folder:
    ...     file = AvroFile(Path(folder, "counted.avro"), counted, length=0)
    ...     file.append([b"\x02", b"\x04"])
    ...     file.close()
    ...     list(read_records(Path(folder, "counted.avro")))
    [{'n': 1}, {'n': 2}]
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


def read_records(path: Path | str) -> Iterator[dict[str, Any]]:
    """Read an output file back, decimals as `Decimal` and times as `datetime`.

    Raises
    ------
    FileError
        It cannot be read, or ends within a block: a run that was killed leaves it so, and mends it
        when it is started again.

    Examples
    --------
    >>> list(read_records(Path("decisions.avro")))
    Traceback (most recent call last):
    verdict.pipelines.errors.FileError: cannot read decisions.avro: No such file or directory
    """
    path, number = Path(path), 0
    try:
        with path.open("rb") as container:
            for record in fastavro.reader(container):
                yield record
                number += 1
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # fastavro raises a dozen kinds
        raise damaged(path, number, error) from None


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

    def other(plain: Any) -> str | None:
        if plain.get("name", "").rpartition(".")[2] == definition["name"]:
            return None
        return f"{path} holds records '{plain.get('name')}', no {definition['name']}s"

    for body, _ in cut(path, schema, other):
        yield body


def cut(
    path: Path,
    schema: Any,
    wrong: Callable[[Any], str | None],
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[bytes, Any]]:
    """Cut a container into its records, each as it is encoded in a schema.

    Parameters
    ----------
    path
        Of the container, whose own schema resolves to the wanted one.
    schema
        The wanted one, in its JSON form.
    wrong
        Told the container's own schema, without logical types; what it says is wrong is an error.
    progress
        Called with how many bytes more have been read.

    Yields
    ------
    tuple[bytes, Any]
        The record encoded, and decoded; None where it had to be encoded anew.

    Raises
    ------
    FileError
        It cannot be read, is damaged, or holds what is wrong.
    """
    number = at = 0
    try:
        with path.open("rb") as container:
            blocks = fastavro.block_reader(container)
            plain = without_logical_types(blocks.writer_schema)
            said = wrong(plain)
            if said is not None:
                raise FileError(said)
            same = canonical(plain) == canonical(without_logical_types(schema))
            writer, reader = fastavro.parse_schema(plain), fastavro.parse_schema(schema)
            in_blocks = same and not _refers(plain)
            for block in blocks:
                body = block.bytes_
                data = body.getvalue()
                if progress is not None:
                    progress(container.tell() - at)
                    at = container.tell()
                records: Iterable[Any]
                if in_blocks:  # a block reads its records faster than they can be asked for
                    block.writer_schema = writer
                    records = block
                else:
                    records = _records(block, writer, None if same else reader)
                start, end = 0, body.tell
                for record in records:
                    if same:
                        yield data[start : (start := end())], record
                    else:
                        again: io.BytesIO = io.BytesIO()
                        fastavro.schemaless_writer(again, reader, record)
                        yield again.getvalue(), None
                    number += 1
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # fastavro raises a dozen kinds
        raise damaged(path, number, error) from None


def _records(block: Any, writer: Any, reader: Any) -> Iterator[Any]:
    for _ in range(block.num_records):
        yield fastavro.schemaless_reader(block.bytes_, writer, reader)


def _refers(node: Any) -> bool:
    """Whether a schema names one of its types again: a block looks it up in the file's own."""
    if isinstance(node, dict):
        parts = [node["type"], node.get("items", []), node.get("values", [])]
        parts += [field["type"] for field in node.get("fields", ())]
        return any(map(_refers, parts))
    if isinstance(node, list):
        return any(map(_refers, node))
    return node not in TYPES
