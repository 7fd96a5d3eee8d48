"""The command that makes state from history: ``verdict bootstrap``."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from verdict.operators.message import Message
from verdict.pipelines.cli.terminal import (
    AsJson,
    PipelineFile,
    bar,
    bar_of_files,
    file_of,
    is_quiet,
    narrator,
    out,
    spinner,
    stop_on_signals,
)
from verdict.pipelines.errors import Interrupted, SpecError
from verdict.pipelines.spec.load import check_models, load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop


def bootstrap(
    pipeline: PipelineFile,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the new state, instead of settings.state; with --cluster, the one that "
            "the job was submitted with."
        ),
    ] = None,
    until: Annotated[
        Path | None,
        typer.Option(
            help="State folder of the job that decides now, stopped: read exactly as far as it."
        ),
    ] = None,
    events: Annotated[
        list[Path] | None,
        typer.Option(help="Files of events from before --files-until; may be repeated."),
    ] = None,
    files_until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            help="Events of before this time (UTC) come from --events, later ones from the topic.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="host:port of the Flink cluster where the job decides: all in one."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that a job may take to come up on the cluster.")
    ] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Make a new state from the events' topic, from its start, while the job of now decides.

    First without --until, while the job of now decides; it may be said again, to catch up. Then
    stop that job, say it with --until, and `verdict run PIPELINE --state` decides from there.
    On a Flink cluster, --cluster does it all, and exchanges the jobs.
    """
    loaded = load(file_of(pipeline))
    if loaded.spec.events.topic is None:
        raise SpecError(
            [f"{file_of(pipeline)}: its events lie in files; 'verdict run' reads those from start"]
        )
    if (events is None) != (files_until is None):
        raise SpecError(
            [
                "--events and --files-until go together: events of before that time come from the "
                "files, later ones from the topic, so that none counts twice"
            ]
        )
    folder = state or loaded.file(loaded.spec.settings.state)
    if cluster is not None:
        if events is not None:
            raise SpecError(
                [
                    "--events: Flink reads topics alone; produce the files into the events' topic "
                    "first, or bootstrap on the embedded engine (without --cluster)"
                ]
            )
        if until is not None:
            raise SpecError(["--until: with --cluster the job that decides is stopped by itself"])
        _on_cluster(loaded, folder, cluster, timeout, as_json)
        return
    _embedded(loaded, file_of(pipeline), folder, until, events or [], files_until, as_json)


def _embedded(
    loaded: Pipeline,
    file: Path,
    folder: Path,
    until: Path | None,
    events: Sequence[Path],
    files_until: datetime | None,
    as_json: bool,
) -> None:
    from verdict.pipelines.history import bootstrap as history
    from verdict.pipelines.history import bootstrap_files

    ends = None if until is None else history.decided(loaded, until)
    quiet = is_quiet(as_json)
    stop = stop_on_signals()
    skipped, from_files, count = bootstrap_files.Skipped(), 0, 0
    if files_until is not None:
        from_files = _read_files(loaded, folder, events, _millis(files_until), stop, quiet)
    with spinner("reading", quiet, stays=True) as show:
        read = 0

        def tell(batch: Sequence[Message]) -> None:
            nonlocal read
            read += len(batch)
            at = datetime.fromtimestamp(max(batch[-1].timestamp, 0) / 1000, UTC)
            show(f"{read:,} records, to {at:%Y-%m-%d %H:%M}")

        if not stop.is_set():
            count = history.bootstrap(
                loaded, folder, stop=stop, until=ends, tell=tell, skipped=skipped
            )
    offsets = history.decided(loaded, folder)
    if as_json:
        found = {"records": count, "of_files": from_files, "skipped": skipped.records}
        print(json.dumps({**found, "stopped": stop.is_set(), "offsets": offsets}))
        return
    if from_files:
        out.print(f"{from_files:,} records of files read into {folder}")
    out.print(f"{count:,} records of {loaded.spec.events.topic} read into {folder}, none decided")
    if skipped.records:
        out.print(f"  {skipped.records:,} of them left out: the files have what is so old")
    if stop.is_set():
        out.print("  stopped; say it again to go on")
    elif until is None:
        out.print("  next: stop the job that decides, and say it again with --until ITS_STATE")
    else:
        out.print(f"  next: verdict run {file} --state {folder}")


def _read_files(
    loaded: Pipeline, folder: Path, files: Sequence[Path], before: int, stop: Stop, quiet: bool
) -> int:
    from verdict.pipelines.history.bootstrap_files import read_files

    with bar_of_files("files", files, quiet) as show:
        return read_files(loaded, folder, files, before, stop=stop, progress=show)


def _millis(time: datetime) -> int:
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _on_cluster(
    loaded: Pipeline, folder: Path, cluster: str, timeout: float, as_json: bool
) -> None:
    from verdict.pipelines.deployment.exchange import RolledBack
    from verdict.pipelines.history.bootstrap_flink import bootstrap as on_flink

    check_models(loaded)
    name = f"{loaded.spec.pipeline}/score"
    say = narrator(as_json)
    with bar("reading", is_quiet(as_json)) as show:
        try:
            done = on_flink(
                loaded,
                folder,
                cluster,
                seconds=timeout,
                stop=stop_on_signals(),
                say=say,
                tell=show,
            )
        except Interrupted as error:
            say(str(error))
            raise typer.Exit(130) from None
        except RolledBack as error:
            if as_json:
                print(json.dumps({"job": name, "id": error.job_id, "rolled_back": str(error)}))
            raise
    if as_json:
        found = {"records": done.read, "read_s": round(done.read_s, 3), "again": done.again}
        found |= {"down_s": round(done.down_s, 3)}
        print(
            json.dumps(
                {"job": name, "id": done.job_id, "rolled_back": None, **found}
                | {"offsets": done.decided}
            )
        )
        return
    out.print(
        f"{done.read:,} records read in {done.read_s:.0f} s, none decided; {name} goes on on "
        f"{cluster} as {done.job_id}, after {done.down_s:.1f} s"
    )
