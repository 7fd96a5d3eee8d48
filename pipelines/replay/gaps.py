"""What the history of a key lacks in a replay, hop by hop."""

from typing import NamedTuple

from verdict.operators.records import avro
from verdict.operators.records.decision import PRESENT
from verdict.pipelines.replay.decisions import Decisions
from verdict.pipelines.replay.order import Sequencer


class Gap(NamedTuple):
    """What a key's history lacks at a hop.

    ``missing`` events are not there; all of them were there no later than ``since``, in
    milliseconds of event time. None: it is not known since when the history is whole.
    """

    missing: int
    since: int | None


class Gaps:
    """What each key's history lacks at one hop, as far as it was replayed.

    Parameters
    ----------
    index, entity
        The hop's.
    decisions
        What was decided.
    line
        The order in which the hop takes events.
    """

    def __init__(self, index: int, entity: str, decisions: Decisions, line: Sequencer) -> None:
        self._index, self._entity = index, entity
        self._decisions, self._line = decisions, line
        self._gaps: dict[str, Gap] = {}

    def take(self, key: str | None, number: int, trace: bytes, time: int) -> Gap | None:
        """Return what a key's history lacks, now that the hop has taken a decided event.

        Parameters
        ----------
        key, time
            The event's.
        number
            Its decision's.
        trace
            What the hop says of itself in the replay.
        """
        if key is None:
            return None
        index, gaps, line, decisions = self._index, self._gaps, self._line, self._decisions
        unsure = decisions.unsure(index, key)
        hole = line.hole(number)
        if hole is not None and hole.begins:
            gaps.pop(key, None)
        if (hole is not None and hole.missing) or decisions.guessed(index, key):
            missing = decisions.places[index].seqs[number] - seq_of(trace, self._entity, key)
            before = gaps.get(key)
            guess = False
            if hole is not None and hole.missing and not line.as_read:
                guess = unsure if hole.filled else hole.begins
            if guess or missing != (before.missing if before else 0):
                gaps[key] = Gap(missing, None)
        gap = gaps.get(key)
        if gap is None or gap.since is not None or decisions.places[index].late[number]:
            return gap
        if line.as_read or not (unsure and line.lacks(key)):
            gap = gaps[key] = Gap(gap.missing, time)
        return gap


def seq_of(trace: bytes, entity: str, key: str) -> int:
    """Read the number of an event out of what a hop says of itself in a decision.

    >>> from verdict.operators.records.decision import hop_encoder
    >>> seq_of(hop_encoder("card", [])("c1", 300, False, ()), "card", "c1")
    300
    """
    at = len(avro.text(entity)) + len(avro.text(key)) + 2 * len(PRESENT)
    number = shift = 0
    while True:
        byte = trace[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1  # never negative, so zigzag is twice as much
        at, shift = at + 1, shift + 7
