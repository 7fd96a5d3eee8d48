"""Values of a pipeline file: durations, names, topics."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

UNITS_MS: Mapping[str, int] = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")


def milliseconds(text: Any) -> int:
    """Read a duration: a whole number and its unit.

    >>> milliseconds("7d"), milliseconds("90s")
    (604800000, 90000)
    """
    match = DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError(f"'{text}' is no duration; write a whole number and ms, s, m, h or d: 7d")
    return int(match[1]) * UNITS_MS[match[2]]


Duration = Annotated[int, BeforeValidator(milliseconds)]
"""Milliseconds, written as a whole number and a unit: ``90s``, ``30m``, ``7d``."""


def _fits(pattern: str, says: str) -> AfterValidator:
    """Make a validator of text whose error says in words what is wanted."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"'{text}' will not do; write {says}")
        return text

    return AfterValidator(check)


Name = Annotated[
    str, _fits(r"[a-z][a-z0-9_-]*", "lower-case letters, digits, '-' and '_', a letter first")
]
"""Lower-case letters, digits, ``-`` and ``_``."""
Topic = Annotated[
    str, _fits(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", "at most 249 letters, digits, '.', '_', '-'")
]
"""What Kafka takes as a topic's name."""
HeaderName = Annotated[
    str, _fits(r"(?!source$)[!-~]{1,100}", "at most 100 letters, digits and signs; not 'source'")
]
"""Name of a Kafka header."""


def _ports(value: Any) -> Any:
    """Read one port, or the first and last of several."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", str(value))
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last < 65_536:
        raise ValueError(f"'{value}' is no range of ports; write the first and last: 9400-9409")
    return str(value)


Ports = Annotated[str, BeforeValidator(_ports)]
"""A port, or a range: ``9400-9409``."""
Function = Annotated[str, _fits(r"[^:]+\.py:[A-Za-z_]\w*", "file.py:function")]
"""A function in a Python file."""
Currency = Annotated[str, _fits("[A-Z]{3}", "three capital letters, such as EUR")]
"""ISO 4217."""
Default = Annotated[float | None, Field(allow_inf_nan=True)]
"""What a feature is where it has no value; ``.nan`` for a model that knows what is missing."""
