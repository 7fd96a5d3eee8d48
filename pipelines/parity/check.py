"""Live decisions beside a replay of the same events: the proof that their features are the same."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from verdict.operators.message import Message
from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.parity.compare import Compare, Difference
from verdict.pipelines.parity.lost import Letters, read_letters
from verdict.pipelines.parity.summary import ParitySummary
from verdict.pipelines.replay.decisions import COMMIT, Decisions
from verdict.pipelines.replay.extent import WholeSpan, whole_span
from verdict.pipelines.replay.past import look_whether_to_stop, open_past
from verdict.pipelines.replay.runner import Item, source_of
from verdict.pipelines.replay.sources import Progress, Sources, counted, open_sources
from verdict.pipelines.spec.load import over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop
from verdict.state.store.rocks import RocksStore

SHOWN = 20
"""Differences that are kept in full."""


class Parity:
    """Holds each decision against its replay, and misses those that the replay alone makes.

    A `Watcher` of a replay.

    Parameters
    ----------
    pipeline
        The one of the replay.
    decisions
        What was decided.
    letters
        What stands in the place of a decision; None if none is missed.
    shown
        Differences to keep in full.

    Attributes
    ----------
    summary
        Counts; `finish` completes it.
    """

    def __init__(
        self, pipeline: Pipeline, decisions: Decisions, letters: Letters | None, shown: int
    ) -> None:
        self.summary = ParitySummary()
        self._compare = Compare(pipeline)
        self._decisions, self._letters, self._shown = decisions, letters, shown

    def wants(self, message: Message, between: bool) -> bool:
        """Whether a decision was lost: one must be there, and no dead letter says why not."""
        return between and (self._letters is None or source_of(message) not in self._letters)

    def decided(self, item: Item, replayed: bytes) -> None:
        """Compare a decision."""
        summary, compare = self.summary, self._compare
        summary.compared += 1
        if replayed == item.decided:
            compare.equal += 1
            summary.equal += 1
            return
        decode = self._decisions.decode
        guessed = self._decisions.guesses(item.carry.event.keys)
        source = source_of(item.message)
        self._differs(compare(decode(item.decided), decode(replayed), item.gaps, source, guessed))

    def alone(self, item: Item, replayed: bytes) -> None:
        """Count a decision that was lost."""
        self.summary.lost += 1
        self._show([self._compare.lost(self._decisions.decode(replayed), source_of(item.message))])

    def died(self, message: Message, decided: bytes, reason: str) -> None:
        """Count a decided event that is a dead letter now."""
        if decided:
            self.summary.compared += 1
            decision = self._decisions.decode(decided)
            self._differs([self._compare.died(decision, source_of(message), reason)])

    def finish(self) -> ParitySummary:
        """Return what was found, with what became of each feature."""
        self.summary.features = self._compare.counts()
        return self.summary

    def _differs(self, differences: Sequence[Difference]) -> None:
        self.summary.differing += bool(differences)
        self._show(differences)

    def _show(self, differences: Sequence[Difference]) -> None:
        summary = self.summary
        summary.differences += len(differences)
        summary.shown += differences[: max(0, self._shown - len(summary.shown))]


def check(
    pipeline: Pipeline,
    events: Sequence[Path] | None,
    decisions: Sequence[Path] | None,
    labels: Sequence[Path] | None = None,
    *,
    stop: Stop,
    shown: int = SHOWN,
    progress: Progress | None = None,
) -> ParitySummary:
    """Compare a pipeline's decisions with a replay of their events.

    Parameters
    ----------
    pipeline
        As it was when it decided; its champion is loaded.
    events, decisions
        Files, the first one first; None reads the topic up to its end now.
    labels
        Files, where the events come from files; None for those that the pipeline file names.
    stop
        Ends the run.
    shown
        Differences to keep in full; the others are counted.
    progress
        Called with what is read, now and then.

    Raises
    ------
    Interrupted
        It was stopped: nothing is known.
    FileError
        A file cannot be read, or is none of decisions.
    KafkaError
        The broker does not answer, or a topic is missing.
    """
    if events is not None:
        pipeline = over(pipeline, events, labels)
    whole = whole_span(pipeline) if decisions is None else WholeSpan()

    def letters() -> Iterator[str]:
        read = read_letters(pipeline, decisions, stop)
        return read if progress is None else counted(read, DEAD_LETTERS, progress)

    sources = open_sources(pipeline, events, decisions, whole, stop=stop, progress=progress)
    return compare(pipeline, sources, letters, whole=whole, stop=stop, shown=shown)


def compare(
    pipeline: Pipeline,
    sources: Sources,
    letters: Callable[[], Iterator[str]] = lambda: iter(()),
    *,
    whole: WholeSpan | None = None,
    stop: Stop,
    shown: int = SHOWN,
) -> ParitySummary:
    """Compare decisions with a replay of events, wherever the two come from.

    Parameters
    ----------
    pipeline
        Over a topic, or over files.
    sources
        Of decisions, events and labels.
    letters
        Reads where the records lie that are dead letters of the job; called if that matters.
    whole
        The time in which none of the decisions is missing, once they are read; None for ever.
    stop, shown
        As of `check`.
    """
    with ExitStack() as stack:
        past = stack.enter_context(open_past(pipeline, sources, whole=whole, stop=stop))
        dead: Letters | None = None
        if past.extent.missed:
            store = stack.enter_context(closing(RocksStore(past.folder / "letters")))
            dead = Letters(store)
            dead.read(letters(), COMMIT)
            look_whether_to_stop(stop)
        parity = Parity(pipeline, past.decisions, dead, shown)
        parity.summary.take_decisions(past.decisions)
        parity.summary.take_replayed(past.replay(parity))
        return parity.finish()
