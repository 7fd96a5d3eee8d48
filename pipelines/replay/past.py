"""What was decided, opened to be replayed.

The decisions are read first, and kept by the record behind each. Then the events are read twice:
once to know which of them are there, once to go through the hops.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from verdict.operators.errors import BadRecord
from verdict.operators.events.event import Event
from verdict.operators.labels.label import Label
from verdict.operators.labels.read import check_key
from verdict.operators.message import Message
from verdict.operators.score.intake import Intake
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import Interrupted
from verdict.pipelines.jobs import score
from verdict.pipelines.replay.decisions import COMMIT, Decisions, recorded_lookups
from verdict.pipelines.replay.extent import Extent, Position, WholeSpan
from verdict.pipelines.replay.runner import Item, Replay, ReplayHops, Watcher
from verdict.pipelines.replay.sources import Sources
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop
from verdict.state.store.rocks import RocksStore


@dataclass
class ReplayCounts:
    """What was replayed.

    Attributes
    ----------
    events
        Read.
    without_decision
        Events between decided ones that were not decided.
    before_decisions
        Events that come before the first decided one of their partition or file.
    undecided
        Events that come after the last decided one of their partition or file; no hop takes them.
    forced
        Events that were replayed although one that should have come before them never did.
    """

    events: int = 0
    without_decision: int = 0
    before_decisions: int = 0
    undecided: int = 0
    forced: int = 0


@dataclass(frozen=True)
class Past:
    """Recorded decisions, and which of their events are there; `open_past` makes one.

    Attributes
    ----------
    decisions
        What was decided.
    extent
        How far the events were decided.
    folder
        For temporary files, as long as the past is open.
    """

    decisions: Decisions
    extent: Extent
    folder: Path
    _sources: Sources
    _intake: Intake
    _hops: ReplayHops
    _stop: Stop

    def replay(self, watcher: Watcher) -> ReplayCounts:
        """Replay all that was decided, once.

        Raises
        ------
        Interrupted
            It was stopped: nothing is known of the rest.
        """
        replayed, replay = ReplayCounts(), Replay(self._hops, self.decisions, watcher)
        self._take_labels(replay)
        self._take_events(replay, watcher, replayed)
        look_whether_to_stop(self._stop)
        replayed.forced = replay.forced
        return replayed

    def _take_labels(self, replay: Replay) -> None:
        pipeline = self._hops.pipeline
        stream = pipeline.labels_input
        if stream is None:
            return
        read = score.input_label_reader(pipeline, stream)
        for number, message in enumerate(self._sources.labels(), 1):
            label = message.value
            if not isinstance(label, Label):
                try:
                    label = read(label)
                    if pipeline.keyed:
                        check_key(message.key, label)
                except BadRecord:
                    continue  # a dead letter in its time
            replay.take_label(message, label)
            if number % COMMIT == 0:
                replay.commit()

    def _take_events(self, replay: Replay, watcher: Watcher, replayed: ReplayCounts) -> None:
        one_line = self._hops.pipeline.spec.events.topic is None
        taken = bytearray(self.decisions.count)
        for message in self._sources.events():
            replayed.events += 1
            line, at = _line(message, one_line)
            if self.extent.ended(line, at):
                replayed.undecided += 1
                continue
            carry, reason = None, ""
            try:
                carry = self._intake(message)
            except BadRecord as error:
                reason = f"{error.stage} {error.kind}: {error}"
            number, decided = self.decisions.find(message, carry.event if carry else None, taken)
            wanted = False
            if number >= 0:
                taken[number] = 1
            else:
                begun = self.extent.begun(line, at)
                replayed.without_decision += begun
                replayed.before_decisions += not begun
                wanted = watcher.wants(message, self.extent.missing(line, at))
            if carry is None:
                replay.refuse(message, number, decided, wanted, reason)
            else:
                replay.take(Item(message, carry, number, decided, wanted, []))
            if replayed.events % COMMIT == 0:
                replay.commit()
        replay.finish()


@contextmanager
def open_past(
    pipeline: Pipeline, sources: Sources, *, whole: WholeSpan | None = None, stop: Stop
) -> Iterator[Past]:
    """Read decisions, and which of their events are there; what is kept of them is temporary.

    Parameters
    ----------
    pipeline
        The one to replay with, over a topic or over files. Decisions of its name are read.
    sources
        What to read.
    whole
        The time in which none of the decisions is missing, once they are read; None for ever.
    stop
        Ends it.

    Raises
    ------
    Interrupted
        It was stopped.
    FileError
        A file or a decision cannot be read.
    KafkaError
        The broker does not answer, or a topic is missing.
    """
    with ExitStack() as stack:
        prefix = "verdict-replay-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        stack.enter_context(spared())
        index = stack.enter_context(closing(RocksStore(folder / "decisions")))
        state = stack.enter_context(closing(RocksStore(folder / "state")))
        decisions = Decisions(index, pipeline, sources.by_id, sources.one_by_one)
        decisions.read(sources.decisions())
        look_whether_to_stop(stop)
        lookups = recorded_lookups(pipeline)
        from_files = pipeline.spec.events.topic is None
        intake, operators = score.replay(pipeline, lookups)
        extent = _survey(sources.events(), intake, decisions, whole or WholeSpan(), from_files)
        look_whether_to_stop(stop)
        hops = ReplayHops(pipeline, operators, lookups, state)
        yield Past(decisions, extent, folder, sources, intake, hops, stop)


def look_whether_to_stop(stop: Stop) -> None:
    """Raise `Interrupted` if a replay is to end: what it knows then is no answer."""
    if stop.is_set():
        raise Interrupted("stopped before the end: nothing is known of the rest")


def _line(message: Message, one_line: bool) -> tuple[int, Position]:
    """Return the line of events that one belongs to, and its place in it."""
    if one_line:
        return 0, (message.partition, message.offset)
    return message.partition, (0, message.offset)


def _survey(
    events: Iterable[Message],
    intake: Intake,
    decisions: Decisions,
    whole: WholeSpan,
    one_line: bool,
) -> Extent:
    """Note which events are there; return how far they were decided."""
    extent = Extent()
    for message in events:
        event = _event(intake, message) if decisions.by_id else None
        number, _ = decisions.find(message, event, decisions.there)
        line, at = _line(message, one_line)
        decided = number >= 0
        extent.take(line, at, decided, decided and whole.holds(decisions.times[number]))
        if decided:
            decisions.there[number] = 1
            continue
        event = event or _event(intake, message)
        if event is not None:
            decisions.note(event, line)
    return extent


def _event(intake: Intake, message: Message) -> Event | None:
    try:
        return intake(message).event
    except BadRecord:
        return None
