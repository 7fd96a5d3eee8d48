"""One table for all who ask for it in a process."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.features.lookups import RowReader
from verdict.pipelines.formats.events import read_events
from verdict.state.store.table import Table, TableInUse

LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.NullHandler())
APPLY_MOST = 1_000
"""Most records of a WriteBatch."""
lock = threading.RLock()
tables: dict[tuple[str, str, str], "Shared"] = {}
"""What this process follows: hops of one interpreter share a table."""


def claim(folder: Path, made_of: str) -> Table:
    """Open the first table of a folder that no other process holds.

    They are numbered. A process that starts again finds the one it had, unless one that is still
    dying holds it: then it takes the next, and fills that.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, second = claim(Path(folder), "a"), claim(Path(folder), "a")
    ...     first.apply({b"k": b"row"}, {})
    ...     first.close()
    ...     again = claim(Path(folder), "a")
    ...     print(again.rows, second.rows)
    ...     again.close()
    ...     second.close()
    1 0
    """
    for number in itertools.count():
        try:
            return Table(folder / str(number), made_of)
        except TableInUse:
            continue
    raise AssertionError


class Shared:
    """A table that several operators of this process ask; it is let go of by the last of them."""

    def __init__(self, name: str, table: Table) -> None:
        self.name = name
        self.users = 1
        self._table = table
        self.get: Callable[[bytes], bytes | None] = table.get
        self._refused = 0

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._table.rows

    @property
    def bad(self) -> int:
        """How many records were no rows."""
        return self._refused

    @property
    def lag(self) -> int | None:
        """How many records are not in the table yet; None where that is not known."""
        return 0

    def ready(self) -> None:
        """Wait until the table is full."""

    def close(self) -> None:
        """Let go of it."""
        with lock:
            self.users -= 1
            if self.users > 0:
                return
            for key in [key for key, table in tables.items() if table is self]:
                del tables[key]
            self._end()

    def _end(self) -> None:
        self._table.close()

    def _refuse(self, where: str, error: BadRecord) -> None:
        self._refused += 1
        # Its text may quote the row.
        LOGGER.warning(
            "lookup '%s': the record %s is no row (%s) and is left out; the row that its key had "
            "stays. Mend the producer and send it again.",
            self.name,
            where,
            error.kind,
        )


class FromFiles(Shared):
    """A table that is read from files, whole, before the first event."""

    def __init__(
        self, name: str, folder: Path, rows: RowReader, files: Sequence[Path], schema: Any
    ) -> None:
        table = claim(folder, "files")
        super().__init__(name, table)
        try:
            table.clear()
            for batch in _batched(read_events(files, schema, name), APPLY_MOST):
                changes: dict[bytes, bytes | None] = {}
                for message in batch:
                    try:
                        key, row = rows.keyed(message.value)
                    except BadRecord as error:
                        self._refuse(f"{message.topic}:{message.offset}", error)
                    else:
                        changes[key] = row
                table.apply(changes, {})
        except BaseException:
            table.close()
            raise


def _batched(messages: Iterator[Any], most: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(messages, most)):
        yield batch
