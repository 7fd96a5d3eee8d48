"""A run's results in files: ``results/latest.json``, and a line in each table of RESULTS.md."""

import json
from collections.abc import Sequence
from pathlib import Path

from bars import LATENCY_BARS, RATIO_BARS
from processes import machine
from report import ORDER, QUANTILES, Results

SECTION = "## make bench, with the peer in Java"
RATES = ("500", "2000", "5000", "10000")
NOTE = (
    "A line a full run, in each table. Throughput: medians of the rounds. Memory: peak RSS of all "
    "processes. Latency: p50 / p99 / p99.9. Bars: the figure, and whether it is met."
)


def write(results: Results, folder: Path) -> None:
    """Write ``results/latest.json`` and ``RESULTS.md`` into a folder."""
    (folder / "results").mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.as_json(), indent=1) + "\n"
    (folder / "results" / "latest.json").write_text(text, "utf-8")
    file = folder / "RESULTS.md"
    lines = file.read_text("utf-8").splitlines() if file.exists() else ["# Results"]
    if SECTION not in lines:
        lines += ["", SECTION, "", NOTE]
    begin = lines.index(SECTION) + 1
    later = (n for n in range(begin, len(lines)) if lines[n].startswith("## "))
    end = next(later, len(lines))
    section = lines[begin:end]
    while section and not section[-1].strip():
        section.pop()
    for title, columns, rows in _tables(results):
        _add(section, f"### {title}", columns, rows)
    rest = lines[end:]
    lines = [*lines[:begin], *section, *([""] if rest else []), *rest]
    file.write_text("\n".join(lines) + "\n", "utf-8")


def _add(
    section: list[str], title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Put rows below a table's last one; make the table where it is missing."""
    if title not in section:
        section += ["", title, "", _line(columns), f"|{'---|' * len(columns)}"]
    place = section.index(title) + 2
    while place < len(section) and section[place].startswith("|"):
        place += 1
    section[place:place] = map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tables(results: Results) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return each table: its title, its columns, what this run adds."""
    date = f"{results.date:%Y-%m-%d %H:%M}"
    rates, memory = results.throughput, results.rss_mb
    names = [name.replace("_", " ") for name in ORDER]
    latencies = []
    for name, by_rate in results.latency_ms.items():
        cells = [
            " / ".join(f"{by_rate[rate][key]:.1f}" for key in QUANTILES) if rate in by_rate else ""
            for rate in RATES
        ]
        latencies.append([date, name.replace("_", " "), *cells])
    judged = {each.what: " ".join(filter(None, each.cells()[1:3])) for each in results.bars()}
    bars = [str(bar) for bar in (*RATIO_BARS, *LATENCY_BARS)]
    return [
        (
            "Throughput, events/s",
            ["date", "machine", "events", *names],
            [
                [date, machine(), f"{results.events:,}"]
                + [f"{rates[name]:,.0f}" if name in rates else "" for name in ORDER]
            ],
        ),
        (
            "Memory, MB",
            ["date", *names],
            [[date, *(f"{memory[name]:,.0f}" if name in memory else "" for name in ORDER)]],
        ),
        (
            "Latency, ms",
            ["date", "contestant", *(f"{int(rate):,}/s" for rate in RATES)],
            latencies,
        ),
        ("Bars", ["date", *bars], [[date, *(judged.get(bar, "") for bar in bars)]]),
    ]
