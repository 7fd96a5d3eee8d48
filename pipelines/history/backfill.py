"""The features and decisions of past events, as the live path has them, as columns.

The events go through the score job's own hops, in the order of the files; only the end leaves what
it finds as rows, which are gathered into columns.
"""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from verdict.operators.features.columns import LABEL
from verdict.operators.message import NEXT, Message
from verdict.operators.models.card import read_card
from verdict.operators.names import DEAD_LETTERS, EVENTS, ROWS
from verdict.operators.score.rows import Row
from verdict.pipelines.engines.embedded.runner import Output, Runner
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import FileError, Interrupted, SpecError
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.history.prefetch import Ahead, Part, halves
from verdict.pipelines.jobs import parts, score
from verdict.pipelines.jobs.label_feed import LabelFeed, LabelSummary, outcomes
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job, Stop
from verdict.state.store.rocks import RocksStore

BATCH = 2_500
"""Events between two looks at whether to stop; of each batch, columns are made."""
LOOK = 40
"""Batches between two looks at how much state waits in memory to be written."""
HELD = 256_000_000
"""Bytes of state from which it goes to RocksDB. Most backfills never get there: what is written
seldom is written fewer times."""
LARGE = 16_000_000
"""Bytes of files from which the first hops have a process of their own."""
ROW_GROUP = 100_000
"""Rows of a row group of the Parquet file, at least: they are held as columns until then."""
TIME = pa.timestamp("ms", "UTC")


@dataclass
class Summary:
    """What became of the events.

    ``events`` = ``rows`` + ``dead_letters`` + ``repeated``; the last are those that the producer
    sent again, whose first decision stands.
    """

    events: int = 0
    rows: int = 0
    dead_letters: int = 0
    repeated: int = 0
    labels: LabelSummary | None = None

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows; of labels, where there are files of them."""
        found = asdict(self)
        if self.labels is None:
            del found["labels"]
        return found


Says = Callable[[str, int], float | None]
"""An event's id and time -> its label."""


class Columns:
    """From rows to Arrow's columns.

    Parameters
    ----------
    pipeline
        Its entities and features name the columns.
    features_only
        Leave out score, action and model.
    labels
        Says each event's label, where there are files of labels.

    Raises
    ------
    SpecError
        Two columns would have one name.
    """

    def __init__(self, pipeline: Pipeline, features_only: bool, labels: Says | None = None) -> None:
        self._labels = labels
        known = parts.known(pipeline)
        self._model: str | None = None
        if not features_only:
            card = read_card(pipeline.models[0])
            self._model = f"{card.name}:{card.version}"
        decided = [] if features_only else ["score", "action", "model"]
        self._entities = pipeline.entities
        self._places = [known.index(name) for name in pipeline.spec.features]
        label = [LABEL] if labels is not None else []
        names = ["event_id", "event_time", *self._entities, *decided, *label]
        names += pipeline.spec.features
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SpecError(
                [
                    f"{pipeline.path}: two columns of a backfill would be named '{twice[0]}': "
                    "rename the feature or the entity"
                ]
            )
        types = {"event_time": TIME, "score": pa.float64(), LABEL: pa.float64()}
        types |= dict.fromkeys(pipeline.spec.features, pa.float64())
        self.schema = pa.schema([(name, types.get(name, pa.string())) for name in names])

    def __call__(self, rows: Sequence[Row]) -> pa.RecordBatch:
        """Turn rows around; NaN, and what has no value, is null."""
        ids, times, keys, _, scores, actions, features = zip(*rows, strict=True)
        columns = [pa.array(ids, pa.string()), pa.array(times, pa.int64()).cast(TIME)]
        columns += [pa.array(key, pa.string()) for key in zip(*keys, strict=True)]
        if self._model is not None:
            columns += [pa.array(scores, pa.float64()), pa.array(actions, pa.string())]
            columns.append(pa.array([self._model] * len(rows), pa.string()))
        if self._labels is not None:
            columns.append(pa.array(map(self._labels, ids, times), pa.float64()))
        values = np.array(features, np.float64).reshape(len(rows), len(features[0]))
        for place in self._places:
            column = np.ascontiguousarray(values[:, place])
            columns.append(pa.array(column, mask=np.isnan(column)))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def no_label(_event_id: str, _time: int) -> None:
    """Say nothing of any event."""


