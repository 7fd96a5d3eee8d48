"""Latency: from the moment an event is made to the moment its decision is read."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from contestants import Contestant, Place, Running
from events import encoded
from processes import Process
from throughput import await_decisions
from topics import Topics

HERE = Path(__file__).parent
LEAD_IN_S = 3.0
"""Most seconds at the rate before the window begins."""
QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
SLACK_S = 60.0
"""Seconds that player and reader may take beyond the window."""


def latencies(
    topics: Topics,
    place: Place,
    contestant: Contestant,
    *,
    warm: int,
    rates: list[int],
    seconds: float,
    committed: bool,
    tell: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Measure one contestant at several rates, one after the other, in the same processes.

    Parameters
    ----------
    warm
        Events before, as fast as it takes them.
    rates
        Events a second.
    seconds
        Length of each window.
    committed
        Read what is committed alone, where a contestant writes in transactions.
    tell
        Called with what is going on.

    Returns
    -------
    dict
        Rate -> percentile -> milliseconds. ``player_late`` is the 99.9th percentile of how late
        events were made, the benchmark's own share.
    """
    found = {}
    with Running(contestant, place) as running:
        tell(f"{warm:,} events of warm-up")
        start = topics.fill(place.events, encoded(warm))
        await_decisions(running, topics, place, start, lambda _count: None)
        for rate in rates:
            tell(f"{rate:,} events/s for {seconds:g} s")
            lead_in = int(min(LEAD_IN_S, seconds) * rate)
            count = lead_in + int(seconds * rate)
            created, read, late = _play(place, contestant, start, count, rate, committed)
            running.check()
            start += count
            missing = int((read == 0).sum())
            if missing:
                raise running.failure(f"left {missing:,} of {count:,} events undecided")
            waited = (read - created)[lead_in:] / 1e6
            found[str(rate)] = {
                name: float(np.quantile(waited, quantile)) for name, quantile in QUANTILES.items()
            } | {"player_late": late}
    return found


def _play(
    place: Place, contestant: Contestant, start: int, count: int, rate: int, committed: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float]:
    """Play events at a rate; return when they were made, when decided, and the player's delay."""
    created, read = place.folder / "created.npy", place.folder / "read.npy"
    numbers = ["--bootstrap", place.bootstrap, "--start", str(start), "--count", str(count)]
    hears = [sys.executable, str(HERE / "reader.py"), *numbers, "--topic", place.decisions]
    plays = [sys.executable, str(HERE / "player.py"), *numbers, "--topic", place.events]
    if not contestant.is_verdict:
        hears.append("--flat")
    if committed:
        hears.append("--committed")
    reader = player = None
    try:
        reader = Process([*hears, "--out", str(read)], place.folder / "reader.log", talks=True)
        reader.line()
        player = Process(
            [*plays, "--rate", str(rate), "--out", str(created)],
            place.folder / "player.log",
            talks=True,
        )
        late = float(player.line())
        player.wait(SLACK_S)
        reader.wait(count / rate + SLACK_S)
    finally:
        for process in (player, reader):
            if process is not None:
                process.stop()
    return np.load(created), np.load(read), late
