"""The figures of a run: as JSON, as tables, as a line of RESULTS.md; and the bars beside them."""

import json
import statistics
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from processes import machine
from rich.console import Console
from rich.table import Table
from throughput import Measured

LATENCIES = ("500", "2000")
"""Rates of which RESULTS.md has a column."""
SECTION = "## make bench"
ORDER = (
    "embedded", "flink", "loop", "loop_batched", "quix", "embedded_two_hops", "flink_two_hops",
)  # fmt: skip
RATIOS = (("embedded", "loop"), ("flink", "loop"), ("flink", "quix"))

THROUGHPUT_BARS = (
    ("embedded", "loop", 1.0, 1.5),
    ("flink", "loop", 0.5, 0.8),
    ("flink", "quix", 1.2, None),
)
"""Ours, the peer, the bar of the ratio, the goal."""
LATENCY_BARS = (
    ("flink", "2000", "p50", 5.0),
    ("flink", "2000", "p99", 15.0),
    ("embedded", "500", "p50", 2.0),
    ("embedded", "500", "p99", 6.0),
    ("embedded", "2000", "p50", 2.0),
    ("embedded", "2000", "p99", 6.0),
)
"""Who, events a second, percentile, most milliseconds."""


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
    latency_ms
        Contestant -> events a second -> percentile -> milliseconds.
    largest_score_difference
        Between any two contestants with the same work; 0 where all scores are equal.
    failed
        Contestant -> what went wrong.
    planned_mb
        Contestant -> what ``verdict plan`` says that each of its TaskManagers takes in all.
    """

    events: int
    settings: dict[str, Any]
    runs: dict[str, list[Measured]] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    largest_score_difference: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
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
        return {name: max(run.others for run in self.runs[name]) for name in self.throughput}

    @property
    def ratios(self) -> dict[str, float]:
        """Ours to the peers', of the medians."""
        rates = self.throughput
        return {
            f"{ours}/{peer}": rates[ours] / rates[peer]
            for ours, peer in RATIOS
            if ours in rates and peer in rates
        }

    def as_json(self) -> dict[str, Any]:
        """Say it all in what JSON knows."""
        return {
            "throughput": {name: round(rate, 1) for name, rate in self.throughput.items()},
            "latency_ms": {
                name: {
                    rate: {quantile: round(value, 3) for quantile, value in quantiles.items()}
                    for rate, quantiles in rates.items()
                }
                for name, rates in self.latency_ms.items()
            },
            "rss_mb": self.rss_mb,
            "ratios": {name: round(ratio, 3) for name, ratio in self.ratios.items()},
            "spread": {
                name: [round(pick(run.rate for run in self.runs[name]), 1) for pick in (min, max)]
                for name in self.throughput
            },
            "start_to_end_s": {
                name: round(statistics.median(run.seconds for run in self.runs[name]), 1)
                for name in self.throughput
            },
            "cpu_us": {name: round(cost, 1) for name, cost in self.cpu_us.items()},
            "others": {name: round(share, 3) for name, share in self.others.items()},
            "bars": [
                {"bar": what, "value": round(value, 3), "met": met}
                for what, value, met, _ in self.bars()
            ],
            "planned_mb": self.planned_mb,
            "largest_score_difference": self.largest_score_difference,
            "failed": self.failed,
            "events": self.events,
            "settings": self.settings,
            "machine": machine(),
            "date": self.date.isoformat(timespec="seconds"),
        }

    def bars(self) -> list[tuple[str, float, bool, str]]:
        """List the bars that can be judged: what, the figure, whether it is met, the goal."""
        found = []
        for ours, peer, bar, goal in THROUGHPUT_BARS:
            ratio = self.ratios.get(f"{ours}/{peer}")
            if ratio is not None:
                reached = "" if goal is None else f"goal {goal:g}x"
                if goal is not None and ratio >= goal:
                    reached += ", reached"
                found.append((f"{ours} >= {bar:g}x {peer}", ratio, ratio >= bar, reached))
        for name, rate, quantile, bar in LATENCY_BARS:
            value = self.latency_ms.get(name, {}).get(rate, {}).get(quantile)
            if value is not None:
                what = f"{name} {quantile} <= {bar:g} ms at {int(rate):,}/s"
                found.append((what, value, value <= bar, ""))
        for name, planned in self.planned_mb.items():
            took = max(
                (
                    peak
                    for part, peak in self.rss_mb.items()
                    if part.startswith(f"{name}.taskmanager")
                ),
                default=None,
            )
            if took is not None:
                what = f"{name}: TaskManager <= {planned:,} MB as planned"
                found.append((what, took, took <= planned, ""))
        return found

    def show(self, console: Console) -> None:
        """Print the tables."""
        rates, memory = self.throughput, self.rss_mb
        if rates:
            table = _table(
                "throughput", "events/s", "spread", "to loop", "CPU, us", "others", "RSS, MB"
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
                    f"{self.others[name]:.0%}",
                    " + ".join(parts) or f"{memory[name]:,.0f}",
                )
            console.print(table)
        if self.latency_ms:
            table = _table("latency, ms", "events/s", "p50", "p99", "p99.9", "player late")
            for name, by_rate in self.latency_ms.items():
                for pace, found in by_rate.items():
                    figures = [f"{found[key]:.1f}" for key in ("p50", "p99", "p999")]
                    late = f"{found['player_late']:.1f}"
                    table.add_row(name, f"{int(pace):,}", *figures, late)
            console.print(table)
        if judged := self.bars():
            table = _table("bar", "is", "met", "")
            for what, value, met, goal in judged:
                mark = "[green]yes[/]" if met else "[red]no[/]"
                table.add_row(what, f"{value:.2f}", mark, goal)
            console.print(table)
        if self.largest_score_difference is not None:
            console.print(f"largest difference of a score: {self.largest_score_difference:g}")
        for name, why in self.failed.items():
            console.print(f"{name} failed: {why}", style="red", markup=False)

    def write(self, folder: Path) -> None:
        """Write ``results/latest.json``, and a line of ``RESULTS.md``."""
        (folder / "results").mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_json(), indent=1) + "\n"
        (folder / "results" / "latest.json").write_text(text, "utf-8")
        file = folder / "RESULTS.md"
        lines = file.read_text("utf-8").splitlines() if file.exists() else ["# Results"]
        if SECTION not in lines:
            lines += ["", *_section()]
        place = lines.index(SECTION) + 1
        while place < len(lines) and not lines[place].startswith("## "):
            place += 1
        while not lines[place - 1].strip():
            place -= 1
        lines.insert(place, self._line())
        file.write_text("\n".join(lines) + "\n", "utf-8")

    def _line(self) -> str:
        rates, memory = self.throughput, self.rss_mb
        cells = [f"{self.date:%Y-%m-%d %H:%M}", machine(), f"{self.events:,}"]
        cells += [f"{rates[name]:,.0f}" if name in rates else "" for name in ORDER]
        for name in ("flink", "embedded"):
            for rate in LATENCIES:
                found = self.latency_ms.get(name, {}).get(rate)
                keys = ("p50", "p99", "p999")
                cells.append(" / ".join(f"{found[key]:.1f}" for key in keys) if found else "")
        cells += [f"{memory[name]:,.0f}" if name in memory else "" for name in ORDER]
        return f"| {' | '.join(cells)} |"


def _section() -> list[str]:
    names = [name.replace("_", " ") for name in ORDER]
    columns = ["date", "machine", "events", *(f"{name}, events/s" for name in names)]
    columns += [
        f"{name} at {int(rate):,}/s, ms" for name in ("flink", "embedded") for rate in LATENCIES
    ]
    columns += [f"{name}, MB" for name in names]
    return [
        SECTION,
        "",
        "A line a full run: medians of its rounds; latencies as p50 / p99 / p99.9; peak memory.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table
