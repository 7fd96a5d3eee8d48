"""Features that are looked up: rows of a table beside the stream, and what an event finds there."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import Decode
from verdict.operators.events.event import Event, composed
from verdict.operators.events.fields import exact_of, text_of, value_of
from verdict.operators.events.schema import Schema
from verdict.operators.names import BadKind

FOR_EVER = (1 << 63) - 1
"""Until when a row counts that says nothing of it."""


class LookupTable(Protocol):
    """A table as an operator sees it: rows that `RowReader` packed, by key.

    ``lag`` is how many records of its topic are not in it yet, None where that is not known;
    ``bad`` how many were refused.
    """

    name: str

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        ...

    @property
    def lag(self) -> int | None:
        """How many records are not in it yet; None where that is not known."""
        ...

    @property
    def bad(self) -> int:
        """How many records were no rows."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """Return a key's packed row, or None where there is none."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class RowReader:
    """What is kept of a table's rows: the numbers that features ask for, and until when it counts.

    Parameters
    ----------
    fields
        Paths of the numbers, true as 1.
    expires
        Path of the time from which on a row counts no more; None where rows count for ever.
    schema, decode
        Of the rows; None where nothing of a row is read.
    key
        Paths of the parts of a row's own key, for `keyed`.

    Examples
    --------
    >>> from verdict.operators.events.decode import json_decoder
    >>> from verdict.operators.events.schema import parse
    >>> schema = parse({"type": "record", "name": "Merchant", "fields": [
    ...     {"name": "id", "type": "string"}, {"name": "risk", "type": ["null", "double"]},
    ...     {"name": "until", "type": {"type": "long", "logicalType": "timestamp-millis"}}]})
    >>> rows = RowReader(["risk"], "until", schema, json_decoder(), ["id"])
    >>> rows.unpack(rows.pack(b'{"id": "m1", "risk": 0.5, "until": 1000}'))
    (1000, 0.5)
    >>> rows.keyed(b'{"id": "m1", "until": 1000}')[0]
    b'm1'
    """

    def __init__(
        self,
        fields: Sequence[str],
        expires: str | None = None,
        schema: Schema | None = None,
        decode: Decode | None = None,
        key: Sequence[str] = (),
    ) -> None:
        self._decode = decode
        leaves = {} if schema is None else schema.fields
        self._fields = [value_of(leaves[path]) for path in fields]
        self._expires = None if expires is None else exact_of(leaves[expires])
        self._key = [text_of(leaves[path]) for path in key]
        packed = struct.Struct(f"<{'q' if expires else ''}{len(self._fields)}d")
        self._pack = packed.pack
        self.unpack: Callable[[bytes], tuple[Any, ...]] = packed.unpack

    def pack(self, value: bytes) -> bytes:
        """Read a row and pack it.

        Raises
        ------
        BadRecord
            It is no row of the schema.
        """
        return b"" if self._decode is None else self._packed(self._decode(value))

    def keyed(self, value: bytes) -> tuple[bytes, bytes]:
        """Read a row that holds its own key; return the key and the packed row.

        Raises
        ------
        BadRecord
            It is no row of the schema, or its key is missing.
        """
        assert self._decode is not None
        record = self._decode(value)
        key = composed([read(record) for read in self._key])
        if key is None:
            raise BadRecord(BadKind.MISSING_KEY, "the row has no key")
        return key.encode(), self._packed(record)

    def _packed(self, record: Mapping[str, Any]) -> bytes:
        numbers = []
        for read in self._fields:
            found = read(record)
            try:
                numbers.append(math.nan if found is None else float(found))
            except OverflowError:
                numbers.append(math.nan)
        if self._expires is None:
            return self._pack(*numbers)
        until = self._expires(record)
        return self._pack(FOR_EVER if until is None else until, *numbers)


@dataclass(frozen=True)
class LookedUp:
    """A feature of a table: a number of the row, or whether there is one.

    ``column`` is the number's place among the fields of `RowReader`; None asks whether there is a
    row.
    """

    name: str
    column: int | None
    default: float | None


class LookupReader:
    """The features of one table.

    Parameters
    ----------
    table
        The table.
    rows
        How its rows are packed.
    key
        Paths of the parts of its key in the event.
    expires
        Whether rows do.
    features
        The features.

    Examples
    --------
    >>> class Blocked(dict):
    ...     name, rows, lag, bad = "blocked", 1, 0, 0
    >>> rows = RowReader([])
    >>> lookup = LookupReader(Blocked({b"c1": rows.pack(b"")}), rows, ["card"], False,
    ...                 [LookedUp("blocked", None, None)])
    >>> [lookup(Event("e", 0, (card,), {"card": card}, {})) for card in ("c1", "c2", None)]
    [[1.0], [0.0], [0.0]]
    """

    def __init__(
        self,
        table: LookupTable,
        rows: RowReader,
        key: Sequence[str],
        expires: bool,
        features: Sequence[LookedUp],
    ) -> None:
        self.table = table
        self._unpack = rows.unpack
        self._key = list(key)
        self._path = key[0] if len(key) == 1 else None
        self._expires = expires
        self._asked = [
            (None if each.column is None else each.column + expires, each.default)
            for each in features
        ]
        self._without = [0.0 if column is None else default for column, default in self._asked]
        self.names = [each.name for each in features]

    def __call__(self, event: Event) -> list[float | None]:
        """Return the features' values for an event."""
        fields = event.fields
        if self._path is not None:
            part = fields[self._path]
            key = part if isinstance(part, str) else None if part is None else str(part)
        else:
            parts = [fields[path] for path in self._key]
            key = composed([None if part is None else str(part) for part in parts])
        row = self.table.get(key.encode()) if key else None
        if row is None:
            return self._without.copy()
        values = self._unpack(row)
        if self._expires and values[0] <= event.time:
            return self._without.copy()
        found: list[float | None] = []
        for column, default in self._asked:
            if column is None:
                found.append(1.0)
                continue
            value = values[column]
            found.append(value if math.isfinite(value) else default)
        return found


class Lookups:
    """The features of all tables, one table after the other."""

    def __init__(self, lookups: Sequence[LookupReader]) -> None:
        self._lookups = list(lookups)
        self.names = [name for lookup in self._lookups for name in lookup.names]

    @property
    def tables(self) -> list[LookupTable]:
        """The tables."""
        return [lookup.table for lookup in self._lookups]

    def __call__(self, event: Event) -> list[float | None]:
        """Return their values for an event."""
        return [value for lookup in self._lookups for value in lookup(event)]
