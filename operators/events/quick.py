"""The quick way to an event, in lines: from the raw values that are read, if nothing is wrong.

What is wrong with an event, or missing of it, the careful way says: `operators.events.extract`.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from verdict.operators.events.decode import FIRST_TIME, LAST_TIME
from verdict.operators.events.event import Event, composed
from verdict.operators.events.fields import as_exact
from verdict.operators.events.schema import MICROS, Field
from verdict.operators.expressions import Kind
from verdict.state.windows.values import NULL

UNUSUAL = (TypeError, ValueError, ArithmeticError, LookupError, struct.error)
"""What the lines raise where something is wrong."""


class EventPaths(NamedTuple):
    """Where in a record lies what the pipeline reads; `Extract` says what each is."""

    event_id: str
    time: str
    keys: Sequence[Sequence[str]]
    fields: Sequence[str]
    units: Sequence[str]


class EventLines:
    """Writes how an event is made of raw values: the lines that follow those which name them.

    Attributes
    ----------
    raws
        Path -> the variable of its raw value, which is None where it is null.
    lines
        They return the event; or None, or raise one of `UNUSUAL`, where the careful way must look.
    scope
        What the lines name.
    """

    def __init__(self, leaves: Mapping[str, Field], paths: EventPaths) -> None:
        self._leaves = leaves
        self._known: dict[tuple[str, str], str] = {}
        self.raws: dict[str, str] = {}
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {
            "Event": Event,
            "new": tuple.__new__,
            "from_bytes": int.from_bytes,
            "isfinite": math.isfinite,
            "str": str,
            "len": len,
            "composed": composed,
            "unusual": UNUSUAL,
        }
        event_id, time = self._text(paths.event_id), self._exact(paths.time)
        names = [[self._text(path) for path in parts] for parts in paths.keys]
        for i, parts in enumerate(names):
            if len(parts) > 1:
                self.lines.append(f"key_{i} = composed(({', '.join(parts)}))")
                names[i] = [f"key_{i}"]
        made = [name for parts in names for name in parts]
        by_name = ", ".join(f"{path!r}: {self._value(path)}" for path in paths.fields)
        exact = ", ".join(f"{path!r}: {self._exact(path)}" for path in paths.units)
        self.lines += [
            f"if not {event_id} or {time} is None or {made[0]} is None: return None",
            f"if not {FIRST_TIME} <= {time} <= {LAST_TIME}: return None",
            *(f"if {key} == '': return None" for key in made),
            f"return new(Event, ({event_id}, {time}, ({', '.join(made)},), "
            f"{{{by_name}}}, {{{exact}}}))",
        ]

    def after(self, named: Sequence[str]) -> list[str]:
        """Return a function's whole body, of which others have named the raw values."""
        inside = [f"    {line}" for line in (*named, *self.lines)]
        return ["try:", *inside, "except unusual: return None"]

    def _once(self, path: str, kind: str, raw: str, *lines: str, value: str) -> str:
        """Write how a value comes from another, unless that is null; return its variable."""
        name = self._known.get((path, kind))
        if name is None:
            name = self._known[path, kind] = f"{kind}_{len(self._known)}"
            if self._leaves[path].nullable:
                self.lines += [
                    f"if {raw} is None: {name} = None",
                    "else:",
                    *(f"    {line}" for line in (*lines, f"{name} = {value}")),
                ]
            else:
                self.lines += [*lines, f"{name} = {value}"]
        return name

    def _raw(self, path: str) -> str:
        return self.raws.setdefault(path, f"raw_{len(self.raws)}")

    def _text(self, path: str) -> str:
        raw = self._raw(path)
        if not self._leaves[path].integer:
            return raw
        return self._once(path, "text", raw, value=f"str({raw})")

    def _exact(self, path: str) -> str:
        field, raw = self._leaves[path], self._raw(path)
        if field.is_decimal:  # of more bytes perhaps beyond 64 bits: the long way finds out
            return self._once(
                path,
                "exact",
                raw,
                f"if len({raw}) > 7: return None",
                value=f"from_bytes({raw}, 'big', signed=True)",
            )
        if field.time == MICROS:
            self.scope["micros"] = as_exact(field)
            return self._once(path, "exact", raw, value=f"micros({raw})")
        return self._once(path, "exact", raw, f"if {raw} == {NULL}: return None", value=raw)

    def _value(self, path: str) -> str:
        field, raw = self._leaves[path], self._raw(path)
        if field.is_decimal:
            exact = self._exact(path)
            return self._once(path, "value", exact, value=f"{exact} / {10**field.scale}")
        if field.time is not None:
            return self._exact(path)
        if field.kind is Kind.NUMBER and not field.integer:
            return self._once(path, "value", raw, f"if not isfinite({raw}): return None", value=raw)
        return raw


def by_name(raws: Mapping[str, str]) -> list[str]:
    """Write how raw values are taken out of a decoded record.

    >>> by_name({"terminal.id": "raw_0"})
    ["raw_0 = record['terminal']", "if raw_0 is not None: raw_0 = raw_0['id']"]
    """
    lines = []
    for path, name in raws.items():
        first, *rest = path.split(".")
        lines.append(f"{name} = record[{first!r}]")
        lines += [f"if {name} is not None: {name} = {name}[{step!r}]" for step in rest]
    return lines
