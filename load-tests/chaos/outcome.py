"""What a run of chaos has found, for people: printed, and added to a file of results."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show(result: dict[str, Any]) -> None:
    """Print the report."""
    table = Table(title=f"{result['events']:,} events, {sum(result['kills'].values())} kills")
    for name in ("consumer", "lost", "repeated", "repeats that differ", "not as expected"):
        table.add_column(name, justify="left" if name == "consumer" else "right")
    for kind in ("uncommitted", "committed"):
        table.add_row(kind, *(f"{value:,}" for value in result[kind].values()))
    Console().print(table)
    if "settled_s" in result:
        for line in settled_lines(result):
            Console().print(line, soft_wrap=True)
    else:
        table = Table(
            title="recovery: from a kill to the decision of an event made after it, seconds"
        )
        for name in ("killed", "times", "median", "max"):
            table.add_column(name, justify="left" if name == "killed" else "right")
        for kind, times in result["recovery_s"].items():
            table.add_row(kind, str(result["kills"][kind]), str(times["median"]), str(times["max"]))
        Console().print(table)
    Console().print(f"dead letters: {result['dead_letters']}")


def settled_lines(result: dict[str, Any]) -> list[str]:
    """Say how long each kind was missed when nothing else was, and where the time went."""
    least, most = result["load"]
    found = [f"- {least:g} to {most:g} processes wanted the machine's cores when a kill came."]
    for kind, times in result["settled_s"].items():
        back, waited, caught_up = (
            f"{times[name]['median']} / {times[name]['max']}"
            for name in ("back", "waited", "caught_up")
        )
        found.append(
            f"- {kind}, {result['kills'][kind]} times, median / max in seconds: decisions come "
            f"{back} after the kill; the longest wait of an event {waited}; caught up {caught_up}."
        )
        steps = ", ".join(f"{at:g} {name}" for name, at in result["way_s"][kind])
        found.append(f"  Its way, medians in seconds after the kill: {steps}.")
    return found


def record(result: dict[str, Any], file: Path) -> None:
    """Append the report to a file of results."""
    hot, committed = result["uncommitted"], result["committed"]
    settled = "settled_s" in result
    recovery = "; ".join(
        f"{kind} {times['median']} / {times['max']}" for kind, times in result["recovery_s"].items()
    )
    how = "one kill at a time" if settled else f"a kill every {result['every_s']:g} s"
    options = " SETTLED=1" if settled else ""
    if result["spare"]:
        options += f" SPARE={result['spare']}"
        how += f", {result['spare']} spare TaskManager{'s' if result['spare'] > 1 else ''}"
    lines = [
        "",
        f"## Chaos, {result['date']}: {result['engine']}, {result['minutes']:g} min at "
        f"{result['rate']:g}/s, {how}",
        "",
        f"{result['machine']}. `make chaos MINUTES={result['minutes']:g} RATE={result['rate']:g} "
        f"ENGINE={result['engine']}{options}`, seed {result['seed']}.",
        "",
        f"- {result['events']:,} events, {sum(result['kills'].values())} kills "
        f"({', '.join(f'{n} {kind}' for kind, n in result['kills'].items())}), "
        f"{result['dead_letters']} dead letters.",
        f"- Uncommitted readers: {hot['lost']} lost, {hot['repeated']:,} repeats, of which "
        f"{hot['repeat_differs']} differ; {hot['unexpected']} decisions not as expected.",
        f"- Committed readers: {committed['lost']} lost, {committed['repeated']} repeats, "
        f"{committed['unexpected']} not as expected.",
        *(
            settled_lines(result)
            if settled
            else [f"- Recovery, median / max in seconds: {recovery}."]
        ),
        "",
    ]
    with file.open("a", encoding="utf-8") as results:
        results.write("\n".join(lines))
