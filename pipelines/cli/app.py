"""The command ``verdict``."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.cli import (
    backfill,
    bootstrap,
    dead_letters,
    deployment,
    outputs,
    parity,
    state,
    testing,
)
from verdict.pipelines.cli.terminal import AsJson, PipelineFile, err, file_of, out, stop_on_signals
from verdict.pipelines.errors import FlinkError, KafkaError, SpecError, UntestableError
from verdict.pipelines.jobs import catalog
from verdict.pipelines.jobs.compatibility import Change, Effect, changes
from verdict.pipelines.spec.load import check_models, load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.telemetry import logs
from verdict.pipelines.topology import Job
from verdict.state.errors import VerdictError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""A decision for every event: features from keyed state, an ONNX model's score, an action.

    **A first pipeline:** `verdict init my-pipeline`, then `verdict check` and `verdict run` on its
    `pipeline.yaml`.

    **On Kafka:** `verdict up`, `verdict topics create PIPELINE`, `verdict run PIPELINE`, and in
    another terminal `verdict tail PIPELINE decisions`.
    """,
)
topics_app = typer.Typer(no_args_is_help=True, help="Make a pipeline's topics.")
app.add_typer(topics_app, name="topics")

verbose = False

Folder = Annotated[Path, typer.Option("--folder", help="Where the local broker keeps its data.")]
BEHIND = {"fetch.min.bytes": 65_536, "fetch.wait.max.ms": 100}
"""What reads decisions after the fact fetches ten times a second, not once a decision."""
MINI_CLUSTER_JAVA = ("-XX:TieredStopAtLevel=1",)
"""The hops' time goes to Python: Java's second compiler took 0.4 of a core for minutes, and without
it the rate was the same (30,000 events at 885 and 921 a second)."""
BROKER_FOLDER = Path(".verdict/broker")


class Engine(StrEnum):
    """The two engines."""

    EMBEDDED = "embedded"
    FLINK = "flink"


