"""Labels: what came of an event, as somebody says later."""

from typing import NamedTuple


class Label(NamedTuple):
    """A label of one event.

    Attributes
    ----------
    event_time
        In milliseconds; None where the record does not say.
    keys
        Of the event's entities, in the order of the hops; empty where the record has none.
    positive
        Whether the event was what the model looks for.
    known_at
        In milliseconds: when the source knew.
    rank
        Of the source: 0 that of the one to be believed before all others.
    """

    event_id: str
    event_time: int | None
    keys: tuple[str | None, ...]
    positive: bool
    known_at: int
    source: str
    rank: int
