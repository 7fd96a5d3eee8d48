"""Exact sliding windows over one key's events, and what else its aggregates remember.

A window is (t - w, t]: the event itself is in, the one exactly ``w`` older is out. What its windows
hold is carried along as integers (`state.windows.plan`): an event adds itself, and takes out what
each window has lost since the event before it. So it touches the head, and for each window one page
of the rows (`state.windows.rows`), however many events the window holds; and nothing drifts.

This is the general way: any event, late or not, and heads of any layout. Nearly all events take a
quicker one (`state.windows.fast`), to the same bits.
"""

from collections.abc import Sequence

from verdict.state.store.dedupe import without_ids
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.cold import Coldness
from verdict.state.windows.distinct import DistinctValues
from verdict.state.windows.extremes import Candidates
from verdict.state.windows.head import Packing
from verdict.state.windows.in_order import InOrder
from verdict.state.windows.labels import WaitingLabels
from verdict.state.windows.late import LateEvents
from verdict.state.windows.layout import LAYOUT
from verdict.state.windows.migrate import Migration, read_old_head
from verdict.state.windows.plan import Plan
from verdict.state.windows.result import LATE, REPEATED, TAKEN, UNKNOWN_IN_TIME, WindowResult
from verdict.state.windows.rows import END, Row
from verdict.state.windows.tallies import Tallies
from verdict.state.windows.values import NEVER, Number


class Windows:
    """The events of one kind of entity, and the aggregates over them.

    Parameters
    ----------
    plan
        What is asked.
    name
        Of the kind of entity, for tracebacks.

    Examples
    --------
    >>> from verdict.state.windows.aggregates import Aggregate
    >>> from verdict.state.windows.plan import Column
    >>> from verdict.state.store.keyed import MemoryState
    >>> asked = [Aggregate("sum", 60_000, 0), Aggregate("count", 10)]
    >>> windows = Windows(Plan(asked, [Column("q", scale=2)], retention=60_000))
    >>> state = MemoryState()
    >>> windows.update(state, 0, [150])
    WindowResult(values=[1.5, 1.0], seq=1, late=False, cold=())
    >>> windows.update(state, 59_999, [50])
    WindowResult(values=[2.0, 1.0], seq=2, late=False, cold=())
    >>> windows.look(state, 59_999)
    WindowResult(values=[2.0, 1.0], seq=2, late=False, cold=())
    """

    def __init__(self, plan: Plan, name: str = "") -> None:
        self.plan = plan
        self.packing = Packing(plan)
        self.name = f"windows {name}".rstrip()
        self.coldness = Coldness(plan, self.packing)
        tallies = Tallies(plan, self.packing, self.name)
        distinct, candidates = DistinctValues(plan, tallies), Candidates(plan, tallies)
        self._labels = WaitingLabels(plan, tallies)
        self._in_order = InOrder(plan, tallies, distinct, candidates, self._labels)
        self._late = LateEvents(plan, tallies, distinct, candidates)
        self._migration = Migration(plan, self.packing, self._in_order, self._labels)

    def update(self, state: KeyedState, at: int, values: Sequence[Number]) -> WindowResult:
        """Log one event of the key and return what it sees.

        Parameters
        ----------
        state
            Of the key.
        at
            Event time in milliseconds.
        values
            One a column; `NULL`, NaN or False where missing.

        Raises
        ------
        StateError
            The head is of a layout that this release does not read, or damaged.
        """
        head = self._migration.opened(state, state.get())
        if head.newest <= at - self.plan.horizon:
            head.forget()
        head.seq += 1
        late = at < head.newest
        plan = self.plan
        if late:
            found = self._late.log(head, at, values)
        else:
            head.newest = at
            self._in_order.advance(head)
            before = self._in_order.values(head, at) if plan.before else []
            self._in_order.add(head, (at, *values))
            found = self._in_order.values(head, at)
            for i in plan.before:
                found[i] = before[i]
        cold = self.coldness.at(head.since, at)
        state.put(self.packing.packed(head))
        return WindowResult(found, head.seq, late, cold)

    def look(self, state: KeyedState, at: int) -> WindowResult:
        """Return what an event at a time sees of those that are logged, without logging it.

        Its ``seq`` is that of the key's last logged event, 0 where there is none.
        """
        head = self._migration.opened(state, state.get())
        if head.newest <= at - self.plan.horizon:
            head.forget()
        late = at < head.newest
        if late:
            found = self._late.values(head, at)
        else:
            head.newest = at
            self._in_order.advance(head)
            found = self._in_order.values(head, at)
        return WindowResult(found, head.seq, late, self.coldness.at(head.since, at))

    def label(self, state: KeyedState, row: Row) -> str:
        """Take a label, which counts for its event from when that enters the delayed windows.

        Parameters
        ----------
        state
            Of the key.
        row
            The event's time, its id, when the label was known, 1 for positive or 0, and its
            source's rank: of an event's labels, the one of the lowest rank counts, and of those the
            one known last.

        Returns
        -------
        str
            One of `OUTCOMES`.
        """
        counts = self._labels.counts(row)
        if not counts:
            return UNKNOWN_IN_TIME
        at = row[0]
        head = self._migration.opened(state, state.get())  # of no event yet, if it is on the way
        if head.newest >= at + counts[-1]:
            return LATE
        if row in head.labels.of_time(at):
            return REPEATED
        self._labels.wait(head, row)
        state.put(self.packing.packed(head))
        return LATE if head.newest >= at + counts[0] else TAKEN

    def remembered(self, state: KeyedState) -> tuple[WindowResult, int, list[Row], list[Row]]:
        """Return what the key's newest event saw, its time, every row, and labels that wait."""
        head = self._migration.opened(state, state.get())
        found = self.look(state, 0 if head.newest == NEVER else head.newest)
        begin = (head.rows.first or END, 0)
        labels = [row for _, row in head.labels.back(head.labels.end)]
        return found, head.newest, list(head.rows.forth(begin)), labels[::-1]

    def forget(self, state: KeyedState) -> None:
        """Erase what is remembered of the key, every chunk of it."""
        packed = state.get()
        if packed is None:
            return
        packed = without_ids(packed)
        if packed[0] == LAYOUT:
            chunks = read_old_head(state, packed).chunks
        else:
            chunks = self._migration.opened(state, packed).writes
        for number in chunks:
            state.drop_chunk(number)
        state.drop()
