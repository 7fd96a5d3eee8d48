"""What can be asked of the events in a window: the aggregates, by name.

To add one: its name here, its formula in `Plan` (`plan.py`), and what it carries along, if that is
new: a tally in `tallies.py`, candidates in `extremes.py`, each in its slow way and, where it is
quick, in `fast.py`; and its field in `pipelines/spec/features.py`, by which a pipeline file asks
for it.
"""

from typing import NamedTuple

OPS = (
    "count",
    "sum",
    "mean",
    "std",
    "min",
    "max",
    "first",
    "last",
    "distinct",
    "time_since_last",
    "rate",
)
"""Over windows."""
LABELLED = ("count", "sum", "mean", "rate")
"""Over labels; ``rate`` goes with nothing else."""
DECAYED = ("count", "sum", "mean")
"""With a half-life."""
DELAYED = ("count", "sum", "mean", "std", "rate")
"""With a delay."""


class Aggregate(NamedTuple):
    """One aggregate.

    Attributes
    ----------
    op
        One of `OPS`; with a half-life, one of `DECAYED`.
    over
        The window's length in milliseconds, or the half-life.
    column
        Index of the column; None for events.
    delay
        Milliseconds: the window is (t - delay - over, t - delay].
    current
        Whether the event itself counts, where the window reaches to it.
    decayed
        ``over`` is a half-life.
    """

    op: str
    over: int
    column: int | None = None
    delay: int = 0
    current: bool = True
    decayed: bool = False
