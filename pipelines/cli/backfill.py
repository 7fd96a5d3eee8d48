"""The command on past events: ``verdict backfill``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from verdict.pipelines.cli.terminal import (
    AsJson,
    PipelineFile,
    bar_of_files,
    file_of,
    is_quiet,
    out,
    stop_on_signals,
)
from verdict.pipelines.errors import Interrupted, SpecError
from verdict.pipelines.spec.load import check_models, load, over


def backfill(
    pipeline: PipelineFile,
    events: Annotated[
        list[Path] | None, typer.Option(help="Files of events, in their order; may be repeated.")
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Files of labels, as the labels section reads them; may be repeated."),
    ] = None,
    to: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")] = Path(
        "decisions.parquet"
    ),
    features_only: Annotated[
        bool, typer.Option("--features-only", help="Decide nothing; no model is needed.")
    ] = False,
    dead_letters: Annotated[
        Path | None,
        typer.Option(help="Avro file of what has no row; OUT.dead-letters.avro if not named."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the features and decisions of past events, as the live path has them, to Parquet.

    Next: train on it; an event's features know of nothing that came after it.
    """
    from verdict.pipelines.history.backfill import write

    stop = stop_on_signals()
    loaded = load(file_of(pipeline))
    if events:
        loaded = over(loaded, events)
    if loaded.spec.events.files is None:
        raise SpecError(["name the files of the events: --events FILE"])
    if not features_only:
        check_models(loaded)
    files = [loaded.file(file) for file in loaded.spec.events.files]
    beside = dead_letters or to.with_suffix(".dead-letters.avro")
    quiet = is_quiet(as_json)
    with bar_of_files("backfill", files, quiet) as show:
        try:
            summary = write(
                loaded,
                files,
                to,
                beside,
                features_only=features_only,
                labels=labels or None,
                progress=None if quiet else show,
                stop=stop,
            )
        except Interrupted:
            raise typer.Exit(130) from None
    bad = summary.labels.bad if summary.labels is not None else 0
    letters = str(beside) if summary.dead_letters or bad else None
    if as_json:
        print(json.dumps({**summary.as_json(), "out": str(to), "dead_letters_in": letters}))
        return
    out.print(f"{summary.events:,} events")
    out.print(f"  {summary.rows:>8,} {to}")
    if summary.dead_letters:
        out.print(f"  {summary.dead_letters:>8,} {letters}")
    if summary.repeated:
        out.print(f"  {summary.repeated:>8,} came again, and have the row of their first time")
    if summary.labels is not None:
        told = summary.labels
        out.print(f"{told.read:,} labels")
        for count, what in (
            (told.taken, "count from when their event enters the delayed windows"),
            (told.unknown_in_time, "were known too late for the features"),
            (told.late, "came after their event had entered them"),
            (told.repeated, "came again"),
            (told.without_event, "are of no event"),
            (told.bad, f"are none: {beside}"),
        ):
            if count:
                out.print(f"  {count:>8,} {what}")
