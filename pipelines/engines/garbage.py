"""Python's garbage collector, kept from what the hot path makes: it has no cycles."""

import contextlib
import gc
from collections.abc import Iterator

THRESHOLDS = (50_000, 20, 50)
"""Python's own, 700 new objects, are a dozen events: the collector took 5 % of an event's time,
most of it to look at modules and models that stay."""


def spare() -> None:
    """Collect once, leave what there is alone for ever, and look seldom at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Do so for a while.

    >>> before = gc.get_threshold()
    >>> with spared():
    ...     gc.get_threshold() == THRESHOLDS
    True
    >>> gc.get_threshold() == before
    True
    """
    before = gc.get_threshold()
    spare()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
