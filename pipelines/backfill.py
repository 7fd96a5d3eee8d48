"""The features and decisions of past events, as the live path has them, as columns.

The events go through the score job's own hops, in the order of the files; only the end leaves what
it finds as rows, which are gathered into columns.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.bundle import read_card
from operators.features import LABEL
from operators.records import DEAD_LETTERS
from operators.score import ROWS, Row
from pipelines import jobs
from pipelines.embedded import Output, Runner
from pipelines.errors import FileError, Interrupted, SpecError
from pipelines.files import AvroFile, read_events
from pipelines.garbage import spared
from pipelines.job import Stop
from pipelines.label_files import LabelFeed, LabelSummary, outcomes
from pipelines.pipeline import Pipeline
from pipelines.streams import EVENTS, definition
from state.rocks import RocksStore

BATCH = 5_000
"""Events between two looks at whether to stop; of each batch, columns are made."""
COMMIT = 4
"""Batches whose state is kept in memory before it goes to RocksDB."""
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
        known = jobs.known(pipeline)
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
    over = pipeline.over(files, labels)
    label_files = over.label_files()
    feed = LabelFeed(over, label_files) if label_files else None
    columns = Columns(over, features_only, None if feed is None else feed.value)
    counts = summary or Summary()
    with tempfile.TemporaryDirectory(prefix="verdict-backfill-") as folder, spared():
        store = RocksStore(Path(folder) / "state")
        runner: Runner | None = None
        try:
            runner = Runner(jobs.backfill(over.keeping(Path(folder)), features_only), store)
            messages = read_events(files, over.schema, EVENTS, progress=progress)
            if feed is not None:
                messages = chain.from_iterable(feed.groups(messages))
            number = 0
            while batch := list(islice(messages, BATCH)):
                if stop is not None and stop.is_set():
                    raise Interrupted("stopped before the end; nothing was written")
                outputs = runner.many(batch)
                number += 1
                rows = [o.value for o in outputs if o.stream == ROWS and not o.value.repeated]
                letters = [output for output in outputs if output.stream == DEAD_LETTERS]
                dead_events = sum(letter.cause.stream == EVENTS for letter in letters)
                counts.events += sum(message.stream == EVENTS for message in batch)
                counts.rows += len(rows)
                counts.dead_letters += dead_events
                counts.repeated += len(outputs) - len(rows) - len(letters)
                if letters and dead is not None:
                    dead(letters)
                if rows:
                    yield columns(rows)
                if number % COMMIT == 0:
                    store.commit({})
                    runner.sweep()
            if feed is not None:
                runner.many(feed.rest())
                counts.labels = told = LabelSummary(len(feed) + feed.bad, feed.bad)
                told.without_event = feed.without_event
                told.count(outcomes(runner.counts))
        finally:
            if runner is not None:
                runner.close()
            store.close()


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
    over = pipeline.over(files, labels)
    columns = Columns(over, features_only, no_label if over.label_files() else None)
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
