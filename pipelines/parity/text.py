"""What a comparison of decisions with their replay found, as text."""

from collections.abc import Sequence
from typing import Any

from verdict.pipelines.parity.compare import DIFFERS, LETTER, REASONS, SAME, Difference
from verdict.pipelines.parity.summary import ParitySummary
from verdict.pipelines.text import printable

COLUMNS = ("event", "feature", "decided", "replayed", "why it may be")


def table(differences: Sequence[Difference]) -> list[str]:
    r"""Write differences as a table.

    >>> print(*table([Difference("p7", "payments/0/7", "n_1h", 3.0, 2.0, "")]), sep="\n")
    event  feature  decided  replayed  why it may be
    p7     n_1h     3.0      2.0
    """
    rows = [COLUMNS]
    for each in differences:
        values = (_value(each.decided), _value(each.replayed))
        rows.append((printable(each.event_id), each.feature, *values, each.why))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _value(value: Any) -> str:
    # By repr, which tells two doubles apart that differ in the last bit.
    if isinstance(value, list):
        return printable(", ".join(map(str, value)) or "-")
    return printable(value if isinstance(value, str) else repr(value)) if value is not None else "-"


def lines(summary: ParitySummary) -> list[str]:
    """Say what was compared, and what was not."""
    compared = (
        f"{summary.compared:,} decisions compared with their replay, {summary.differing:,} differ"
    )
    return [
        *_shown(summary),
        *_differing(summary),
        compared,
        *_values_apart(summary),
        *_records_apart(summary),
    ]


def _shown(summary: ParitySummary) -> list[str]:
    """Show the first differences."""
    if not summary.shown:
        return []
    more = summary.differences - len(summary.shown)
    return [*table(summary.shown), *([f"and {more:,} more"] if more else []), ""]


def _differing(summary: ParitySummary) -> list[str]:
    """Say of each feature how many values differ."""
    return [
        f"  {name}: {counts[DIFFERS]:,} of {counts[DIFFERS] + counts.get(SAME, 0):,} differ"
        for name, counts in summary.features.items()
        if counts.get(DIFFERS) and name != LETTER
    ]


def _records_apart(summary: ParitySummary) -> list[str]:
    """Say which decisions and events were not compared, and why."""
    counts = {
        "decisions without their event: retention, or a file that is missing": (
            summary.without_event
        ),
        "events that the replay decides and nobody did: lost, or retention": summary.lost,
        "events without decision: dead letters, or too near the decisions' ends": (
            summary.without_decision - summary.lost
        ),
        "events before the decisions begin": summary.before_decisions,
        "events behind the last decided one: not decided yet": summary.undecided,
        "decisions that came again: the first one counts": summary.repeats,
        "decisions of another pipeline": summary.other_pipeline,
        "waits for an event that never came": summary.forced,
    }
    return [f"  {count:>8,} {what}" for what, count in counts.items() if count]


def _values_apart(summary: ParitySummary) -> list[str]:
    """Say which values were not compared, and why."""
    lines = []
    for reason, words in REASONS.items():
        found = {
            name: counts[reason] for name, counts in summary.features.items() if reason in counts
        }
        if found:
            names = ", ".join(list(found)[:3]) + (", …" if len(found) > 3 else "")
            lines.append(f"  {sum(found.values()):>8,} values not compared ({names}): {words}")
    return lines
