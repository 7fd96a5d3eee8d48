"""`verdict check`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from verdict.pipelines.cli.terminal import AsJson, PipelineFile, err, file_of, out
from verdict.pipelines.errors import KafkaError, SpecError
from verdict.pipelines.jobs.compatibility import Change, Effect, changes
from verdict.pipelines.spec.load import check_models, load
from verdict.pipelines.spec.pipeline import Pipeline


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


def _end_of_check(changes_: Sequence[Change]) -> None:
    if any(change.effect is Effect.REFUSED for change in changes_):
        raise typer.Exit(1)
