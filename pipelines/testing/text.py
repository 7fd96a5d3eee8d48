"""What came of tests, as lines of text."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verdict.pipelines.testing.run import UNASKED, CheckedValue, Outcome, Result
from verdict.pipelines.text import printable

DIFFERS = "≠"
HEADS = ("", "expected", "found")


def line(outcome: Outcome, path: Path) -> str:
    """Say in one line how a test ended, and where it stands if it failed."""
    if outcome.ok:
        return f"pass  {outcome.case.name}"
    return f"FAIL  {outcome.case.name}  ({path}:{outcome.case.line})"


def failures(outcome: Outcome, path: Path) -> list[str]:
    """Lay out each event of a test that came out otherwise; the rows that differ are marked."""
    shown = []
    for result in outcome.results:
        if not result.ok:
            shown += [f"event {result.event or 'without an id'}, {path}:{result.line}"]
            shown += [f"  {text}" for text in table(result)]
    return shown


def table(result: Result) -> list[str]:
    r"""Lay out what came of an event in columns: name, expected, found.

    Examples
    --------
    >>> rows = (CheckedValue("count_1h", 3.0, 2.0, True), CheckedValue("amount", UNASKED, 12.5),
    ...         CheckedValue("score", 0.9, 0.903, False, 0.01),
    ...         CheckedValue("action", "review", "approve", True))
    >>> print(*table(Result("t1", 7, rows)), sep="\n")
                expected    found
    ≠ count_1h  3           2        -1
      amount                12.5
      score     0.9 ± 0.01  0.903
    ≠ action    review      approve
    """
    cells = [(" ", *HEADS, "")]
    for row in result.rows:
        mark = DIFFERS if row.differs else " "
        cells.append((mark, row.name, _expected(row), written_value(row.actual), _by(row)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [_joined(row, widths) for row in cells]


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    mark, *rest = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{mark} {'  '.join(rest)}".rstrip()


def _expected(row: CheckedValue) -> str:
    if row.expected is UNASKED:
        return ""
    return written_value(row.expected) + (f" ± {row.tolerance:g}" if row.tolerance else "")


def _by(row: CheckedValue) -> str:
    """Say by how much a number differs."""
    pair = (row.expected, row.actual)
    if not row.differs or not all(isinstance(each, float) and math.isfinite(each) for each in pair):
        return ""
    return f"{row.actual - row.expected:+.6g}"


def written_value(value: Any) -> str:
    """Say a value as the file of tests would.

    >>> [written_value(value) for value in (2.0, 0.1 + 0.2, float("nan"), ["fast", "big"], [])]
    ['2', '0.3', 'null', '[fast, big]', '[]']
    """
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if isinstance(value, float):
        short = f"{value + 0.0:.12g}"  # more digits are of the binary, and below every tolerance
        return repr(value).removesuffix(".0") if "e" in short else short
    return printable(str(value))
