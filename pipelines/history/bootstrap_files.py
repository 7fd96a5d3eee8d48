"""A job's state from files, in silence."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

from verdict.operators.message import Emit, Holding, Message, Operator
from verdict.operators.names import EVENTS, SCORE_JOB
from verdict.pipelines.engines.embedded.from_files import BATCH
from verdict.pipelines.engines.embedded.runner import Runner
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.jobs import events, score
from verdict.pipelines.jobs.label_feed import LabelFeed
from verdict.pipelines.spec.load import over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job, Stop
from verdict.state.store.keyed import KeyedState
from verdict.state.store.rocks import RocksStore

FILES = "history"
"""Where the state keeps what it was made of."""


@dataclass
class Files:
    """What of a state comes from files.

    Attributes
    ----------
    before
        Milliseconds since the epoch: events of before come from files, later ones from the topic.
    files
        The files -> how many records of each were read.
    whole
        Whether they were read to their end.
    labels
        The files of labels -> how many records of each there were.
    """

    before: int
    files: dict[str, int] = field(default_factory=dict)
    whole: bool = False
    labels: dict[str, int] = field(default_factory=dict)


@dataclass
class Skipped:
    """How many records were left out: those of the other side of `Files.before`."""

    records: int = 0


class _Span:
    """Lets only records of a span of event time into the first hop."""

    def __init__(
        self,
        operator: Operator,
        is_in: Callable[[int], bool],
        time_of: Callable[[Message], int | None],
        skipped: Skipped,
    ) -> None:
        self._operator = operator
        self._is_in = is_in
        self._time_of = time_of
        self._skipped = skipped

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        if message.stream == EVENTS:
            time = self._time_of(message)
            if time is not None and not self._is_in(time):
                self._skipped.records += 1
                return ()
        return self._operator(message, state)

    def close(self) -> None:
        if isinstance(self._operator, Holding):
            self._operator.close()


def within(job: Job, pipeline: Pipeline, is_in: Callable[[int], bool], skipped: Skipped) -> Job:
    """Return the job, of whose events only those go in whose time does; the others are counted."""
    first, *others = job.hops
    time_of = events.event_times(pipeline)
    spanned = replace(first, operator=lambda: _Span(first.operator(), is_in, time_of, skipped))
    return replace(job, hops=(spanned, *others))


def read_files(
    pipeline: Pipeline,
    folder: Path,
    files: Sequence[Path],
    before: int,
    *,
    stop: Stop,
    progress: Callable[[int], None] | None = None,
    skipped: Skipped | None = None,
) -> int:
    """Read events of before a time from files into a pipeline's state, and decide none of them.

    It comes first; `bootstrap` then takes from the topic the events of that time and later. What
    was read before is not read again, so a second call goes on. Labels come from the files that the
    pipeline file names beside their topic, for those of the topic come only after all these events.

    Parameters
    ----------
    pipeline
        Of events in a topic.
    folder
        Of the pipelines' states, as `verdict run --state` takes it.
    files
        One history, in this order.
    before
        Milliseconds since the epoch.
    stop
        Ends it after the batch at hand.
    progress
        Called with how many bytes more of the files have been read.
    skipped
        Counts the events of that time and later.

    Returns
    -------
    int
        Records read.

    Raises
    ------
    FileError
        A file cannot be read; or the state has read the topic, or other files, already.
    SpecError
        There are features over labels, and no files of labels.
    """
    moved = over(pipeline, files)
    label_files = moved.label_files()
    names = [str(file.resolve()) for file in files]
    kept = home(pipeline, folder)
    store = RocksStore(kept)
    runner: Runner | None = None
    try:
        history = _progress(store, kept, names, before)
        if history.whole:
            return 0
        job = within(score.score(moved), moved, lambda time: time < before, skipped or Skipped())
        runner = Runner(job, store)
        starts = list(history.files.values())
        groups: Iterator[list[Message]]
        feed = LabelFeed(moved, label_files) if label_files else None
        if feed is None:
            events = read_events(files, moved.schema, EVENTS, starts, progress)
            groups = ([event] for event in events)
        else:
            events = read_events(files, moved.schema, EVENTS, progress=progress)
            groups = feed.groups(events, starts, history.labels)
        read = 0
        with spared():
            while batch := list(islice(groups, BATCH)):
                runner.many([message for group in batch for message in group])
                read += len(batch)
                for *_, event in batch:
                    history.files[names[event.partition]] = event.offset + 1
                if feed is not None:
                    history.labels = feed.counts
                store.commit({FILES: json.dumps(asdict(history)).encode()})
                runner.sweep()
                if stop.is_set():
                    return read
        history.whole = True
        if feed is not None:
            runner.many(feed.rest())
        store.commit({FILES: json.dumps(asdict(history)).encode()})
        return read
    finally:
        if runner is not None:
            runner.close()
        store.close()


def _progress(store: RocksStore, kept: Path, names: list[str], before: int) -> Files:
    """Return what of a state comes from files, as far as they were read; refuse other ones."""
    found = _files(store.meta(FILES)) or Files(before, dict.fromkeys(names, 0))
    if store.meta("offsets") is not None and not found.whole:
        raise FileError(
            f"{kept} has read the topic already, and what lies in files comes before it: name "
            "by --state a folder that is empty"
        )
    if (found.before, list(found.files)) != (before, names):
        raise FileError(
            f"{kept} was begun with {', '.join(found.files)}, up to another time or in another "
            "order: say the same again, or name by --state a folder that is empty"
        )
    return found


def _files(value: bytes | None) -> Files | None:
    return None if value is None else Files(**json.loads(value))


def read_files_of(kept: Path) -> Files | None:
    """Read what of a state comes from files; None if nothing does."""
    return _files(read_meta(kept, FILES)) if kept.is_dir() else None


def read_meta(kept: Path, name: str) -> bytes | None:
    """Read what a state that no job has open keeps under a name, beside what its keys have.

    Raises
    ------
    StateError
        A job holds the folder.
    """
    with closing(RocksStore(kept)) as store:
        return store.meta(name)


def home(pipeline: Pipeline, folder: Path) -> Path:
    """Return where the embedded engine keeps the state of a pipeline's ``score`` job."""
    return folder / pipeline.spec.pipeline / SCORE_JOB
