"""An event, as the hops see it."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One decoded event, cut down to what the pipeline reads.

    Attributes
    ----------
    id
        The event's id.
    time
        Event time in milliseconds since the epoch.
    keys
        One a hop, in the order of the hops; None where the entity is missing.
    fields
        Path -> value for expressions: number, string or boolean; None where null.
    units
        Path -> exact integer of the decimal and integer fields that are aggregated.
    """

    id: str
    time: int
    keys: tuple[str | None, ...]
    fields: dict[str, Any]
    units: dict[str, int | None]


def composed(parts: Sequence[str | None]) -> str | None:
    r"""Make one key of its parts; None where one of them is missing or empty.

    >>> composed(["c1"]), composed(["c1", "a|b"]), composed(["c1", None])
    ('c1', 'c1|a\\|b', None)
    """
    if len(parts) == 1:
        return parts[0] or None
    if not all(parts):
        return None
    return "|".join([(part or "").replace("\\", "\\\\").replace("|", "\\|") for part in parts])
