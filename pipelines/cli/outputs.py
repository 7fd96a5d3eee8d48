"""The commands that read what a pipeline put out: ``verdict tail`` and ``verdict repeats``."""

import contextlib
import json
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from verdict.operators.names import Stream
from verdict.pipelines.cli.terminal import (
    AsJson,
    PipelineFile,
    Since,
    after,
    bar,
    err,
    file_of,
    is_quiet,
    out,
    stop_on_signals,
)
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.load import load


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
    from verdict.pipelines.outputs.tail import newest

    loaded = load(file_of(pipeline))
    if source is None and loaded.spec.events.files is not None:
        source = Path("out")
    if follow and source is not None:
        raise SpecError([f"-f follows a topic; what lies in {source} is shown without it"])
    with contextlib.suppress(KeyboardInterrupt) if follow else contextlib.nullcontext():
        for record in newest(loaded, stream, last, follow, source):
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
        case Stream.STATE_ANSWERS:
            found = "found" if record["found"] else "not found"
            return (
                f"{record['command']} {record['entity']} {record['key']}: {found} "
                f"(by {record['by']}: {record['why']})"
            )
        case Stream.ENTITY_LABELS:
            keys = " ".join(f"{each['entity']}={each['key'] or '-'}" for each in record["keys"])
            what = "positive" if record["positive"] else "negative"
            source = f" by {record['source']}" if record["source"] else ""
            return f"{record['event_time']} {record['event_id']} {keys} {what}{source}"
        case _:
            return json.dumps(record)


def repeats(
    pipeline: PipelineFile,
    since: Since = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more, until Ctrl-C; serve the counts.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count decisions that came more than once, and name those that differ: then exit code 1.

    Next: with one partition and parallelism 1 none may differ. Else `docs/operations.md` says which
    fields may.
    """
    from verdict.pipelines.outputs.repeats import (
        Differing,
        Repeats,
        RepeatsMeter,
        line,
        summary_lines,
    )
    from verdict.pipelines.outputs.repeats_read import read
    from verdict.pipelines.telemetry.server import Endpoint, serve

    stop = stop_on_signals() if follow else threading.Event()
    loaded = load(file_of(pipeline))
    if loaded.spec.events.files is not None:
        raise SpecError(["events from files are decided once each; name a pipeline with a topic"])
    seen, found = Repeats(), list[Differing]()

    def differing(one: Differing) -> None:
        if not follow:
            found.append(one)
        elif as_json:
            print(json.dumps(one.as_json()), flush=True)
        else:
            out.print(line(one))

    with contextlib.ExitStack() as running:
        asked = loaded.spec.settings.metrics
        if follow and asked is not None:
            where = Endpoint.parse(f"{asked.host}:{asked.ports}")
            meter = RepeatsMeter(loaded.spec.pipeline, seen)
            port = running.enter_context(contextlib.closing(serve(where, meter))).port
            served = "no port is free" if port is None else f"port {port}"
            err.print(f"  metrics at {where}: {served}", style="dim", soft_wrap=True)
        show = running.enter_context(bar("decisions", follow or is_quiet(as_json), counts=True))
        read(
            loaded,
            seen,
            stop,
            since=after(since),
            follow=follow,
            differing=differing,
            progress=show,
        )
    if as_json:
        listed = {} if follow else {"differing": [one.as_json() for one in found]}
        print(json.dumps({**seen.as_json(), **listed}))
    else:
        for text in (*map(line, found), *summary_lines(seen)):
            out.print(text)
    if seen.repeat_differs:
        raise typer.Exit(1)
