"""What is cold: an aggregate that reaches back behind what has been kept, since it is new."""

from collections.abc import Sequence

from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.head import Packing
from verdict.state.windows.layout import COLD, COLUMN, DECAY, ROWS, Since, since_of
from verdict.state.windows.plan import FADED, Plan


class Coldness:
    """Says which aggregates are cold.

    Parameters
    ----------
    plan
        What is asked.
    packing
        Of the plan.

    Examples
    --------
    >>> plan = Plan([Aggregate("count", 10), Aggregate("count", 50)], [], retention=50)
    >>> coldness = Coldness(plan, Packing(plan))
    >>> kept_since = [Since(ROWS, 0, 100)]
    >>> coldness.at(kept_since, 109), coldness.at(kept_since, 149), coldness.at(kept_since, 150)
    ((0, 1), (1,), ())
    """

    def __init__(self, plan: Plan, packing: Packing) -> None:
        self._plan = plan
        self._matters = packing.matters
        self._reaches = [self._reach(each) for each in plan.asked]

    def of_packed(self, head: bytes, at: int) -> tuple[int, ...] | None:
        """Return what is cold at a key's newest event, given a packed head that says so.

        It is None where the head says of something that does not matter any more.
        """
        since = since_of(head, COLD)
        if all(self._matters(each, at) for each in since):
            return self.at(since, at)
        return None

    def at(self, since: Sequence[Since], at: int) -> tuple[int, ...]:
        """Return the indices of the aggregates that reach back behind what has been kept."""
        if not since:
            return ()
        return tuple(
            i
            for i, (begin, needs) in enumerate(self._reaches)
            if any(at - begin < time and (what, index) in needs for what, index, time in since)
        )

    def _reach(self, each: Aggregate) -> tuple[int, set[tuple[int, int]]]:
        """Return how far an aggregate reaches back, and over what."""
        if each.decayed:
            decays = [
                i
                for i, decay in enumerate(self._plan.decays)
                if (decay.column, decay.half_life) == (each.column, each.over)
            ]
            return FADED * each.over, {(DECAY, i) for i in decays}
        needs = {(ROWS, 0)}
        if each.column is not None:
            needs.add((COLUMN, each.column))
        return each.delay + each.over, needs
