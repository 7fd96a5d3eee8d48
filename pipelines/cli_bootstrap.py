"""The command that makes state from history: ``verdict bootstrap``."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from operators.message import Message
from pipelines.errors import SpecError
from pipelines.pipeline import load
from pipelines.terminal import AsJson, PipelineFile, err, file_of, out, stop_on_signals


def bootstrap(
    pipeline: PipelineFile,
    state: Annotated[
        Path | None,
        typer.Option(help="Folder of the new state, instead of settings.state."),
    ] = None,
    until: Annotated[
        Path | None,
        typer.Option(
            help="State folder of the job that decides now, stopped: read exactly as far as it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read the events' topic from its start into a new state, and decide nothing.

    First without --until, while the job of now decides; it may be said again, to catch up. Then
    stop that job, say it with --until, and `verdict run PIPELINE --state` decides from there.
    """
    from pipelines import bootstrap as history

    loaded = load(file_of(pipeline))
    if loaded.spec.events.topic is None:
        raise SpecError(
            [f"{file_of(pipeline)}: its events lie in files; 'verdict run' reads those from start"]
        )
    folder = state or loaded.file(loaded.spec.settings.state)
    ends = None if until is None else history.decided(loaded, until)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    quiet = as_json or not err.is_terminal
    stop = stop_on_signals()
    with Progress(*columns, console=err, disable=quiet) as progress:
        task, read = progress.add_task("reading"), 0

        def tell(batch: Sequence[Message]) -> None:
            nonlocal read
            read += len(batch)
            at = datetime.fromtimestamp(max(batch[-1].timestamp, 0) / 1000, UTC)
            progress.update(task, description=f"{read:,} records, to {at:%Y-%m-%d %H:%M}")

        count = history.bootstrap(loaded, folder, stop=stop, until=ends, tell=tell)
    offsets = history.decided(loaded, folder)
    if as_json:
        print(json.dumps({"records": count, "stopped": stop.is_set(), "offsets": offsets}))
        return
    out.print(f"{count:,} records of {loaded.spec.events.topic} read into {folder}, none decided")
    if stop.is_set():
        out.print("  stopped; say it again to go on")
    elif until is None:
        out.print("  next: stop the job that decides, and say it again with --until ITS_STATE")
    else:
        out.print(f"  next: verdict run {file_of(pipeline)} --state {folder}")
