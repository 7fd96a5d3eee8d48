"""The commands about what a running job remembers: ``verdict state``."""

import json
from typing import Annotated, Any

import typer

from verdict.operators.score.commands import FORGET, GET
from verdict.pipelines.cli.terminal import AsJson, PipelineFile, err, file_of, out
from verdict.pipelines.spec.load import load

SHOWN = 20
"""Events of a log that are shown; all of them as JSON."""

app = typer.Typer(no_args_is_help=True, help="What a running job remembers of an entity.")
Entity = Annotated[str, typer.Argument(help="Of the pipeline file.")]
Key = Annotated[str, typer.Argument(help="Of the entity; of several parts, joined by '|'.")]
Seconds = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait.")]


@app.command()
def get(
    pipeline: PipelineFile,
    entity: Entity,
    key: Key,
    timeout: Seconds = 30.0,
    as_json: AsJson = False,
) -> None:
    """Show what is remembered of an entity's key: its features now, and the events behind them."""
    from verdict.pipelines.control.state_commands import ask

    answer = ask(load(file_of(pipeline)), GET, entity, key, seconds=timeout)
    if as_json:
        print(json.dumps(answer))
        return
    if not answer["found"]:
        out.print(f"nothing is remembered of {entity} {key}")
        return
    _show(answer["remembered"], f"{entity} {key}")


def _show(remembered: dict[str, Any], name: str) -> None:
    from rich.table import Table

    log = remembered["log"]
    out.print(f"{name}: {remembered['events']:,} events, the newest {remembered['newest']}")
    if remembered["ids"]:
        out.print(f"  {remembered['ids']:,} ids, to know a producer's retry by")
    features = Table("feature", "as the newest saw it", box=None, pad_edge=False)
    for feature, value in remembered["features"].items():
        cold = " (cold)" if feature in remembered["cold"] else ""
        features.add_row(feature, f"{'none' if value is None else format(value, '.12g')}{cold}")
    out.print(features)
    columns = [column for column in log[0] if column != "time"] if log else []
    events = Table("time", *columns, box=None, pad_edge=False)
    for event in log[-SHOWN:]:
        events.add_row(
            *("-" if event[name] is None else str(event[name]) for name in ("time", *columns))
        )
    left_out = f", the last {SHOWN} of them" if len(log) > SHOWN else ""
    out.print(f"{len(log):,} events that a window may still see{left_out}:")
    out.print(events)


@app.command()
def forget(
    pipeline: PipelineFile,
    entity: Entity,
    key: Key,
    why: Annotated[str, typer.Option(help="For the record in the topic of answers.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout: Seconds = 30.0,
    as_json: AsJson = False,
) -> None:
    """Erase what is remembered of an entity's key in the job's state. It cannot be taken back.

    docs/operations.md says what topics, savepoints and backups still hold.
    """
    from verdict.pipelines.control.state_commands import ask

    loaded = load(file_of(pipeline))
    if not yes:
        typer.confirm(f"Erase what is remembered of {entity} {key}?", abort=True, err=True)
    answer = ask(loaded, FORGET, entity, key, why, timeout)
    if as_json:
        print(json.dumps(answer))
        return
    if not answer["found"]:
        out.print(f"nothing was remembered of {entity} {key}")
        return
    out.print(f"{entity} {key} is forgotten; its next event is its first")
    err.print("  topics, savepoints and backups still know of it: see docs/operations.md")
