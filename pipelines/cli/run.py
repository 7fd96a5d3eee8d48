"""`verdict run`."""

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.cli.terminal import (
    AsJson,
    PipelineFile,
    file_of,
    is_quiet,
    out,
    spinner,
    stop_on_signals,
)
from verdict.pipelines.errors import SpecError
from verdict.pipelines.jobs import catalog
from verdict.pipelines.spec.load import check_models, load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.telemetry import logs
from verdict.pipelines.topology import Job

BEHIND = {"fetch.min.bytes": 65_536, "fetch.wait.max.ms": 100}
"""What reads decisions after the fact fetches ten times a second, not once a decision."""
ENDING = {"fetch.wait.max.ms": 50}
"""What ends where its topics end learns of it by an answer without records, for which a broker
takes half a second unless told otherwise."""
MINI_CLUSTER_JAVA = ("-XX:TieredStopAtLevel=1",)
"""The hops' time goes to Python: Java's second compiler took 0.4 of a core for minutes, and without
it the rate was the same (30,000 events at 885 and 921 a second)."""


class Engine(StrEnum):
    """The two engines."""

    EMBEDDED = "embedded"
    FLINK = "flink"


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
    from verdict.pipelines.engines.embedded.from_files import paced, run_files
    from verdict.pipelines.engines.embedded.runner import OutputRecord
    from verdict.pipelines.jobs.label_feed import LabelFeed

    label_files = loaded.label_files()
    feed = LabelFeed(loaded, label_files) if loaded.labels_input is not None else None
    counts: dict[str, int] = {}
    files = [loaded.file(file) for file in loaded.spec.events.files or []]
    with spinner("starting", is_quiet(as_json)) as show:

        def watch(outputs: Any) -> None:
            typed: list[OutputRecord] = outputs
            for output in typed:
                counts[output.stream] = counts.get(output.stream, 0) + 1
            shown = ", ".join(f"{count:,} {stream}" for stream, count in counts.items())
            show(shown or "reading")

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
    ours = {**(ENDING if bounded else {}), **(BEHIND if name != SCORE_JOB else {})}
    settings = replace(settings, consumer={**ours, **settings.consumer})
    inputs, outputs = topics_of(job.inputs, loaded.topics), topics_of(job.outputs, loaded.topics)
    kept = folder / loaded.spec.pipeline / name
    asked = loaded.spec.settings.metrics
    metrics = None if asked is None else Endpoint.parse(f"{asked.host}:{asked.ports}")
    with contextlib.ExitStack() as running:

        def opened(offsets: Mapping[str, int]) -> KafkaBroker:
            broker = KafkaBroker(settings, inputs, outputs, offsets, job.carry, job.first)
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
