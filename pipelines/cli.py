"""The command ``verdict``."""

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines import jobs, logs
from pipelines.errors import FlinkError, SpecError
from pipelines.job import Job
from pipelines.pipeline import Pipeline, check_models, load
from state.errors import VerdictError

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

# An event's id may hold what rich would take for markup, or a path be longer than a line.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
err = Console(stderr=True)
verbose = False

PipelineFile = Annotated[
    Path, typer.Argument(metavar="PIPELINE", help="The pipeline file, or the folder it is in.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]
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
    """Make the smallest pipeline that works: YAML, schema, ten events, a tiny model, a test.

    Next: `verdict check FOLDER`, then `verdict run FOLDER`.
    """
    from pipelines import resources

    if folder.exists():
        raise SpecError([f"{folder} exists already: name a folder that does not"])
    source = resources.path("init")
    for file in sorted(source.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    out.print(f"Made {folder}. Next:")
    for command in (f"check {folder}", f"run {folder}", f"tail {folder} decisions"):
        out.print(f"  verdict {command}")


@app.command()
def check(pipeline: PipelineFile, as_json: AsJson = False) -> None:
    """Find every mistake of a pipeline file before anything runs, and prove its models.

    Next: mend what it names, or `verdict run PIPELINE`.
    """
    try:
        loaded = load(_file(pipeline))
        models = check_models(loaded)
    except SpecError as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "errors": error.messages}))
        raise typer.Exit(1) from None
    names = [f"{model.card.name}:{model.card.version}" for model in models]
    summary = {
        "ok": True,
        "pipeline": loaded.spec.pipeline,
        "entities": loaded.entities,
        "features": list(loaded.spec.features),
        "models": names,
        "topics": loaded.topics,
    }
    if as_json:
        print(json.dumps(summary))
        return
    hops = " -> ".join(f"hop({entity})" for entity in loaded.entities)
    out.print(f"{_file(pipeline)} is right.", style="green")
    out.print(f"  events -> {hops} -> score -> decide")
    out.print(f"  {len(loaded.spec.features)} features; champion {names[0]}")
    for challenger in names[1:]:
        out.print(f"  challenger {challenger}")


