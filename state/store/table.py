"""A global table in RocksDB: what a compacted topic says now, beside the process that asks it."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
)

from verdict.state.errors import StateError

ROW, META = b"k", b"m"
"""First byte of every stored key."""
_NOTE = META + b"note"
BLOCK_CACHE = 4 << 20
"""Bytes. Blocks are read where the system keeps the file, by mmap, so a cache has little to do."""
WRITE_BUFFER = 4 << 20
"""Bytes in memory before a file is written; two of them at most."""
BLOOM_BITS = 10
"""Of each key: one key in a hundred that is not there is looked for in a file."""


class TableInUse(StateError):
    """Another process, or this one, has the folder open."""


class Table:
    """Rows by key in a folder that one process owns, with the offsets they were read up to.

    `apply` puts rows and offsets into one WriteBatch, so after a crash both are those of one
    moment. One thread may apply while others get.

    Parameters
    ----------
    folder
        Made if it is not there.
    made_of
        What its rows come from and how they are packed. A folder that was made of something else
        is emptied.

    Attributes
    ----------
    rows
        How many there are.

    Raises
    ------
    TableInUse
        The folder is open already.
    StateError
        RocksDB cannot open it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Table(Path(folder), "merchants")
    ...     table.apply({b"m1": b"0.5", b"m2": b"0.1"}, {"risk/0": 2})
    ...     table.apply({b"m2": None}, {"risk/0": 3})
    ...     table.close()
    ...     table = Table(Path(folder), "merchants")
    ...     print(table.get(b"m1"), table.get(b"m2"), table.rows, table.offsets)
    ...     table.close()
    ...     table = Table(Path(folder), "limits")
    ...     print(table.get(b"m1"), table.rows, table.offsets)
    ...     table.close()
    b'0.5' None 1 {'risk/0': 3}
    None 0 {}
    """

    def __init__(self, folder: Path, made_of: str) -> None:
        self._folder = folder
        self._made_of = made_of
        self._failed = False
        self._db = _open(folder)
        note: dict[str, Any] = json.loads(self._db.get(_NOTE) or b"{}")
        self.rows: int = note.get("rows", 0)
        self._offsets: dict[str, int] = note.get("offsets", {})
        self.as_of: float = note.get("as_of", 0.0)
        """Seconds since the epoch, by the clock of who applied last, when it said so."""
        if note.get("made_of") != made_of:
            self.clear()

    @property
    def offsets(self) -> Mapping[str, int]:
        """``topic/partition`` -> next offset, as of the last `apply`."""
        return self._offsets

    def get(self, key: bytes) -> bytes | None:
        """Return a row, or None where there is none."""
        row: bytes | None = self._db.get(b"k" + key)
        return row

    def apply(
        self,
        changes: Mapping[bytes, bytes | None],
        offsets: Mapping[str, int],
        as_of: float | None = None,
    ) -> None:
        """Write rows and the offsets behind them, in one WriteBatch.

        Parameters
        ----------
        changes
            Key -> row; None deletes.
        offsets
            Those that changed.
        as_of
            Seconds since the epoch at which these were all the rows there were to read.

        Raises
        ------
        StateError
            It cannot be written.
        """
        batch = WriteBatch(raw_mode=True)
        rows = self.rows
        for key, row in changes.items():
            stored = ROW + key
            there = self._db.get(stored) is not None
            if row is not None:
                batch.put(stored, row)
                rows += not there
            elif there:
                batch.delete(stored)
                rows -= 1
        moved = {**self._offsets, **offsets}
        when = self.as_of if as_of is None else as_of
        note = {"made_of": self._made_of, "rows": rows, "offsets": moved, "as_of": when}
        batch.put(_NOTE, json.dumps(note).encode())
        try:
            self._db.write(batch)
        except Exception as error:  # a full disk, mostly
            self._failed = True
            raise StateError(
                f"the table in {self._folder} cannot be written: {error}; make room and start "
                "again: it goes on where it was"
            ) from None
        self.rows, self._offsets, self.as_of = rows, moved, when

    def compact(self) -> None:
        """Put what many batches wrote into as few files as there can be."""
        self._db.compact_range(None, None)

    def clear(self) -> None:
        """Drop everything; nobody may be asking meanwhile."""
        self._db.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._db = _open(self._folder)
        self.rows, self._offsets, self.as_of = 0, {}, 0.0

    def close(self) -> None:
        """Let go of the folder."""
        with contextlib.suppress(Exception) if self._failed else contextlib.nullcontext():
            self._db.close()


def _open(folder: Path) -> Rdict:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Rdict(str(folder), _options())
    except Exception as error:
        if "lock" in str(error).lower():
            raise TableInUse(f"the table in {folder} is in use") from None
        raise StateError(
            f"the table in {folder} cannot be opened: {error}; delete the folder, it is filled anew"
        ) from None


def _options() -> Options:
    """Settle for what reads one small row at random fastest, in little memory.

    A million rows of 41 bytes, any of them asked for: 2.1 us by mmap in blocks of 1 KiB, 2.3 of
    4 KiB, 3.4 from the block cache, 4.3 compressed (lz4).
    """
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(BLOCK_CACHE))
    blocks.set_bloom_filter(BLOOM_BITS, False)
    blocks.set_block_size(1024)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(DBCompressionType.none())
    options.set_allow_mmap_reads(True)
    options.set_write_buffer_size(WRITE_BUFFER)
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    return options
