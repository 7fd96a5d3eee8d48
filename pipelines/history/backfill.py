"""The features and decisions of past events, as the live path has them, as columns.

The events go through the score job's own hops, in the order of the files; only the end leaves what
it finds as rows, which are gathered into columns.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verdict.operators.names import DEAD_LETTERS, EVENTS, ROWS
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import FileError, Interrupted
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.history.columns import BackfillSummary, Columns, no_label
from verdict.pipelines.history.hops import Hops, More, Parts
from verdict.pipelines.history.prefetch import Prefetch, halves
from verdict.pipelines.jobs import score
from verdict.pipelines.jobs.label_feed import LabelFeed, LabelSummary, outcomes
from verdict.pipelines.spec.load import over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop

LARGE = 16_000_000
"""Bytes of files from which the first hops have a process of their own."""
ROWS_OF_A_BATCH = 10_000
"""Rows of a batch of `batches`, about: of fewer the columns cost more."""
ROW_GROUP = 100_000
"""Rows of a row group of the Parquet file, at least: they are held as columns until then."""


def batches(
    pipeline: Pipeline,
    files: Sequence[Path],
    *,
    features_only: bool,
    labels: Sequence[Path] | None = None,
    summary: BackfillSummary | None = None,
    dead: Callable[[Sequence[OutputRecord]], None] | None = None,
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

    Examples
    --------
    >>> from verdict import load
    >>> from verdict.pipelines.paths import resource
    >>> pipeline = load(resource("init/pipeline.yaml"))
    >>> (batch,) = batches(pipeline, [resource("init/events.jsonl")], features_only=True)
    >>> batch.column("card_count_1h").to_pylist()
    [1.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 2.0, 1.0, 1.0]
    """
    moved = over(pipeline, files, labels)
    label_files = moved.label_files()
    columns = Columns(moved, features_only, no_label if label_files else None)
    counts = summary or BackfillSummary()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verdict-backfill-")))
        stack.enter_context(spared())
        parts = Parts(moved.keeping(folder), files, features_only, folder)
        job = score.backfill(parts.pipeline, features_only)
        cut = halves(job) if _is_large(files) else None
        second: Hops | None = None
        if cut is not None:
            ahead = Prefetch(parts.first)
            stack.callback(ahead.close)
            found: Iterator[tuple[list[Any], list[OutputRecord], More]] = iter(ahead)
            second = stack.enter_context(contextlib.closing(Hops(cut[1], folder / "second")))
        else:
            found = stack.enter_context(contextlib.closing(parts.all()))
        if label_files:  # read while the other process starts
            columns.labels = LabelFeed(moved, label_files).value
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
            columns.append(rows)
            if len(columns) >= ROWS_OF_A_BATCH:
                yield columns.batch()
            if progress is not None:
                progress(more.read)
        if len(columns):
            yield columns.batch()
        if label_files:
            if second is not None:
                told.count(outcomes(second.counts))
            counts.labels = told


def _is_large(files: Sequence[Path]) -> bool:
    """Whether a process of its own for the first hops is worth its start."""
    return sum(file.stat().st_size for file in files if file.exists()) >= LARGE


def _in_order(outputs: list[OutputRecord]) -> list[OutputRecord]:
    """Put what two halves put out in the order of the events."""
    return sorted(outputs, key=lambda output: (output.cause.partition, output.cause.offset))


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
) -> BackfillSummary:
    """Write the rows of `batches` to a Parquet file, and the dead letters beside it.

    Both have a temporary name until they are whole. Where there is no dead letter, there is no file
    of them, and one of a run before is deleted.

    Raises
    ------
    Interrupted
        It was stopped; there is no new file.
    FileError
        A file cannot be read or written.

    Examples
    --------
    >>> from verdict import load
    >>> from verdict.pipelines.paths import resource
    >>> pipeline = load(resource("init/pipeline.yaml"))
    >>> files = [resource("init/events.jsonl")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out, dead_letters = Path(folder, "past.parquet"), Path(folder, "dead-letters.avro")
    ...     write(pipeline, files, out, dead_letters, features_only=False).rows
    10
    """
    summary = BackfillSummary()
    moved = over(pipeline, files, labels)
    columns = Columns(moved, features_only, no_label if moved.label_files() else None)
    parts = [path.with_name(f".{path.name}.part") for path in (out, dead_letters)]
    letters: AvroFile | None = None

    def dead(outputs: Sequence[OutputRecord]) -> None:
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