@app.callback()
def _options(
    v: Annotated[bool, typer.Option("-v", "--verbose", help="Show stack traces.")] = False,
) -> None:
    global verbose
    verbose = v


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Of the new pipeline; must not exist yet.")],
) -> None:
    """Make the smallest pipeline that works: YAML, schema, ten events, a tiny model, tests.

    Next: `verdict check FOLDER`, then `verdict run FOLDER`.
    """
    from verdict.pipelines.paths import resource

    if folder.exists():
        raise SpecError([f"{folder} exists already: name a folder that does not"])
    source = resource("init")
    for file in sorted(source.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    out.print(f"Made {folder}. Next:")
    for command in ("check {}", "test {}", "run {}", "tail {} decisions"):
        out.print(f"  verdict {command.format(folder)}")


@app.command()
def check(
    pipeline: PipelineFile,
    against: Annotated[
        Path | None,
        typer.Option(help="The pipeline file that wrote the state: what becomes of it?"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find every mistake of a pipeline file before anything runs, and prove its models.

    Next: mend what it names, or `verdict run PIPELINE`.
    """
    try:
        loaded = load(file_of(pipeline))
        models = check_models(loaded)
    except SpecError as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "errors": error.messages}))
        raise typer.Exit(1) from None
    names = [f"{model.card.name}:{model.card.version}" for model in models]
    found = [] if against is None else list(changes(load(file_of(against)), loaded))
    warnings = _retention(loaded)
    summary: dict[str, Any] = {
        "ok": True,
        "pipeline": loaded.spec.pipeline,
        "entities": loaded.entities,
        "features": list(loaded.spec.features),
        "models": names,
        "topics": loaded.topics,
        "warnings": warnings,
    }
    if against is not None:
        summary["changes"] = [change._asdict() for change in found]
    if as_json:
        print(json.dumps(summary))
        _end_of_check(found)
        return
    hops = " -> ".join(f"hop({entity})" for entity in loaded.entities)
    out.print(f"{file_of(pipeline)} is right.", style="green")
    out.print(f"  events -> {hops} -> score -> decide")
    out.print(f"  {len(loaded.spec.features)} features; champion {names[0]}")
    for challenger in names[1:]:
        out.print(f"  challenger {challenger}")
    for warning in warnings:
        err.print(warning, style="yellow", soft_wrap=True, markup=False)
    if against is not None:
        out.print(f"Over the state of {file_of(against)}:")
        for change in found:
            style = "red" if change.effect is Effect.REFUSED else None
            out.print(f"  {change.what} ({change.effect}): {change.says}", style=style)
        out.print("  all else is kept as it was" if found else "  all is kept as it was")
    _end_of_check(found)


def _retention(pipeline: Pipeline) -> list[str]:
    """Compare the topic's retention with the windows, if somebody said where the broker is."""
    from verdict.pipelines.kafka import retention

    if not retention.named(pipeline):
        return []
    try:
        return retention.warnings(pipeline)
    except KafkaError as error:
        return [f"{error}; so nobody knows how long the topic keeps its records"]


def _end_of_check(found: Sequence[Change]) -> None:
    if any(change.effect is Effect.REFUSED for change in found):
        raise typer.Exit(1)


@app.command()
def run(
    pipeline: PipelineFile,
    job: Annotated[
        list[str] | None,
        typer.Option(
            help="score, shadow, watch or labels; from files several, each fed by the former."
        ),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="flink for production.")] = Engine.EMBEDDED,
    events: Annotated[
        list[Path] | None, typer.Option(help="Files of events instead of the topic.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder of the outputs, from files.")] = Path("out"),
    state: Annotated[
        Path | None, typer.Option(help="Folder of the state, instead of settings.state.")
    ] = None,
    bounded: Annotated[
        bool, typer.Option("--bounded", help="End where the topics end now.")
    ] = False,
    cluster: Annotated[
        str | None, typer.Option(help="host:port of a Flink cluster to submit to.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="From files: events a second, instead of all at once."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline's jobs until Ctrl-C, or to the end of its files.

    Next: `verdict tail PIPELINE decisions` shows what came out. A run that was ended goes on where
    it was when it is started again.
    """
    stop = stop_on_signals() if engine is Engine.EMBEDDED else threading.Event()
    loaded = load(file_of(pipeline))
    if events:
        loaded = over(loaded, events)
    check_models(loaded)
    from_files = loaded.spec.events.files is not None
    names = list(dict.fromkeys(job or (catalog.names(loaded) if from_files else [SCORE_JOB])))
    folder = state or loaded.file(loaded.spec.settings.state)
    chosen = [catalog.job(loaded.keeping(folder), name) for name in names]
    if from_files:
        if engine is Engine.FLINK:
            raise SpecError(["events from files run on the embedded engine; give Flink a topic"])
        if loaded.spec.settings.output_format != "avro":
            raise SpecError(["settings.output_format is of topics; from files it must be avro"])
        if SCORE_JOB not in names:
            raise SpecError([f"from files, {SCORE_JOB} feeds {names[0]}: name both by --job"])
        _run_files(loaded, chosen, folder / loaded.spec.pipeline, to, rate, as_json, stop)
        return
    if len(chosen) != 1:
        raise SpecError(["on Kafka each job is a process of its own: name one with --job"])
    if engine is Engine.FLINK:
        _run_flink(loaded, names[0], folder, bounded, cluster)
    else:
        _run_kafka(loaded, names[0], folder, bounded, as_json, stop)


def _run_files(
    loaded: Pipeline,
    chosen: list[Job],
    folder: Path,
    to: Path,
    rate: float | None,
    as_json: bool,
    stop: threading.Event,
) -> None:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from verdict.pipelines.engines.embedded.from_files import paced, run_files
    from verdict.pipelines.engines.embedded.runner import Output
    from verdict.pipelines.jobs.label_feed import LabelFeed

    label_files = loaded.label_files()
    feed = LabelFeed(loaded, label_files) if loaded.labels_input is not None else None
    counts: dict[str, int] = {}
    files = [loaded.file(file) for file in loaded.spec.events.files or []]
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    quiet = as_json or not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        task = progress.add_task("starting")

        def watch(outputs: Any) -> None:
            typed: list[Output] = outputs
            for output in typed:
                counts[output.stream] = counts.get(output.stream, 0) + 1
            shown = ", ".join(f"{count:,} {stream}" for stream, count in counts.items())
            progress.update(task, description=shown or "reading")

        done = run_files(
            chosen,
            files,
            loaded.schema,
            loaded.topics,
            folder / "files",
            to,
            stop=stop,
            pace=paced(rate) if rate else None,
            watch=watch,
            labels=feed,
        )
    if as_json:
        print(json.dumps({"events": done, "outputs": counts, "folder": str(to)}))
        return
    out.print(f"{done:,} events")
    if not counts:
        out.print(f"  nothing new: {folder / 'files'} remembers them; delete it to start anew")
    for stream, count in counts.items():
        out.print(f"  {count:>8,} {to / loaded.topics[stream]}.avro")


def _run_kafka(
    loaded: Pipeline, name: str, folder: Path, bounded: bool, as_json: bool, stop: threading.Event
) -> None:
    from verdict.pipelines.engines.embedded.broker import KafkaBroker
    from verdict.pipelines.engines.embedded.from_kafka import run_kafka
    from verdict.pipelines.kafka.clients import clients
    from verdict.pipelines.telemetry.server import Endpoint
    from verdict.pipelines.topology import topics_of

    job = catalog.job(loaded.keeping(folder), name)
    settings = clients(loaded.spec.settings, loaded.path.parent)
    if name != SCORE_JOB:
        settings = replace(settings, consumer={**BEHIND, **settings.consumer})
    inputs, outputs = topics_of(job.inputs, loaded.topics), topics_of(job.outputs, loaded.topics)
    kept = folder / loaded.spec.pipeline / name
    asked = loaded.spec.settings.metrics
    metrics = None if asked is None else Endpoint.parse(f"{asked.host}:{asked.ports}")
    with contextlib.ExitStack() as running:

        def opened(offsets: Mapping[str, int]) -> KafkaBroker:
            broker = KafkaBroker(settings, inputs, outputs, offsets, job.carry)
            # What goes wrong from now on is for whoever reads the logs; until now it was a start.
            running.enter_context(logs.to_stderr(loaded.spec.pipeline, name))
            return broker

        read = run_kafka(job, opened, kept, stop=stop, bounded=bounded, metrics=metrics)
    if as_json:
        print(json.dumps({"job": name, "records": read}))
        return
    out.print(f"{read:,} records of {', '.join(inputs.values())}")
    if not read:
        out.print(f"  nothing new: {kept} remembers how far {name} has read")


def _run_flink(
    loaded: Pipeline, name: str, folder: Path, bounded: bool, cluster: str | None
) -> None:
    from verdict.pipelines.deployment.program import program
    from verdict.pipelines.engines.flink import run
    from verdict.pipelines.engines.flink.settings import latest_checkpoint

    if cluster is not None:
        from verdict.pipelines.deployment.submit import submit

        job_id = submit(loaded, name, folder, cluster, bounded=bounded)
        out.print(f"{loaded.spec.pipeline}/{name} runs on {cluster} as {job_id}")
        return
    made = program(loaded, name, folder, bounded=bounded)
    settings = replace(
        made.settings,
        restore=None if bounded else latest_checkpoint(made.settings.checkpoint_folder),
        java_options=MINI_CLUSTER_JAVA,
    )
    # Normal operation logs nothing; a job that Flink starts again says so.
    with logs.to_stderr(loaded.spec.pipeline, name):
        run.run(made.job, made.topics, settings)


@app.command()
def up(folder: Folder = BROKER_FOLDER, as_json: AsJson = False) -> None:
    """Start a local Kafka broker, on 127.0.0.1 alone; it stays until `verdict down`.

    Next: `verdict topics create PIPELINE`, then `verdict run PIPELINE`.
    """
    from verdict.pipelines.local import daemon

    bootstrap = daemon.up(folder)
    if as_json:
        print(json.dumps({"bootstrap": bootstrap, "folder": str(folder)}))
    else:
        out.print(f"A broker answers at {bootstrap}. 'verdict down' stops it.")


@app.command()
def down(folder: Folder = BROKER_FOLDER) -> None:
    """Stop the local broker that `verdict up` started; its data stay.

    Next: `verdict up` starts it again.
    """
    from verdict.pipelines.local import daemon

    stopped = daemon.down(folder)
    out.print("Stopped." if stopped else "No broker of this folder runs.")


@topics_app.command("create")
def topics_create(
    pipeline: PipelineFile,
    partitions: Annotated[int, typer.Option(min=1, help="Of each new topic.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Make the topics that a pipeline reads and writes, where they are missing.

    Next: `verdict run PIPELINE`, and in another terminal `verdict tail PIPELINE decisions -f`.
    """
    from verdict.pipelines.kafka.admin import create_topics
    from verdict.pipelines.kafka.clients import clients

    loaded = load(file_of(pipeline))
    settings = clients(loaded.spec.settings, loaded.path.parent)
    names = list(loaded.topics.values())
    made = create_topics(settings, names, partitions=partitions)
    compacted = {"cleanup.policy": "compact"}
    made += create_topics(settings, loaded.lookup_topics, partitions, config=compacted)
    names += loaded.lookup_topics
    if as_json:
        print(json.dumps({"created": made, "topics": names}))
        return
    for name in names:
        out.print(f"  {name}: {'created' if name in made else 'there already'}")


app.add_typer(dead_letters.app, name="dlq")
app.add_typer(state.app, name="state")
for command in (
    bootstrap.bootstrap,
    backfill.backfill,
    parity.parity,
    outputs.tail,
    outputs.repeats,
    deployment.upgrade,
    deployment.plan,
):
    app.command()(command)
app.command("test")(testing.run)


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; an error of verdict is a message and exit code 1, no stack trace.

    Tests that cannot be run are 2: 1 says that they failed.

    A mistyped option or an interrupt is typer's: it exits by itself, with 2 or 130.
    """
    try:
        command()
    except logs.Logged:
        if verbose:
            err.print_exception()
        return 1
    except VerdictError as error:
        if verbose:
            err.print_exception()
            if isinstance(error, FlinkError) and error.details:
                err.print(error.details, markup=False, highlight=False)
        err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 2 if isinstance(error, UntestableError) else 1
    return 0


def main() -> None:
    """Entry point."""
    sys.exit(guarded(lambda: app(prog_name="verdict")))


if __name__ == "__main__":
    main()
