"""How long a killed process was missed: one kill at a time, or while the next one comes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEHIND_S = 1.0
"""Of events: who has decided all but these has caught up."""
CALM_S = 2.0
"""Of having caught up: a job that comes back may stop once more."""

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Kill:
    """One process killed.

    Attributes
    ----------
    kind
        What it was.
    at
        When, in seconds of the monotonic clock.
    wall
        When, in seconds since the epoch, as Flink's logs have it.
    started_s
        Seconds until it was started again, as far as the orchestrator waits: a broker and a
        JobManager until they answer.
    load
        How many processes of the machine wanted a core, on average of the minute before.
    settled
        When all was decided again, and had been for a while, on the monotonic clock; None where
        nobody waited for it.
    """

    kind: str
    at: float
    wall: float = 0.0
    started_s: float = 0.0
    load: float = 0.0
    settled: float | None = None


@dataclass(frozen=True)
class Outage:
    """What readers of decisions saw of one kill, in seconds.

    Attributes
    ----------
    back
        From the kill to the decision that was waited for longest, of all events made after it.
    waited
        How long that was waited for.
    caught_up
        From the kill until the last event that waited for more than a second was decided.
    """

    back: float
    waited: float
    caught_up: float


class Calm:
    """Tells when a system has caught up, and stays so.

    Examples
    --------
    >>> calm = Calm(rate=100)
    >>> calm.look(at=0.0, made=500, decided=450), calm.look(at=1.9, made=700, decided=690)
    (False, False)
    >>> calm.look(at=2.0, made=700, decided=700)
    True
    """

    def __init__(self, rate: float) -> None:
        self._behind = rate * BEHIND_S
        self._since: float | None = None

    def look(self, at: float, made: int, decided: int) -> bool:
        """Take one look; return whether it has been calm for long enough."""
        if made - decided > self._behind:
            self._since = None
            return False
        if self._since is None:
            self._since = at
        return at - self._since >= CALM_S


def made_by(at: float, began: float, rate: float, count: int) -> int:
    """Return how many events were due by a moment: all of them, once the last one was.

    Examples
    --------
    >>> made_by(103.0, began=100.0, rate=50.0, count=1000), made_by(999.0, 100.0, 50.0, 1000)
    (150, 1000)
    """
    return min(int((at - began) * rate), count)


def outage(kill: Kill, arrived: Times, began: float, rate: float) -> Outage | None:
    """Return what readers saw of a kill until it had settled; None if nothing was made meanwhile.

    A JobManager's TaskManagers go on deciding until they miss it. So it is not the first decision
    after the kill that counts, but the one that was waited for longest.

    Parameters
    ----------
    kill
        One that has settled.
    arrived
        By event, when its decision was first read, on the monotonic clock; 0 where it was not.
    began
        When event 0 was due.
    rate
        Events a second.
    """
    assert kill.settled is not None
    first = max(int((kill.at - began) * rate) + 1, 0)
    last = min(int((kill.settled - began) * rate), len(arrived))
    if last <= first:
        return None
    due = began + np.arange(first, last) / rate
    # What was never decided is counted as lost; here it would be an outage without end.
    read = np.where(arrived[first:last] > 0, arrived[first:last], kill.settled)
    waits = read - due
    longest = int(waits.argmax())
    late = read[waits > BEHIND_S]
    return Outage(
        back=float(read[longest] - kill.at),
        waited=float(waits[longest]),
        caught_up=float(late.max() - kill.at) if len(late) else 0.0,
    )


def first_decisions(
    kills: Sequence[Kill], arrived: Times, began: float, rate: float
) -> dict[str, list[float]]:
    """Return, by kind, the seconds from a kill to the first decision of an event made after it."""
    found = defaultdict(list)
    for kill in kills:
        first = max(int((kill.at - began) * rate) + 1, 0)
        after = arrived[first:]
        after = after[after > 0]
        if len(after):
            found[kill.kind].append(float(after.min() - kill.at))
    return dict(found)


def spread(times: Sequence[float]) -> dict[str, float]:
    """Return the median and the maximum of times, for a report.

    Examples
    --------
    >>> spread([1.0, 9.0, 2.0])
    {'median': 2.0, 'max': 9.0}
    """
    return {"median": round(float(np.median(times)), 2), "max": round(max(times), 2)}


def summary(outages: Mapping[str, Sequence[Outage]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return, by kind, the median and maximum of each of the three times."""
    return {
        kind: {
            name: spread([getattr(each, name) for each in of_kind])
            for name in ("back", "waited", "caught_up")
        }
        for kind, of_kind in outages.items()
    }
