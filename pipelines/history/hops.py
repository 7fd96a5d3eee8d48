"""The hops of a backfill, batch by batch."""

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from verdict.operators.message import NEXT, Message
from verdict.operators.names import EVENTS
from verdict.pipelines.engines.embedded.runner import OutputRecord, Runner
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.history.packing import Part
from verdict.pipelines.history.prefetch import halves
from verdict.pipelines.history.store import HistoryStore
from verdict.pipelines.jobs import score
from verdict.pipelines.jobs.label_feed import LabelFeed, LabelSummary, outcomes
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job

BATCH = 500
"""Events that go through the hops together: so few that what is made of them stays in the
processor's cache, and that Python's garbage collector is never called for them: with 2,500 they
took a quarter longer."""
LOOK = 200
"""Batches between two looks at how much memory the state takes."""
HELD = 256_000_000
"""Bytes of memory from which a half's state goes to RocksDB. Most backfills never get there: what
is written seldom is written fewer times."""


@dataclass(frozen=True)
class More:
    """What there is to say of a part: events, bytes read, and at the end of all labels."""

    events: int
    read: int
    labels: LabelSummary | None = None


class Hops:
    """Some hops of the job, over a store of their own."""

    def __init__(self, job: Job, folder: Path) -> None:
        self._store = HistoryStore(folder)
        self._number = 0
        try:
            self._runner = Runner(job, self._store)
        except BaseException:
            self._store.close()
            raise

    def __call__(self, messages: Sequence[Message]) -> list[OutputRecord]:
        """Return what the hops make of some messages."""
        outputs = self._runner.many(messages)
        self._number += 1
        if self._number % LOOK == 0 and self._store.held >= HELD:
            self._store.spill()
            self._runner.sweep()
        return outputs

    @property
    def counts(self) -> list[Mapping[tuple[str, ...], int]]:
        """What they have counted."""
        return self._runner.counts

    def close(self) -> None:
        """Close them and their store."""
        self._runner.close()
        self._store.close()


@dataclass(frozen=True)
class Parts:
    """What comes of the events, part by part. It pickles.

    Attributes
    ----------
    pipeline
        Over the files of events and labels, with its state in a folder of this run.
    files, features_only
        As of `batches`.
    folder
        For the state.
    """

    pipeline: Pipeline
    files: Sequence[Path]
    features_only: bool
    folder: Path

    def first(self) -> Iterator[Part]:
        """Run the events through the first half of the hops."""
        cut = halves(self._job())
        assert cut is not None
        return self._through(cut[0])

    def all(self) -> Generator[Part]:
        """Run the events through all hops."""
        return self._through(self._job())

    def _job(self) -> Job:
        return score.backfill(self.pipeline, self.features_only)

    def _through(self, job: Job) -> Generator[Part]:
        read = 0

        def progress(more: int) -> None:
            nonlocal read
            read += more

        label_files = self.pipeline.label_files()
        events = read_events(self.files, self.pipeline.schema, EVENTS, progress=progress)
        feed = LabelFeed(self.pipeline, label_files) if label_files else None
        with contextlib.closing(Hops(job, self.folder / "first")) as hops:
            while batch := list(islice(events, BATCH)):
                messages = batch if feed is None else feed.among(batch)
                yield *_sent_on(hops(messages)), More(len(batch), read)
                read = 0
            if feed is not None:
                rest = _sent_on(hops(feed.rest()))
                told = LabelSummary(len(feed) + feed.bad, feed.bad)
                told.without_event = feed.without_event
                told.count(outcomes(hops.counts))
                yield *rest, More(0, read, told)


def _sent_on(outputs: Sequence[OutputRecord]) -> tuple[list[OutputRecord], list[OutputRecord]]:
    """Tell what goes on to the next hop from what comes out."""
    following = [output for output in outputs if output.stream == NEXT]
    if len(following) == len(outputs):
        return following, []
    return following, [output for output in outputs if output.stream != NEXT]