@app.command()
def run(
    pipeline: PipelineFile,
    job: Annotated[
        list[str] | None,
        typer.Option(help="score, shadow or watch; from files several, each fed by the former."),
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
    stop = _stop_on_signals() if engine is Engine.EMBEDDED else threading.Event()
    loaded = load(_file(pipeline))
    if events:
        loaded = loaded.over(events)
    check_models(loaded)
    from_files = loaded.spec.events.files is not None
    names = list(dict.fromkeys(job or (jobs.JOBS if from_files else [jobs.SCORE_JOB])))
    chosen = [jobs.job(loaded, name) for name in names]
    folder = state or loaded.file(loaded.spec.settings.state)
    if from_files:
        if engine is Engine.FLINK:
            raise SpecError(["events from files run on the embedded engine; give Flink a topic"])
        if loaded.spec.settings.output_format != "avro":
            raise SpecError(["settings.output_format is of topics; from files it must be avro"])
        if jobs.SCORE_JOB not in names:
            raise SpecError([f"from files, {jobs.SCORE_JOB} feeds {names[0]}: name both by --job"])
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

    from pipelines.embedded import Output, paced, run_files

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
    from pipelines.broker import KafkaBroker, topics_of
    from pipelines.embedded import run_kafka
    from pipelines.kafka import clients
    from pipelines.metrics import Endpoint

    job = jobs.job(loaded, name)
    settings = clients(loaded.spec.settings, loaded.path.parent)
    if name != jobs.SCORE_JOB:
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
    from pipelines import flink
    from pipelines.flink_program import program

    if cluster is not None:
        from pipelines.flink_upgrade import submit

        job_id = submit(loaded, name, folder, cluster, bounded=bounded)
        out.print(f"{loaded.spec.pipeline}/{name} runs on {cluster} as {job_id}")
        return
    made = program(loaded, name, folder, bounded=bounded)
    settings = replace(
        made.settings,
        restore=None if bounded else flink.latest_checkpoint(made.settings.checkpoint_folder),
        java_options=MINI_CLUSTER_JAVA,
    )
    # Normal operation logs nothing; a job that Flink starts again says so.
    with logs.to_stderr(loaded.spec.pipeline, name):
        flink.run(made.job, made.topics, settings)


def _stop_on_signals() -> threading.Event:
    """End at the next batch on Ctrl-C or SIGTERM, exit code 0; a second signal ends at once."""
    stop = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop


@app.command()
def up(folder: Folder = BROKER_FOLDER, as_json: AsJson = False) -> None:
    """Start a local Kafka broker, on 127.0.0.1 alone; it stays until `verdict down`.

    Next: `verdict topics create PIPELINE`, then `verdict run PIPELINE`.
    """
    from pipelines import local

    bootstrap = local.up(folder)
    if as_json:
        print(json.dumps({"bootstrap": bootstrap, "folder": str(folder)}))
    else:
        out.print(f"A broker answers at {bootstrap}. 'verdict down' stops it.")


@app.command()
def down(folder: Folder = BROKER_FOLDER) -> None:
    """Stop the local broker that `verdict up` started; its data stay.

    Next: `verdict up` starts it again.
    """
    from pipelines import local

    stopped = local.down(folder)
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
    from pipelines.kafka import clients, create_topics

    loaded = load(_file(pipeline))
    settings = clients(loaded.spec.settings, loaded.path.parent)
    names = list(loaded.topics.values())
    made = create_topics(settings, names, partitions=partitions)
    if as_json:
        print(json.dumps({"created": made, "topics": names}))
        return
    for name in names:
        out.print(f"  {name}: {'created' if name in made else 'there already'}")


dlq_app = typer.Typer(no_args_is_help=True, help="List, show and replay a pipeline's dead letters.")
app.add_typer(dlq_app, name="dlq")


class Stage(StrEnum):
    """Where a record failed."""

    DECODE = "decode"
    VALIDATE = "validate"
    FEATURES = "features"
    SCORE = "score"


OfStage = Annotated[Stage | None, typer.Option("--stage", help="Only those of this stage.")]
OfKind = Annotated[
    str | None, typer.Option("--kind", help="Only those of this kind, such as not-avro.")
]
Since = Annotated[
    str | None, typer.Option("--since", help="Only those written within this time: 90s, 1h, 7d.")
]
LettersFrom = Annotated[
    Path | None, typer.Option("--from", help="Folder of the outputs of a run from files.")
]


def _asked(stage: Stage | None, kind: str | None, since: str | None, places: list[str]) -> Any:
    from pipelines.dlq import Asked, ago, coordinates
    from pipelines.spec import milliseconds

    try:
        after = None if since is None else ago(milliseconds(since))
    except ValueError as error:
        raise SpecError([f"--since: {error}"]) from None
    originals = frozenset(map(coordinates, places)) if places else None
    return Asked(None if stage is None else stage.value, kind, after, originals)


def _strange(where: str) -> None:
    text = f"{where} is no dead letter of this release; left out"
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _letters_folder(loaded: Pipeline, given: Path | None) -> Path | None:
    return Path("out") if given is None and loaded.spec.events.files is not None else given


@dlq_app.command("list")
def dlq_list(
    pipeline: PipelineFile,
    stage: OfStage = None,
    kind: OfKind = None,
    since: Since = None,
    last: Annotated[int | None, typer.Option("-n", min=1, help="Only the newest so many.")] = None,
    counts: Annotated[
        bool, typer.Option("--summary", help="Count them by stage, kind and job.")
    ] = False,
    source: LettersFrom = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters: when, the place of the original, job, stage and kind, the reason.

    Next: `verdict dlq show PIPELINE TOPIC/PARTITION/OFFSET`; when the cause is mended,
    `verdict dlq replay PIPELINE`.
    """
    from pipelines import dlq

    loaded = load(_file(pipeline))
    asked = _asked(stage, kind, since, [])
    found = dlq.letters(loaded, asked, _letters_folder(loaded, source), _strange)
    if last is not None:
        found = iter(dlq.newest(found, last))
    if counts:
        tallies = dlq.summary(found)
        if as_json:
            print(json.dumps([tally.as_json() for tally in tallies]))
            return
        for text in dlq.table(tallies):
            out.print(text)
        return
    shown = False
    for letter in found:
        shown = True
        if as_json:
            print(json.dumps(letter.as_json(raw=False)), flush=True)
        else:
            out.print(dlq.line(letter))
    if not shown and not as_json:
        err.print("No dead letter fits.", style="dim")


@dlq_app.command("show")
def dlq_show(
    pipeline: PipelineFile,
    place: Annotated[
        str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Of the original.")
    ],
    source: LettersFrom = None,
    as_json: AsJson = False,
) -> None:
    """Show all of a record's dead letters, its bytes, and whether the original is still there.

    Next: mend the cause, then `verdict dlq replay PIPELINE TOPIC/PARTITION/OFFSET`.
    """
    from pipelines import dlq

    loaded = load(_file(pipeline))
    folder = _letters_folder(loaded, source)
    asked = _asked(None, None, None, [place])
    # One a job and kind: after a crash of Flink the same may stand twice.
    found = {(each.job, each.kind): each for each in dlq.letters(loaded, asked, folder, _strange)}
    if not found:
        raise SpecError([f"no dead letter is of {place}; 'verdict dlq list' shows what there is"])
    for letter in found.values():
        state = None if folder is not None else dlq.look(loaded, letter)
        if as_json:
            print(json.dumps({**letter.as_json(), "original": state}))
            continue
        for text in dlq.described(letter, state):
            out.print(text)


@dlq_app.command("replay")
def dlq_replay(
    pipeline: PipelineFile,
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Of the originals."),
    ] = None,
    stage: OfStage = None,
    kind: OfKind = None,
    since: Since = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do all but send.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send the originals of dead letters to the events topic again, when the cause is mended.

    Next: `verdict tail PIPELINE decisions`. Another run replays the same letters again: name those
    that came since, with `--since`.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from pipelines import dlq

    loaded = load(_file(pipeline))
    asked = _asked(stage, kind, since, places or [])
    columns = (TextColumn("letters"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    quiet = as_json or not err.is_terminal

    def say(what: str, done: bool) -> None:
        if not as_json and (dry_run or not done):
            (out if dry_run else err).print(what, markup=False, highlight=False, soft_wrap=True)

    with (
        Progress(*columns, console=err, transient=True, disable=quiet) as progress,
        dlq.Replay(loaded, dry=dry_run, say=say) as replay,
    ):
        task = progress.add_task("", total=None)

        def show(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)

        found = dlq.letters(loaded, asked, None, _strange, show)
        try:
            replay.run(found, asked.originals or ())
        finally:
            progress.stop()
            if as_json:
                print(json.dumps({**replay.did.as_json(), "dry_run": dry_run}))
            else:
                for text in dlq.told(replay.did, dry_run):
                    out.print(text)


class Stream(StrEnum):
    """What can be followed."""

    DECISIONS = "decisions"
    DEAD_LETTERS = "dead-letters"
    SHADOW_SCORES = "shadow-scores"
    DRIFT = "drift"
    COMPARISON = "comparison"


@app.command()
def tail(
    pipeline: PipelineFile,
    stream: Annotated[Stream, typer.Argument(help="Which output.")] = Stream.DECISIONS,
    last: Annotated[
        int, typer.Option("-n", min=0, help="Start this many records before the end.")
    ] = 10,
    follow: Annotated[bool, typer.Option("-f", help="Wait for more, until Ctrl-C.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of the outputs of a run from files.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show an output stream's newest records.

    Next: name another stream, add `-f` to wait for more, or `--json` for the whole records.
    """
    from pipelines.tail import newest

    loaded = load(_file(pipeline))
    if source is None and loaded.spec.events.files is not None:
        source = Path("out")
    if follow and source is not None:
        raise SpecError([f"-f follows a topic; what lies in {source} is shown without it"])
    with contextlib.suppress(KeyboardInterrupt) if follow else contextlib.nullcontext():
        for record in newest(loaded, stream.value, last, follow, source):
            if as_json:
                print(json.dumps(record), flush=True)
            else:
                out.print(_line(stream, record))


def _line(stream: Stream, record: dict[str, Any]) -> str:
    """Say a record in one line."""
    match stream:
        case Stream.DECISIONS:
            amount = f" {record['amount']} {record['currency']}" if record["amount"] else ""
            rules = f" [{', '.join(record['rules'])}]" if record["rules"] else ""
            rules += " repeated" if record["repeated"] else ""
            what = f"{record['action']} ({record['because']})"
            score = "-" if record["score"] is None else f"{record['score']:.4f}"
            text = f"{record['event_time']} {record['event_id']}{amount} {score} "
            return text + what + rules
        case Stream.DEAD_LETTERS:
            where = f"{record['topic']}/{record['partition']}/{record['offset']}"
            return f"{where} {record['stage']}: {record['reason']}"
        case Stream.SHADOW_SCORES:
            a, b = record["champion"], record["challenger"]
            mark = "=" if a["action"] == b["action"] else "!"
            return (
                f"{record['event_id']} {a['name']} {a['score']:.4f} {a['action']} {mark} "
                f"{b['name']} {b['score']:.4f} {b['action']}"
            )
        case Stream.DRIFT:
            psi = "-" if record["psi"] is None else f"{record['psi']:.3f}"
            detectors = f" ({', '.join(record['detectors'])})" if record["detectors"] else ""
            return (
                f"{record['window_start']} {record['feature']} n={record['count']} PSI {psi} "
                f"{record['state']}{detectors}"
            )
        case Stream.COMPARISON:
            return (
                f"{record['window_end']} {record['champion']} vs {record['challenger']}: "
                f"{record['agreed']:,} of {record['total']:,} agreed ({record['agreement']:.2%})"
            )


@app.command()
def upgrade(
    pipeline: PipelineFile,
    cluster: Annotated[str, typer.Option(help="host:port of the Flink cluster it runs on.")],
    job: Annotated[str, typer.Option(help="score, shadow or watch.")] = jobs.SCORE_JOB,
    state: Annotated[
        Path | None, typer.Option(help="Folder of the state, instead of settings.state.")
    ] = None,
    allow_non_restored: Annotated[
        bool,
        typer.Option("--allow-non-restored", help="Forget what hops that are gone remember."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that the new job may take to come up.")
    ] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Let a job on a cluster go on as its pipeline is now: savepoint, new job, or back.

    Next: `verdict tail PIPELINE decisions -f`. If the new job does not run and complete a
    checkpoint in time, the old one goes on from the savepoint, and this command fails.
    """
    from pipelines.flink_upgrade import RolledBack
    from pipelines.flink_upgrade import upgrade as change

    loaded = load(_file(pipeline))
    check_models(loaded)
    folder = state or loaded.file(loaded.spec.settings.state)
    name = f"{loaded.spec.pipeline}/{job}"

    def say(what: str) -> None:
        if not as_json:
            err.print(f"  {what}", style="dim", soft_wrap=True)

    try:
        done = change(
            loaded,
            job,
            folder,
            cluster,
            allow_non_restored=allow_non_restored,
            seconds=timeout,
            say=say,
        )
    except RolledBack as error:
        if as_json:
            print(json.dumps({"job": name, "id": error.job_id, "rolled_back": str(error)}))
        raise
    if as_json:
        found = {"savepoint": str(done.savepoint), "down_s": round(done.down_s, 3)}
        print(json.dumps({"job": name, "id": done.job_id, "rolled_back": None, **found}))
        return
    out.print(f"{name} goes on on {cluster} as {done.job_id}, after {done.down_s:.1f} s")


@app.command()
def plan(
    pipeline: PipelineFile,
    rate: Annotated[float, typer.Option(min=0.001, help="Events a second at the busiest time.")],
    entities: Annotated[
        list[str], typer.Option(help="Keys of each entity: N, or NAME=N for each by itself.")
    ],
    events_per_entity: Annotated[
        float | None,
        typer.Option(min=0, help="Events that a key's log holds; by default what the rate makes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how large a Flink cluster the score job needs: slots, memory, state, Kafka's share.

    Next: write the memory into the cluster's configuration, as `deploy/flink/config.yaml` does, and
    the parallelism into `settings.parallelism`.
    """
    from pipelines.plan import plan as size

    loaded = load(_file(pipeline))
    found = size(loaded, rate, _keys(loaded, entities), events_per_entity)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    for name, text in found.lines():
        out.print(f"  {name:<22}{text}")


def _keys(loaded: Pipeline, given: list[str]) -> dict[str, int]:
    """Read `--entities`: how many keys each entity has."""
    found: dict[str, int] = {}
    for text in sorted(given, key=lambda text: "=" in text):  # N is for those not named
        name, _, number = text.rpartition("=")
        if not number.isdigit() or not int(number) or (name and name not in loaded.entities):
            known = ", ".join(f"{entity}=N" for entity in loaded.entities)
            raise SpecError([f"--entities {text}: write N, or {known}; N is a whole number"])
        for entity in [name] if name else loaded.entities:
            found[entity] = int(number)
    missing = [entity for entity in loaded.entities if entity not in found]
    if missing:
        raise SpecError([f"--entities does not say how many keys '{missing[0]}' has; write N"])
    return found


def _file(path: Path) -> Path:
    return path / "pipeline.yaml" if path.is_dir() else path


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; an error of verdict is a message and exit code 1, no stack trace.

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
        return 1
    return 0


def main() -> None:
    """Entry point."""
    sys.exit(guarded(lambda: app(prog_name="verdict")))


if __name__ == "__main__":
    main()
