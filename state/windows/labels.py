"""Labels that wait for their events to enter the delayed windows, and are settled then."""

from collections.abc import Iterable, Sequence

from verdict.state.windows.head import Head
from verdict.state.windows.plan import Plan
from verdict.state.windows.rows import Row
from verdict.state.windows.tallies import Tallies


class WaitingLabels:
    """Keeps labels, and gives them to their events' rows when these are old enough.

    Parameters
    ----------
    plan
        What is asked.
    tallies
        Of the plan.
    """

    def __init__(self, plan: Plan, tallies: Tallies) -> None:
        self._plan = plan
        self._tallied = tallies.tallied

    def counts(self, label: Row) -> list[int]:
        """List the delays by whose end a label was known, the shortest first."""
        return [delay for delay in self._plan.delays if label[2] <= label[0] + delay]

    def wait(self, head: Head, label: Row) -> None:
        """Put a label among those that wait."""
        delays = self._plan.delays
        head.labels.insert(label, lambda i: bool(label[0] > head.newest - delays[i]))
        while head.labels.spill():
            pass
        head.labels.forget(head.newest - delays[-1])  # a page that was cut may be past already

    def settle(self, head: Head) -> None:
        """Give their labels to the rows that enter delayed windows, before any cursor moves."""
        for i, (delay, cursor, columns) in enumerate(self._plan.settled):
            edge = head.newest - delay

            def gone(label: Row, edge: int = edge) -> bool:
                return bool(label[0] <= edge)

            best = _best(head.labels.pass_by(i, gone), delay)
            if not best:
                continue
            page, index = head.rows.cursors[cursor]
            for place, row in head.rows.places((page, index)):
                if row[0] > edge:
                    break
                positive = best.get((row[0], row[(self._plan.ids or 0) + 1]))
                if positive is None:
                    continue
                row = self._labelled(row, columns, positive)
                head.rows.replace(place, row)
                for j, tally in enumerate(self._plan.tallies):
                    if tally.column in columns:
                        head.tallies[j] += self._tallied(tally.column, tally.power, row)
        if self._plan.delays:
            head.labels.forget(head.newest - self._plan.delays[-1])

    def _labelled(self, row: Row, columns: Sequence[int], positive: int) -> Row:
        values = list(row)
        for column in columns:
            label = self._plan.columns[column].label
            assert label is not None
            if label.where is None or row[label.where + 1]:
                values[column + 1] = positive
        return tuple(values)


def _best(labels: Iterable[Row], delay: int) -> dict[tuple[int, int], int]:
    """Return, by time and id, whether the label that counts is positive.

    Of those that were known in time, that is the one of the lowest rank, of these the one that was
    known last; and where one rank said both at one time, positive.
    """
    found: dict[tuple[int, int], tuple[int, int, int]] = {}
    for at, event, known_at, positive, rank in labels:
        if known_at <= at + delay:
            order = (-rank, known_at, positive)
            found[at, event] = max(order, found.get((at, event), order))
    return {event: positive for event, (_, _, positive) in found.items()}
