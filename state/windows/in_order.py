"""Events in the order of their times: what each window loses, and what the event adds."""

from typing import Any

from verdict.state.windows.distinct import DistinctValues
from verdict.state.windows.extremes import Candidates
from verdict.state.windows.head import Head
from verdict.state.windows.labels import WaitingLabels
from verdict.state.windows.plan import Plan
from verdict.state.windows.rows import Row
from verdict.state.windows.tallies import Tallies


class InOrder:
    """Logs events that are not older than any other of their key.

    Parameters
    ----------
    plan
        What is asked.
    tallies, distinct, candidates, labels
        The parts of a head, each of which knows what a row means to it.
    """

    def __init__(
        self,
        plan: Plan,
        tallies: Tallies,
        distinct: DistinctValues,
        candidates: Candidates,
        labels: WaitingLabels,
    ) -> None:
        self._plan = plan
        self._tallies = tallies
        self._distinct = distinct
        self._candidates = candidates
        self._labels = labels

    def advance(self, head: Head) -> None:
        """Let go of what has left the windows of the newest event."""
        plan, now = self._plan, head.newest
        tallies, distinct, is_missing = self._tallies, self._distinct, self._tallies.is_missing
        self._labels.settle(head)
        for i, cursor in enumerate(plan.cursors):
            edge, column = now - cursor.offset, cursor.column

            def gone(row: Row, edge: int = edge, column: int | None = column) -> bool:
                return row[0] <= edge or (column is not None and is_missing(row, column))

            for row in head.rows.pass_by(i, gone):
                tallies.take_out(head, i, row)
                distinct.take_out(head, i, row)
        distinct.forget(head, head.rows.forget(now - plan.retention))
        distinct.spilled(head, head.rows.spill())
        self._candidates.advance(head)
        for i, (_, _, half_life) in enumerate(plan.decays):
            landmark, total = head.decays[i]
            head.decays[i] = now // half_life, total >> max(now // half_life - landmark, 0)

    def add(self, head: Head, row: Row) -> None:
        """Add a row that is not older than any other."""
        row = self._distinct.marked(head, row)
        self._distinct.add(head, row)
        self._tallies.add(head, row)
        head.rows.append(row)
        self._candidates.add(head, row)
        self._tallies.remember(head, row)
        self._tallies.fade(head, row)

    def values(self, head: Head, at: int) -> list[float | None]:
        """Read the aggregates, as the newest event sees them."""
        slots: list[Any] = [*head.counts, *head.tallies, *head.distincts]
        for cursor in self._plan.firsts:
            page, index = head.rows.cursors[cursor]
            slots.append(head.rows.at((page, index)))
        slots += [part for last in head.lasts for part in last]
        slots += self._candidates.values(head)
        slots += [total for _, total in head.decays]
        return self._tallies.read(slots, at, head.newest)