def batches(
    pipeline: Pipeline,
    files: Sequence[Path],
    *,
    features_only: bool,
    labels: Sequence[Path] | None = None,
    summary: Summary | None = None,
    dead: Callable[[Sequence[Output]], None] | None = None,
    progress: Callable[[int], None] | None = None,
    stop: Stop | None = None,
) -> Iterator[pa.RecordBatch]:
    """Compute a row for each event, in the order of the events, in bounded memory.

    The columns are ``event_id``, ``event_time``, a column for each entity's key, ``score``,
    ``action`` and ``model`` (``name:version``), ``label`` where there are files of labels, and each
    feature under its own name.

    Parameters
    ----------
    pipeline
        Its models need not exist with ``features_only``.
    files
        Of events: one history, in this order.
    features_only
        Compute no decision; the three columns of it are left out.
    labels
        Files of labels; None for those that the pipeline file names, if it does.
    summary
        Counts what became of the events.
    dead
        Gets the dead letters, which have no row.
    progress
        Called with how many bytes more of the files have been read.
    stop
        Ends the run after the batch at hand.

    Raises
    ------
    SpecError
        There are features over labels, and no files of labels.
    Interrupted
        It was stopped.
    """
    moved = over(pipeline, files, labels)
    label_files = moved.label_files()
    columns = Columns(moved, features_only, _labels_of(moved, label_files))
    counts = summary or Summary()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verdict-backfill-")))
        stack.enter_context(spared())
        job = score.backfill(moved.keeping(folder), features_only)
        parts = _Parts(pipeline.path, files, labels, features_only, folder)
        cut = halves(job) if _is_large(files) else None
        second: _Hops | None = None
        if cut is not None:
            ahead = Ahead(parts.first)
            stack.callback(ahead.close)
            found: Iterator[tuple[list[Any], list[Output], _More]] = iter(ahead)
            second = stack.enter_context(contextlib.closing(_Hops(cut[1], folder / "second")))
        else:
            found = stack.enter_context(contextlib.closing(parts.all()))
        told = LabelSummary()
        for messages, outputs, more in found:
            if stop is not None and stop.is_set():
                raise Interrupted("stopped before the end; nothing was written")
            if second is not None:
                early, outputs = outputs, second(messages)
                outputs = _in_order([*early, *outputs]) if early else outputs
            rows = [o.value for o in outputs if o.stream == ROWS and not o.value.repeated]
            letters = [output for output in outputs if output.stream == DEAD_LETTERS]
            counts.events += more.events
            counts.rows += len(rows)
            counts.dead_letters += sum(letter.cause.stream == EVENTS for letter in letters)
            counts.repeated += len(outputs) - len(rows) - len(letters)
            told = more.labels or told
            if letters and dead is not None:
                dead(letters)
            if rows:
                yield columns(rows)
            if progress is not None:
                progress(more.read)
        if label_files:
            if second is not None:
                told.count(outcomes(second.counts))
            counts.labels = told


def _is_large(files: Sequence[Path]) -> bool:
    """Whether a process of its own for the first hops is worth its start."""
    return sum(file.stat().st_size for file in files if file.exists()) >= LARGE


def _labels_of(pipeline: Pipeline, files: Sequence[Path]) -> Says | None:
    return LabelFeed(pipeline, files).value if files else None


def _in_order(outputs: list[Output]) -> list[Output]:
    """Put what two halves put out in the order of the events."""
    return sorted(outputs, key=lambda output: (output.cause.partition, output.cause.offset))


@dataclass(frozen=True)
class _More:
    """What there is to say of a part: events, bytes read, and at the end of all labels."""

    events: int
    read: int
    labels: LabelSummary | None = None


