"""Latency: from the moment an event is made to the moment its decision is read."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from contestants import Contestant, Place, Running
from events import HALVES, encoded, half
from pauses import JvmWatch
from processes import Process
from throughput import await_decisions
from topics import Topics
from usage import Shares, Usage

HERE = Path(__file__).parent
LEAD_IN_S = 3.0
"""Most seconds at the rate before the window begins."""
QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
SLACK_S = 60.0
"""Seconds that player and reader may take beyond the window."""
SPARE = 3
"""A span of events, in which half of the customers have at least a third of them."""

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Load:
    """How latency is measured.

    Attributes
    ----------
    warm
        Events before, as fast as the contestant takes them.
    rates
        Events a second, one after the other.
    seconds
        Length of each window.
    committed
        Read what is committed alone, where a contestant writes in transactions.
    backlog
        Events that come all at once as a window begins, in a partition of their own.
    """

    warm: int
    rates: tuple[int, ...]
    seconds: float
    committed: bool = False
    backlog: int = 0


@dataclass(frozen=True)
class Window:
    """What was measured at one rate.

    Attributes
    ----------
    rate
        Events a second.
    milliseconds
        Percentile -> latency. ``player_late`` is the 99.9th percentile of how late events were
        made, the benchmark's own share. With a backlog, of the events that came while it was
        worked off; ``backlog_s`` is how many seconds that took.
    shares
        Of the machine's cores.
    pauses
        Of its TaskManagers, by cause; empty where it has none.
    """

    rate: int
    milliseconds: dict[str, float]
    shares: Shares
    pauses: dict[str, Any]


def latencies(
    topics: Topics,
    place: Place,
    contestant: Contestant,
    load: Load,
    tell: Callable[[str], None],
) -> Iterator[Window]:
    """Measure one contestant at several rates, one after the other, in the same processes.

    Parameters
    ----------
    tell
        Called with what is going on.
    """
    with Running(contestant, place) as running:
        tell(f"{load.warm:,} events of warm-up")
        start = topics.fill(place.events, encoded(load.warm))
        await_decisions(running, topics, place, start, lambda _count: None)
        for rate in load.rates:
            tell(f"{rate:,} events/s for {load.seconds:g} s")
            turn = _Turn(topics, place, running, load, start, rate)
            yield turn.play()
            start += turn.span


class _Turn:
    """One rate of one contestant: events from number ``start`` on."""

    def __init__(
        self, topics: Topics, place: Place, running: Running, load: Load, start: int, rate: int
    ) -> None:
        self._topics, self._place, self._running, self._load = topics, place, running, load
        self._start, self._rate = start, rate
        self._lead_in = int(min(LEAD_IN_S, load.seconds) * rate)
        self._count = self._lead_in + int(load.seconds * rate)
        self.span = SPARE * max(self._count, load.backlog) if load.backlog else self._count
        """How many events it takes, played or not."""

    def play(self) -> Window:
        """Play them, and read their decisions."""
        created, read = self._place.folder / "created.npy", self._place.folder / "read.npy"
        backlog = half(self._start, self.span, HALVES[1]) if self._load.backlog else []
        late_events = [event for _, event in backlog[: self._load.backlog]]
        reader = player = None
        try:
            reader = Process(self._reader(read), self._place.folder / "reader.log", talks=True)
            reader.line()
            player = Process(self._player(created), self._place.folder / "player.log", talks=True)
            player.line()
            running, begin = self._running, Usage.now(self._running, self._place)
            watch = None
            if running.cluster:
                pid = running.processes[0].pid
                watch = JvmWatch(running.cluster, pid, self._place.folder)
            self._topics.fill(self._place.events, late_events)
            late = float(player.line())
            shares = Usage.now(running, self._place).shares(begin)
            pauses = {} if watch is None else watch.ended()
            player.wait(SLACK_S)
            reader.wait(self._count / self._rate + SLACK_S)
        finally:
            for process in (player, reader):
                if process is not None:
                    process.stop()
        running.check()
        found = self._waited(np.load(created), np.load(read))
        return Window(self._rate, {**found, "player_late": late}, shares, pauses)

    def _numbers(self, count: int) -> list[str]:
        found = ["--bootstrap", self._place.bootstrap, "--start", str(self._start)]
        found += ["--count", str(count)]
        return found + (["--span", str(self.span)] if self._load.backlog else [])

    def _reader(self, out: Path) -> list[str]:
        command = [sys.executable, str(HERE / "reader.py"), "--topic", self._place.decisions]
        command += [*self._numbers(self._count + self._load.backlog), "--out", str(out)]
        if not self._running.contestant.is_verdict:
            command.append("--flat")
        return command + (["--committed"] if self._load.committed else [])

    def _player(self, out: Path) -> list[str]:
        command = [sys.executable, str(HERE / "player.py"), "--topic", self._place.events]
        command += [*self._numbers(self._count), "--lead-in", str(self._lead_in)]
        return [*command, "--rate", str(self._rate), "--out", str(out)]

    def _waited(self, created: Times, read: Times) -> dict[str, float]:
        """Return the percentiles of those that were played."""
        played = np.flatnonzero(created)
        missing = int((read[played] == 0).sum())
        if missing:
            raise self._running.failure(f"left {missing:,} of {self._count:,} events undecided")
        counted, found = played[self._lead_in :], {}
        if self._load.backlog:
            begun, worked_off = created[counted[0]], read[created == 0].max()
            counted = counted[created[counted] <= worked_off]
            found["backlog_s"] = float(worked_off - begun) / 1e9
        waited = (read - created)[counted] / 1e6
        return found | {
            name: float(np.quantile(waited, quantile)) for name, quantile in QUANTILES.items()
        }
