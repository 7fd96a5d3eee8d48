"""The figures of a run: as JSON, as tables, and the bars beside them."""

import statistics
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bars import RATIO_BARS, Judged, judge
from latency import Window
from processes import machine
from rich.console import Console
from rich.table import Table
from throughput import Measured

ORDER = (
    "embedded", "flink", "java", "loop", "loop_batched", "quix", "embedded_two_hops",
    "flink_two_hops",
)  # fmt: skip
QUANTILES = ("p50", "p99", "p999")
STOPS = ("gc", "safepoints", "checkpoints")


@dataclass
class Results:
    """What was measured so far.

    Attributes
    ----------
    events
        Of each run.
    settings
        How it was asked for.
    runs
        Contestant -> its runs.
    windows
        Contestant -> what was measured of its latency.
    largest_score_difference
        Between any two contestants with the same work; 0 where all scores are equal.
    failed
        Contestant -> what went wrong.
    skipped
        Contestant -> why it cannot take part here.
    planned_mb
        Contestant -> what ``verdict plan`` says that each of its TaskManagers takes in all.
    """

    events: int
    settings: dict[str, Any]
    runs: dict[str, list[Measured]] = field(default_factory=dict)
    windows: dict[str, list[Window]] = field(default_factory=dict)
    largest_score_difference: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    planned_mb: dict[str, int] = field(default_factory=dict)
    date: datetime = field(default_factory=lambda: datetime.now().astimezone())

    @property
    def throughput(self) -> dict[str, float]:
        """Events a second: the median of the rounds."""
        return {
            name: statistics.median(run.rate for run in self.runs[name])
            for name in dict.fromkeys((*ORDER, *self.runs))
            if self.runs.get(name)
        }

    @property
    def latency_ms(self) -> dict[str, dict[str, dict[str, float]]]:
        """Contestant -> events a second -> percentile -> milliseconds."""
        return {
            name: {str(window.rate): window.milliseconds for window in windows}
            for name, windows in self.windows.items()
        }

    @property
    def rss_mb(self) -> dict[str, float]:
        """Peak resident memory in MB: of each contestant in all, and of each process of several."""
        found: dict[str, float] = {}
        for name in self.throughput:
            peaks: dict[str, float] = {}
            for run in self.runs[name]:
                for process, peak in run.peak_mb.items():
                    peaks[process] = max(peak, peaks.get(process, 0.0))
            found[name] = round(sum(peaks.values()), 1)
            if len(peaks) > 1:
                found |= {f"{name}.{part}": round(peak, 1) for part, peak in sorted(peaks.items())}
        return found

    @property
    def cpu_us(self) -> dict[str, float]:
        """Microseconds of CPU time an event: the median of the rounds."""
        return {
            name: statistics.median(run.cpu_us for run in self.runs[name])
            for name in self.throughput
        }

    @property
    def others(self) -> dict[str, float]:
        """Share of the machine that others took meanwhile: the worst of the rounds."""
        return {name: max(run.shares.others for run in self.runs[name]) for name in self.throughput}

    @property
    def broker(self) -> dict[str, float]:
        """Share of the machine that the broker took meanwhile: the median of the rounds."""
        return {
            name: statistics.median(run.shares.broker for run in self.runs[name])
            for name in self.throughput
        }

    @property
    def ratios(self) -> dict[str, float]:
        """Ours to the peers', of the medians."""
        rates = self.throughput
        return {
            f"{bar.ours}/{bar.peer}": rates[bar.ours] / rates[bar.peer]
            for bar in RATIO_BARS
            if bar.ours in rates and bar.peer in rates
        }

    def as_json(self) -> dict[str, Any]:
        """Say it all in what JSON knows."""
        return {
            "throughput": _rounded(self.throughput, 1),
            "latency_ms": {
                name: {rate: _rounded(quantiles, 3) for rate, quantiles in rates.items()}
                for name, rates in self.latency_ms.items()
            },
            "latency_shares": {
                name: {str(window.rate): _rounded(window.shares._asdict(), 3) for window in windows}
                for name, windows in self.windows.items()
            },
            "pauses": {
                name: {str(window.rate): window.pauses for window in windows if window.pauses}
                for name, windows in self.windows.items()
                if any(window.pauses for window in windows)
            },
            "rss_mb": self.rss_mb,
            "ratios": _rounded(self.ratios, 3),
            "spread": {
                name: [round(pick(run.rate for run in self.runs[name]), 1) for pick in (min, max)]
                for name in self.throughput
            },
            "start_to_end_s": {
                name: round(statistics.median(run.seconds for run in self.runs[name]), 1)
                for name in self.throughput
            },
            "cpu_us": _rounded(self.cpu_us, 1),
            "broker": _rounded(self.broker, 3),
            "others": _rounded(self.others, 3),
            "bars": [judged.as_json() for judged in self.bars()],
            "planned_mb": self.planned_mb,
            "largest_score_difference": self.largest_score_difference,
            "failed": self.failed,
            "skipped": self.skipped,
            "events": self.events,
            "settings": self.settings,
            "machine": machine(),
            "date": self.date.isoformat(timespec="seconds"),
        }

    def bars(self) -> list[Judged]:
        """List the bars that can be judged."""
        found = judge(self.throughput, self.latency_ms, self.failed)
        for name, planned in self.planned_mb.items():
            stem = f"{name}.taskmanager"
            took = [peak for part, peak in self.rss_mb.items() if part.startswith(stem)]
            if took:
                what = f"{name}: TaskManager <= {planned:,} MB as planned"
                found.append(Judged(what, max(took), max(took) <= planned))
        return found

    def show(self, console: Console) -> None:
        """Print the tables."""
        if self.throughput:
            console.print(self._throughput_table())
        if self.windows:
            console.print(self._latency_table())
        if any(window.pauses for windows in self.windows.values() for window in windows):
            console.print(self._pauses_table())
        if judged := self.bars():
            table = _table("bar", "is", "", "")
            for each in judged:
                what, figure, met, goal = each.cells()
                colour = {True: "green", False: "red", None: "default"}[each.met]
                table.add_row(what, figure, f"[{colour}]{met}[/]", goal)
            console.print(table)
        if self.largest_score_difference is not None:
            console.print(f"largest difference of a score: {self.largest_score_difference:g}")
        for name, why in self.skipped.items():
            console.print(f"{name} is left out: {why}", markup=False)
        for name, why in self.failed.items():
            console.print(f"{name} failed: {why}", style="red", markup=False)

    def _throughput_table(self) -> Table:
        rates, memory = self.throughput, self.rss_mb
        table = _table(
            "throughput", "events/s", "spread", "to loop", "CPU, us", "broker", "others", "RSS, MB"
        )
        for name, rate in rates.items():
            spread = [run.rate for run in self.runs[name]]
            parts = [f"{m:,.0f}" for part, m in memory.items() if part.startswith(f"{name}.")]
            table.add_row(
                name,
                f"{rate:,.0f}",
                f"{min(spread):,.0f}-{max(spread):,.0f}",
                f"{rate / rates['loop']:.2f}" if "loop" in rates else "",
                f"{self.cpu_us[name]:.0f}",
                f"{self.broker[name]:.0%}",
                f"{self.others[name]:.0%}",
                " + ".join(parts) or f"{memory[name]:,.0f}",
            )
        return table

    def _latency_table(self) -> Table:
        columns = ["latency, ms", "events/s", "p50", "p99", "p99.9", "late"]
        backlog = any("backlog_s" in w.milliseconds for each in self.windows.values() for w in each)
        table = _table(
            *columns, *(["backlog, s"] if backlog else []), "its", "broker", "bench", "others"
        )
        for name, windows in self.windows.items():
            for window in windows:
                found = window.milliseconds
                names = (*QUANTILES, "player_late", *(["backlog_s"] if backlog else []))
                figures = [f"{found[key]:.1f}" for key in names]
                shares = [f"{share:.0%}" for share in window.shares]
                table.add_row(name, f"{window.rate:,}", *figures, *shares)
        return table

    def _pauses_table(self) -> Table:
        """Show what stood still in the TaskManagers: how often, the longest in ms."""
        table = _table(
            "pauses: number, longest ms",
            "events/s",
            "GC",
            "safepoints",
            "checkpoints",
            "JIT, CPU ms",
        )
        for name, windows in self.windows.items():
            for window in windows:
                if not window.pauses:
                    continue
                stops = [window.pauses[cause] for cause in STOPS]
                cells = [f"{stop['count']}, {stop['longest_ms']:.1f}" for stop in stops]
                table.add_row(name, f"{window.rate:,}", *cells, f"{window.pauses['jit_ms']:,}")
        return table


def _rounded(figures: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(figure, digits) for name, figure in figures.items()}


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table
