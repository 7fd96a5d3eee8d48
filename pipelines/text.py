"""Times, ages and records as text for people."""

import time
from datetime import UTC, datetime, timedelta


def ago(duration: int, now: float | None = None) -> int:
    """Return the time that lies a duration, in milliseconds, before now.

    >>> ago(60_000, now=100.0)
    40000
    """
    return int((time.time() if now is None else now) * 1000) - duration


def moment(at: int) -> str | None:
    """Write a time as ISO 8601; None where there is none, or none that a calendar has.

    >>> moment(0), moment(-1), moment(10**18)
    ('1970-01-01T00:00:00.000Z', None, None)
    """
    if at < 0:
        return None
    try:
        stands = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    except OverflowError:
        return None
    return stands.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    r"""Escape what a terminal would obey: whoever sent the record chose its text.

    >>> print(printable("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
