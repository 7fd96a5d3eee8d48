"""The bars: what a figure has to reach, what it is to reach one day, and whether it does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class RatioBar(NamedTuple):
    """A rate in a peer's rates, of one run: at least so many.

    Attributes
    ----------
    ours, peer
        Contestants.
    bar, goal
        Least ratio; None where there is none.
    """

    ours: str
    peer: str
    bar: float | None
    goal: float | None = None

    def __str__(self) -> str:
        if self.bar is None:
            return f"{self.ours} to {self.peer}"
        return f"{self.ours} >= {self.bar:g}x {self.peer}"


class LatencyBar(NamedTuple):
    """Most milliseconds of a percentile, at so many events a second."""

    name: str
    rate: int
    quantile: str
    bar: float

    def __str__(self) -> str:
        return f"{self.name} {self.quantile} <= {self.bar:g} ms at {self.rate:,}/s"


RATIO_BARS = (
    RatioBar("flink", "loop", 1.5, 2.0),
    RatioBar("flink", "quix", 2.5),
    RatioBar("flink", "java", None, 0.6),
    RatioBar("embedded", "loop", 1.5, 2.0),
    RatioBar("embedded", "loop_batched", None, 1.2),
    RatioBar("flink_two_hops", "flink", 0.8),
)
LATENCY_BARS = (
    LatencyBar("flink", 2_000, "p50", 4.0),
    LatencyBar("flink", 2_000, "p99", 15.0),
    LatencyBar("flink", 10_000, "p50", 4.0),
    LatencyBar("flink", 10_000, "p99", 40.0),
    LatencyBar("embedded", 2_000, "p99", 6.0),
)


@dataclass(frozen=True)
class Judged:
    """A bar beside its figure.

    Attributes
    ----------
    what
        The bar; only the two names where there is but a goal.
    value
        The figure; None where a contestant failed.
    met
        Whether the bar is; None where there is but a goal.
    goal
        None where there is none.
    reached
        Whether the goal is; None where there is none.
    """

    what: str
    value: float | None
    met: bool | None
    goal: float | None = None
    reached: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        value = None if self.value is None else round(self.value, 3)
        found = {"bar": self.what, "value": value, "met": self.met}
        return found if self.goal is None else {**found, "goal": self.goal, "reached": self.reached}

    def cells(self) -> tuple[str, str, str, str]:
        """Say it in a table's words: bar, figure, met or missed, goal."""
        figure = "not measured" if self.value is None else f"{self.value:.2f}"
        met = {True: "met", False: "missed", None: ""}[self.met]
        goal = "" if self.goal is None else f"goal {self.goal:g}x"
        reached = {True: ", reached", False: ", not reached", None: ""}[self.reached]
        return self.what, figure, met, goal + reached


def judge(
    rates: Mapping[str, float],
    latency_ms: Mapping[str, Mapping[str, Mapping[str, float]]],
    failed: Iterable[str],
) -> list[Judged]:
    """Hold figures against the bars; leave out the bars of what did not take part.

    Parameters
    ----------
    rates
        Contestant -> events a second.
    latency_ms
        Contestant -> events a second -> percentile -> milliseconds.
    failed
        Contestants: what they have no figure for is missed.

    Examples
    --------
    >>> rates = {"flink": 30_000, "loop": 20_000, "java": 60_000}
    >>> for judged in judge(rates, {}, failed=["quix"]):
    ...     print(*filter(None, judged.cells()), sep=" | ")
    flink >= 1.5x loop | 1.50 | met | goal 2x, not reached
    flink >= 2.5x quix | not measured | missed
    flink to java | 0.50 | goal 0.6x, not reached
    """
    missing, found = set(failed), []
    for ratio_bar in RATIO_BARS:
        ours, peer, bar, goal = ratio_bar
        what = str(ratio_bar)
        if ours in rates and peer in rates:
            ratio = rates[ours] / rates[peer]
            met = None if bar is None else ratio >= bar
            found.append(Judged(what, ratio, met, goal, None if goal is None else ratio >= goal))
        elif missing & {ours, peer} and {ours, peer} <= missing | set(rates):
            met, reached = (None if it is None else False for it in (bar, goal))
            found.append(Judged(what, None, met, goal, reached))
    for each in LATENCY_BARS:
        value = latency_ms.get(each.name, {}).get(str(each.rate), {}).get(each.quantile)
        if value is not None:
            found.append(Judged(str(each), value, value <= each.bar))
        elif each.name in missing:
            found.append(Judged(str(each), None, False))
    return found
