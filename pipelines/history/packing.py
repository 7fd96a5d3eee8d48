"""What goes from one process of a backfill to the other, as bytes: column by column.

Only plain values are left, which Python's ``marshal`` writes and reads in C. What is the same for a
whole part, as a file's name, is written once.
"""

import marshal
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

from verdict.operators.events.event import Event
from verdict.operators.labels.label import Label
from verdict.operators.message import Message, new
from verdict.operators.score.carry import Carry
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.state.codegen import define

Part = tuple[list[OutputRecord], list[OutputRecord], Any]
"""What goes on to the hops to come, what the first ones put out, what else there is to say."""
VERSION = 2
"""Of marshal's format: the last one that does not look each object up, whether it came before."""


def packed(part: Part) -> bytes:
    """Pack a part.

    >>> cause = Message("events", None, b"body", "events.avro", 0, 7, -1)
    >>> event = Event("e1", 5, ("c1",), {"amount": 1.5}, {})
    >>> carry = Carry(event, [], [1.0], ["c1"], None, b"body")
    >>> messages, outputs, more = unpacked(packed(([OutputRecord("", b"k", carry, cause)], [], 1)))
    >>> messages == [cause._replace(key=b"k", value=carry)], outputs, more
    (True, [], 1)
    """
    following, outputs, more = part
    labels = [(i, tuple(o.value)) for i, o in enumerate(following) if type(o.value) is Label]
    _, keys, values, causes = _turned(following, len(OutputRecord._fields))
    streams, _, _, *coordinates = _turned(causes, len(Message._fields))
    carries = [value for value in values if type(value) is Carry] if labels else values
    events, implausible, features, hops, raw_keys, raw_values, repeated = _turned(
        carries, len(Carry._fields)
    )
    *plain, fields, units = _turned(events, len(Event._fields))
    columns: Any = (
        keys,
        list(map(str, _short(streams))),  # marshal takes no enumeration
        [_short(column) for column in coordinates],
        labels,
        (*plain, _of_dicts(fields), _of_dicts(units)),
        implausible if any(implausible) else None,
        (features, hops, _short(raw_keys)),
        [None if raw is None else bytes(raw) for raw in raw_values],  # it may be a `Decoded`
        _short(repeated),
    )
    return marshal.dumps((columns, pickle.dumps((outputs, more))), VERSION)


def unpacked(data: bytes) -> tuple[list[Message], list[OutputRecord], Any]:
    """Unpack a part, what goes on as messages to the hops to come."""
    columns, pickled = marshal.loads(data)
    outputs, more = pickle.loads(pickled)
    keys, streams, coordinates, labels, events, implausible, others, raw_values, repeated = columns
    made = map(new, repeat(Event), zip(*events[:3], *map(_dicts, events[3:]), strict=True))
    features, hops, raw_keys = others
    lists: Sequence[list[str]] = implausible or [[] for _ in raw_values]
    carries = (made, lists, features, hops, _long(raw_keys), raw_values, _long(repeated))
    values: list[Any] = list(map(new, repeat(Carry), _rows(*carries)))
    for index, label in labels:
        values.insert(index, Label(*label))
    messages = _rows(_long(streams), keys, values, *map(_long, coordinates))
    return list(map(new, repeat(Message), messages)), outputs, more


def _turned(rows: Sequence[Any], count: int) -> list[Sequence[Any]]:
    """Turn rows of so many columns around."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


def _short(column: Sequence[Any]) -> Sequence[Any]:
    """Leave one value of a column that has no other."""
    return column[:1] if column and column.count(column[0]) == len(column) else column


def _long(column: Sequence[Any]) -> Iterable[Any]:
    """Repeat the value of a column that `_short` may have left alone; it ends with the others."""
    return repeat(column[0]) if len(column) == 1 else column


def _rows(*columns: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Turn columns around, some of which may have no end."""
    return zip(*columns, strict=False)


def _of_dicts(dicts: Sequence[Mapping[str, Any]]) -> tuple[int, list[str], list[Sequence[Any]]]:
    """Turn dictionaries of the same keys around: count, keys, columns."""
    names = list(dicts[0]) if dicts else []
    return len(dicts), names, [[each[name] for each in dicts] for name in names]


def _dicts(turned: tuple[int, list[str], list[Sequence[Any]]]) -> list[dict[str, Any]]:
    """Turn them back."""
    count, names, columns = turned
    return _maker(tuple(names))(columns) if columns else [{} for _ in range(count)]


@lru_cache
def _maker(names: tuple[str, ...]) -> Callable[[list[Sequence[Any]]], list[dict[str, Any]]]:
    """Write a function that makes dictionaries of columns: a third of the time of ``dict``."""
    values = [f"value_{i}" for i in range(len(names))]
    pairs = ", ".join(f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    line = f"return [{{{pairs}}} for {', '.join(values)}, in zip(*columns)]"
    return define("dicts", "columns", [line], {"zip": zip}, "dicts")
