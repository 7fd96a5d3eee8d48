"""A label, and which of several counts."""

from collections.abc import Iterable, Sequence
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


class Precedence:
    """Says which source is to be believed before which.

    Examples
    --------
    >>> rank = Precedence(["chargeback", "analyst"])
    >>> rank("chargeback"), rank("analyst"), rank("customer")
    (0, 1, 2)
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self._ranks = {source: rank for rank, source in enumerate(sources)}

    def __call__(self, source: str) -> int:
        """Return a source's rank, 0 the best; those that are not listed share the last."""
        return self._ranks.get(source, len(self._ranks))


def best(labels: Iterable[Label]) -> Label | None:
    """Return the label that decides: of the best source's, the one known last.

    Where one source said both at one time, positive decides, in whatever order they came.

    >>> bank = Label("e1", None, (), True, 5, "bank", 0)
    >>> customer = bank._replace(positive=False, known_at=9, rank=1)
    >>> best([customer, bank]) == bank, best([])
    (True, None)
    """
    return min(
        labels, key=lambda label: (label.rank, -label.known_at, not label.positive), default=None
    )