class _Hops:
    """Some hops of the job, over a store of their own."""

    def __init__(self, job: Job, folder: Path) -> None:
        self._store = RocksStore(folder)
        self._number = 0
        try:
            self._runner = Runner(job, self._store)
        except BaseException:
            self._store.close()
            raise

    def __call__(self, messages: Sequence[Message]) -> list[Output]:
        outputs = self._runner.many(messages)
        self._number += 1
        if self._number % LOOK == 0 and self._store.held >= HELD:
            self._store.commit({})
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
class _Parts:
    """What comes of the events, part by part. It pickles.

    Attributes
    ----------
    path
        Of the pipeline file.
    files, labels, features_only
        As of `batches`.
    folder
        For the state.
    """

    path: Path
    files: Sequence[Path]
    labels: Sequence[Path] | None
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

    def _over(self) -> Pipeline:
        return over(load(self.path), self.files, self.labels).keeping(self.folder)

    def _job(self) -> Job:
        return score.backfill(self._over(), self.features_only)

    def _through(self, job: Job) -> Generator[Part]:
        read = 0

        def progress(more: int) -> None:
            nonlocal read
            read += more

        moved = self._over()
        label_files = moved.label_files()
        messages = read_events(self.files, moved.schema, EVENTS, progress=progress)
        feed = LabelFeed(moved, label_files) if label_files else None
        if feed is not None:
            messages = chain.from_iterable(feed.groups(messages))
        with contextlib.closing(_Hops(job, self.folder / "first")) as hops:
            while batch := list(islice(messages, BATCH)):
                events = sum(message.stream == EVENTS for message in batch)
                yield *_sent_on(hops(batch)), _More(events, read)
                read = 0
            if feed is not None:
                rest = _sent_on(hops(feed.rest()))
                told = LabelSummary(len(feed) + feed.bad, feed.bad)
                told.without_event = feed.without_event
                told.count(outcomes(hops.counts))
                yield *rest, _More(0, read, told)


def _sent_on(outputs: Sequence[Output]) -> tuple[list[Output], list[Output]]:
    """Tell what goes on to the next hop from what comes out."""
    following = [output for output in outputs if output.stream == NEXT]
    if len(following) == len(outputs):
        return following, []
    return following, [output for output in outputs if output.stream != NEXT]


def write(
    pipeline: Pipeline,
    files: Sequence[Path],
    out: Path,
    dead_letters: Path,
    *,
    features_only: bool,
    labels: Sequence[Path] | None = None,
    progress: Callable[[int], None] | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Write the rows of `batches` to a Parquet file, and the dead letters beside it.

    Both have a temporary name until they are whole. Where there is no dead letter, there is no file
    of them, and one of a run before is deleted.

    Raises
    ------
    Interrupted
        It was stopped; there is no new file.
    FileError
        A file cannot be read or written.
    """
    summary = Summary()
    moved = over(pipeline, files, labels)
    columns = Columns(moved, features_only, no_label if moved.label_files() else None)
    parts = [path.with_name(f".{path.name}.part") for path in (out, dead_letters)]
    letters: AvroFile | None = None

    def dead(outputs: Sequence[Output]) -> None:
        nonlocal letters
        if letters is None:
            letters = AvroFile(parts[1], definition(DEAD_LETTERS), 0)
        letters.append(output.value for output in outputs)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        held: list[Any] = []
        with pq.ParquetWriter(parts[0], columns.schema) as writer:

            def flush() -> None:
                if held:
                    writer.write_table(pa.Table.from_batches(held, columns.schema))
                    held.clear()

            for batch in batches(
                pipeline,
                files,
                features_only=features_only,
                labels=labels,
                summary=summary,
                dead=dead,
                progress=progress,
                stop=stop,
            ):
                held.append(batch)
                if sum(each.num_rows for each in held) >= ROW_GROUP:
                    flush()
            flush()
        if letters is not None:
            letters.close()
            parts[1].replace(dead_letters)
        else:
            dead_letters.unlink(missing_ok=True)
        parts[0].replace(out)
    except OSError as error:
        raise FileError(f"cannot write {error.filename or out}: {error.strerror}") from None
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    return summary
