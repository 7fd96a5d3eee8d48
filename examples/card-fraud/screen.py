"""Draws what `meter.py` measured, in the terminal."""

import io
import re
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

STYLES = {"approve": "green", "review": "yellow", "decline": "red"}
BAR = 28


def draw(stats: dict[str, Any], headline: str) -> RenderableType:
    """Lay out the whole screen."""
    top = Table.grid(expand=True, padding=(0, 1))
    top.add_column(ratio=1)
    top.add_column(ratio=1)
    top.add_row(_flow(stats), _actions(stats))
    middle = Table.grid(expand=True, padding=(0, 1))
    middle.add_column(ratio=1)
    middle.add_column(ratio=1)
    middle.add_row(_comparison(stats), _drift(stats))
    return Group(
        Text(f" verdict  {headline}", style="bold reverse"),
        top,
        _flagged(stats),
        middle,
        _dead(stats),
    )


def save(stats: dict[str, Any], headline: str, path: Path) -> None:
    """Write the screen as an SVG that needs no font from elsewhere."""
    console = Console(record=True, width=120, file=io.StringIO(), force_terminal=True)
    console.print(draw(stats, headline))
    svg = console.export_svg(title="make demo")
    path.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), "utf-8")


def _panel(title: str, body: RenderableType) -> Panel:
    return Panel(body, title=title, title_align="left", box=box.ROUNDED, border_style="dim")


def _flow(stats: dict[str, Any]) -> Panel:
    counts = stats["counts"]
    grid = Table.grid(padding=(0, 2))
    grid.add_row("events", f"{counts.get('events', 0):,}", f"{stats['events_s']:,.0f}/s")
    grid.add_row("decisions", f"{counts.get('decisions', 0):,}", f"{stats['decisions_s']:,.0f}/s")
    grid.add_row("shadow scores", f"{counts.get('shadow-scores', 0):,}", "")
    latency = stats["latency_ms"]
    shown = "  ".join(
        f"{name} {'-' if value is None else f'{value:.1f}'}" for name, value in latency.items()
    )
    grid.add_row("latency, ms", shown, "")
    grid.add_row("event time", stats["day"], "")
    return _panel("event to decision", grid)


def _actions(stats: dict[str, Any]) -> Panel:
    total = max(sum(stats["actions"].values()), 1)
    grid = Table.grid(padding=(0, 2))
    for action, count in sorted(stats["actions"].items(), key=lambda item: -item[1]):
        share = count / total
        bar = "█" * max(round(share * BAR), 1)
        style = STYLES.get(action, "cyan")
        grid.add_row(action, f"{count:,}", f"{share:.1%}", Text(bar, style=style))
    return _panel("actions", grid)


def _flagged(stats: dict[str, Any]) -> Panel:
    table = Table(box=None, expand=True, header_style="dim")
    table.add_column("time", no_wrap=True)
    table.add_column("event", no_wrap=True)
    table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("action")
    table.add_column("because")
    table.add_column("rules that fired", ratio=1)
    for item in reversed(stats["flagged"]):
        table.add_row(
            item["event_time"][:19].replace("T", " "),
            item["event_id"],
            f"{float(item['amount']):,.2f} {item['currency']}",
            f"{item['score']:.3f}",
            Text(item["action"], style=STYLES.get(item["action"], "cyan")),
            item["because"],
            ", ".join(item["rules"]),
        )
    return _panel("last flagged decisions", table)


def _comparison(stats: dict[str, Any]) -> Panel:
    if not stats["comparison"]:
        return _panel("champion against challenger", Text("no window closed yet", style="dim"))
    parts: list[RenderableType] = []
    for name, record in stats["comparison"].items():
        parts.append(
            Text(
                f"{record['champion']}  vs  {name}\n"
                f"{record['agreed']:,} of {record['total']:,} agree ({record['agreement']:.2%})"
            )
        )
        table = Table(box=None, header_style="dim")
        for title in ("champion", "challenger", "events", "EUR"):
            table.add_column(title, justify="right" if title in ("events", "EUR") else "left")
        for pair in record["actions"]:
            if pair["champion"] != pair["challenger"]:
                table.add_row(
                    Text(pair["champion"], style=STYLES.get(pair["champion"], "cyan")),
                    Text(pair["challenger"], style=STYLES.get(pair["challenger"], "cyan")),
                    f"{pair['count']:,}",
                    f"{float(pair['amounts'].get('EUR', 0)):,.0f}",
                )
        parts.append(table)
    return _panel("champion against challenger", Group(*parts))


def _drift(stats: dict[str, Any]) -> Panel:
    if not stats["alarms"]:
        text = f"{stats['windows']:,} windows judged, no alarm"
        return _panel("drift", Text(text, style="green" if stats["windows"] else "dim"))
    table = Table(box=None, header_style="dim")
    for title in ("feature", "since", "PSI", "detectors"):
        table.add_column(title)
    for name, alarm in stats["alarms"].items():
        psi = "-" if alarm["psi"] is None else f"{alarm['psi']:.2f}"
        table.add_row(
            Text(name, style="red"), alarm["since"][:10], psi, ", ".join(alarm["detectors"])
        )
    return _panel("drift alarms", table)


def _dead(stats: dict[str, Any]) -> Panel:
    grid = Table.grid(padding=(0, 2))
    for reason, count in sorted(stats["dead"].items(), key=lambda item: -item[1])[:5]:
        grid.add_row(f"{count:,}", reason)
    if not stats["dead"]:
        grid.add_row(Text("none yet", style="dim"))
    return _panel(f"dead letters: {stats['counts'].get('dead-letters', 0):,}", grid)
