"""Whose CPU time it was: of a contestant, the broker, the benchmark itself, others."""

import os
import time
from typing import NamedTuple

from contestants import Place, Running
from processes import cpu_s, machine_cpu_s


class Shares(NamedTuple):
    """Shares of the machine's cores, between two moments.

    Attributes
    ----------
    its
        Of the contestant.
    broker
        Of the broker.
    bench
        Of what plays events, reads decisions and watches.
    others
        Of whatever else runs on this machine. A figure that was measured beside them says little.
    """

    its: float
    broker: float
    bench: float
    others: float


class Usage(NamedTuple):
    """A moment, in seconds: by the clock, and in CPU time since each began."""

    at_s: float
    all_s: float
    ours_s: float
    its_s: float
    broker_s: float

    @classmethod
    def now(cls, running: Running, place: Place) -> "Usage":
        """Take the time."""
        ours, broker = cpu_s(os.getpid()), cpu_s(place.broker)
        return cls(time.monotonic(), machine_cpu_s(), ours, running.cpu_s(), broker)

    def shares(self, since: "Usage") -> Shares:
        """Return who took which share since an earlier moment."""
        cores_s = (self.at_s - since.at_s) * (os.cpu_count() or 1)
        its, broker = self.its_s - since.its_s, self.broker_s - since.broker_s
        ours = self.ours_s - since.ours_s
        spent = (its, broker, ours - its - broker, self.all_s - since.all_s - ours)
        return Shares(*(max(each, 0.0) / cores_s for each in spent))
